package cli

import (
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"

	"lvm2fs/lvm2"
	"lvm2fs/lvm2/metadata"
)

// errNoRoot says why there is nothing to put together.
var errNoRoot = errors.New("the superblock does not say where the mappings begin: choose a root with --thin-root")

// rebuild says what is left of the mappings of a pool.
func (c *rescueCmd) rebuild(a *app, pool *lvm2.LV) error {
	rebuilt, err := pool.ThinRebuild()
	if errors.Is(err, lvm2.ErrNoThinRoot) && !c.JSON {
		roots, rootsErr := c.roots(a, pool)
		if rootsErr != nil {
			return errors.Join(err, rootsErr)
		}
		args := append(c.chosen("--thin-root", fmt.Sprintf("%s=%d", c.Pool, roots[0].Block)), "--pool", c.Pool)
		fmt.Fprintf(a.stdout, "\nTo put together what was beneath a root: lvm2fs rescue --rebuild %s\n", commandLine(append(args, c.Devices...)))
		return fmt.Errorf("%w: %w", errNoRoot, err)
	}
	if err != nil {
		return err
	}
	result := newRebuiltPool(c.Pool, pool, rebuilt)
	if c.JSON {
		return writeJSON(a.stdout, result)
	}
	if err := result.write(a.stdout, layout{headings: true, width: a.terminalWidth()}); err != nil {
		return err
	}
	c.writeNext(a.stdout, result)
	return nil
}

// rebuiltPool is what rescue --rebuild --json prints.
type rebuiltPool struct {
	Pool       string               `json:"pool"`
	ChunkSize  int64                `json:"chunk_size"`
	Notes      []string             `json:"notes"`
	Devices    []rebuiltDevice      `json:"devices"`
	Unassigned []unassignedMappings `json:"unassigned"`
}

type rebuiltDevice struct {
	ID      uint64       `json:"device_id"`
	LV      string       `json:"lv_name"` // "" for none
	Mapped  *uint64      `json:"mapped"`  // by the device details; null if they are damaged
	Reached uint64       `json:"reached"`
	Certain uint64       `json:"certain"`
	Likely  uint64       `json:"likely"`
	Missing *uint64      `json:"missing"` // mappings that were not found; null if it is not known
	Runs    []rebuiltRun `json:"runs"`
}

type rebuiltRun struct {
	From  uint64 `json:"from"` // chunk
	To    uint64 `json:"to"`   // the last one
	Grade string `json:"grade"`
	Why   string `json:"why"`
}

type unassignedMappings struct {
	Block    uint64 `json:"block"`
	First    uint64 `json:"first"`
	Last     uint64 `json:"last"`
	Mappings uint64 `json:"mappings"`
}

func newRebuiltPool(path string, pool *lvm2.LV, rebuilt *lvm2.RebuiltPool) rebuiltPool {
	names := map[uint64]string{}
	for seg := range pool.InPool() {
		names[seg.Mapping.(*metadata.Thin).DeviceID] = seg.LV.FileName()
	}
	p := rebuiltPool{Pool: path, ChunkSize: rebuilt.ChunkSize, Notes: append([]string{}, rebuilt.Notes...), Devices: []rebuiltDevice{}, Unassigned: []unassignedMappings{}}
	for _, d := range rebuilt.Devices {
		row := rebuiltDevice{ID: d.ID, LV: names[d.ID], Reached: d.Reached, Certain: d.Certain, Likely: d.Likely}
		if d.Counted {
			missing := d.Mapped - min(d.Mapped, d.Reached+d.Certain+d.Likely)
			row.Mapped, row.Missing = &d.Mapped, &missing
		}
		row.Runs = []rebuiltRun{}
		for _, run := range d.Runs {
			row.Runs = append(row.Runs, rebuiltRun(run))
		}
		p.Devices = append(p.Devices, row)
	}
	for _, u := range rebuilt.Unassigned {
		p.Unassigned = append(p.Unassigned, unassignedMappings(u))
	}
	return p
}

// shownRuns bounds what is printed of a device.
const shownRuns = 20

func (p *rebuiltPool) write(out io.Writer, look layout) error {
	var t table
	t.header("Device", "Volume", "Mapped chunks", "Reached", "Certain", "Likely", "Missing")
	for _, d := range p.Devices {
		t.row(number(d.ID), orDash(d.names()), numberOrDash(d.Mapped), number(d.Reached), number(d.Certain), number(d.Likely), numberOrDash(d.Missing))
	}
	if err := t.write(out, look); err != nil {
		return err
	}
	for _, d := range p.Devices {
		d.write(out, p.ChunkSize)
	}
	if len(p.Unassigned) > 0 {
		fmt.Fprintln(out, "\nNodes with mappings of which nothing says whose they are:")
	}
	for i, u := range p.Unassigned {
		if i == shownRuns {
			fmt.Fprintf(out, "  and %d more, which --json lists\n", len(p.Unassigned)-i)
			break
		}
		fmt.Fprintf(out, "  block %d: %d mappings of chunks %d to %d\n", u.Block, u.Mappings, u.First, u.Last)
	}
	for _, note := range p.Notes {
		fmt.Fprintln(out, "Note: "+printable(note))
	}
	return nil
}

func (d *rebuiltDevice) names() []string {
	if d.LV == "" {
		return nil
	}
	return []string{printable(d.LV)}
}

func (d *rebuiltDevice) write(out io.Writer, chunkSize int64) {
	if len(d.Runs) == 0 {
		return
	}
	fmt.Fprintf(out, "\nDevice %d, in chunks of %s, where no whole way leads:\n", d.ID, humanSize(chunkSize))
	for i, run := range d.Runs {
		if i == shownRuns {
			fmt.Fprintf(out, "  and %d more runs, which --json lists\n", len(d.Runs)-i)
			return
		}
		to := strconv.FormatUint(run.To, 10)
		if run.To == math.MaxUint64 {
			to = "the end"
		}
		fmt.Fprintf(out, "  %d to %s: %s: %s\n", run.From, to, run.Grade, printable(run.Why))
	}
}

func numberOrDash(n *uint64) string {
	if n == nil {
		return alignRight + "-"
	}
	return number(*n)
}

// writeNext says what to type to read what was found.
func (c *rescueCmd) writeNext(out io.Writer, p rebuiltPool) {
	grades := map[string]bool{}
	for _, d := range p.Devices {
		for _, run := range d.Runs {
			grades[run.Grade] = true
		}
	}
	list := func(what, value string) {
		fmt.Fprintf(out, "%s: lvm2fs list -a %s\n", what, commandLine(append(c.chosen("--thin-rebuild", value), c.Devices...)))
	}
	fmt.Fprintln(out)
	switch {
	case len(grades) == 0:
		fmt.Fprintln(out, "No mapping is missing: the pool can be read as it is.")
	case !grades["certain"] && !grades["likely"]:
		fmt.Fprintln(out, "Nothing could be put together again.")
	}
	if grades["certain"] {
		list("To see the pool with what is certain", c.Pool)
	}
	if grades["likely"] {
		list("To see it with what is likely too", c.Pool+"=likely")
	}
	if grades["contradictory"] || grades["lost"] {
		fmt.Fprintln(out, "What is contradictory or lost is never read.")
	}
}
