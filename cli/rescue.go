package cli

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"lvm2fs/lvm2"
	"lvm2fs/lvm2/metadata"
)

type rescueCmd struct {
	deviceOptions
	Pool    string   `name:"pool" required:"" placeholder:"VG/POOL" help:"The thin pool whose metadata are to be searched."`
	Rebuild bool     `help:"Put the mappings together again where nodes of the metadata are damaged, and say how much there is to be said for them."`
	JSON    bool     `name:"json" help:"With --rebuild: print JSON."`
	Devices []string `arg:"" optional:"" name:"device"`
}

// Help is shown by lvm2fs rescue --help, between the synopsis and the flags.
func (rescueCmd) Help() string {
	return `Examples:
  lvm2fs rescue --pool vg/pool disk.img                            where may the mappings of the pool begin?
  lvm2fs --thin-root vg/pool=158 -r disk.img /mnt/lvm              mount from one of them
  lvm2fs rescue --pool vg/pool --thin-metadata vg/pool=lv:pool_meta0 disk.img
  lvm2fs rescue --rebuild --pool vg/pool disk.img                  what is left where nodes are damaged?
  lvm2fs --thin-rebuild vg/pool -r disk.img /mnt/lvm               mount with what is certain of that

For a thin pool whose superblock is lost or of the wrong age. Reads all metadata of the pool, finds by their checksums
the nodes from which mappings of its volumes can be read, and lists them with the most plausible first. Some are of
the past: look at what you mount from one. With --rebuild, for a pool whose trees are damaged below the superblock or
the root that --thin-root names: finds the nodes that were beneath the damaged ones, and says for each volume what is
certain, likely, contradictory and lost. Nothing is written.`
}

func (c *rescueCmd) Run(a *app) error {
	if c.JSON && !c.Rebuild {
		return usagef("rescue --json: only with --rebuild")
	}
	s, err := openDevices(a, c.Devices, c.deviceOptions)
	if err != nil {
		return err
	}
	defer s.Close()
	pool, err := findLV(s.Result(), c.Pool)
	if err != nil {
		return err
	}
	if c.Rebuild {
		return c.rebuild(a, pool)
	}
	roots, err := c.roots(a, pool)
	if err != nil {
		return err
	}
	writeUnnamed(a.stdout, pool)
	args := append(c.chosen("--thin-root", fmt.Sprintf("%s=%d", c.Pool, roots[0].Block)), c.Devices...)
	fmt.Fprintf(a.stdout, "\nTo see what a root leads to: lvm2fs list -a %s\n", commandLine(args))
	return nil
}

// roots lists where the mappings of the pool may begin; there is one at least.
func (c *rescueCmd) roots(a *app, pool *lvm2.LV) ([]lvm2.ThinRoot, error) {
	roots, err := pool.ThinRoots()
	if err != nil {
		return nil, err
	}
	if len(roots) == 0 {
		return nil, errors.New("no root of a level of mappings found in the metadata of " + lvPath(pool))
	}
	var t table
	t.header("Block", "Volumes", "Mapped chunks", "Newest", "Damaged nodes", "Not of this VG")
	for _, root := range roots {
		names, others := rootVolumes(pool, root)
		t.row(number(root.Block), orDash(names), number(root.Mappings), number(root.Newest), number(root.Damaged), orDash(others))
	}
	return roots, t.write(a.stdout, layout{headings: true, width: a.terminalWidth()})
}

// chosen are a flag, and the flags that were given to say which metadata of the pool to read.
func (c *rescueCmd) chosen(flag, value string) []string {
	var args []string
	for _, m := range c.ThinMetadata {
		args = append(args, "--thin-metadata", m)
	}
	if flag != "--thin-root" {
		for _, root := range c.ThinRoot {
			args = append(args, "--thin-root", root)
		}
	}
	return append(args, flag, value)
}

// writeUnnamed lists the devices of the pool that have no LV.
func writeUnnamed(w io.Writer, pool *lvm2.LV) {
	devices, _ := pool.ThinDevices() // of a pool that does not activate nothing is known
	if len(devices) == 0 {
		return
	}
	fmt.Fprintln(w, "\nDevices that no LV is there for, as --lv takes them:")
	for _, lv := range devices {
		fmt.Fprintf(w, "  %s  %s mapped up to there\n", printable(lvPath(lv)), humanSize(lv.DeviceSize()))
	}
}

// rootVolumes are the names of the thin LVs that a root knows, and the IDs of its other devices.
func rootVolumes(pool *lvm2.LV, root lvm2.ThinRoot) (names, others []string) {
	byID := map[uint64]string{}
	for seg := range pool.InPool() {
		byID[seg.Mapping.(*metadata.Thin).DeviceID] = seg.LV.FileName()
	}
	for _, id := range root.Devices {
		if name, ok := byID[id]; ok {
			names = append(names, name)
		} else {
			others = append(others, strconv.FormatUint(id, 10))
		}
	}
	slices.Sort(names)
	return names, others
}

func orDash(words []string) string {
	if len(words) == 0 {
		return "-"
	}
	return strings.Join(words, ",")
}
