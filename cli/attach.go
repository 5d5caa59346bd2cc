package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"lvm2fs/attach"
	"lvm2fs/lvm2"
	"lvm2fs/scan"
)

type attachCmd struct {
	ReadOnly   bool     `short:"r" help:"Forbid writing."`
	All        bool     `help:"Attach every LV that is shown in a mount."`
	LV         []string `name:"lv" sep:"none" placeholder:"VG/LV" help:"Attach this LV. May be given more than once."`
	Partitions bool     `help:"Make devices of the partitions in the LVs too."`
	List       bool     `help:"Show what is attached."`
	JSON       bool     `name:"json" help:"With --list: as JSON, described in docs/attach.schema.json."`
	Reload     bool     `help:"Read the metadata again: devices grow and shrink with their LVs."`
	Mounted    bool     `hidden:"" help:"Through a process in the background whatever the LV is made of."`
	LogFile    string   `placeholder:"FILE" help:"What runs in the background appends its messages to FILE. The default is syslog."`
	deviceOptions

	Devices []string `arg:"" optional:"" name:"device"`
}

// Help is shown by lvm2fs attach --help, between the synopsis and the flags.
func (attachCmd) Help() string {
	return `Examples:
  lvm2fs attach --lv vg/root /dev/sdb1
  mount /run/lvm2fs/vg/root /mnt/root
  lvm2fs attach -r --all disk1.img disk2.img
  lvm2fs attach --lv vg/windows --partitions disk.img
  lvm2fs attach --list
  lvm2fs attach --reload               lvm2 has changed something
  lvm2fs detach vg/root

Makes a block device of each LV and prints its name and the device. It takes root; a mount,
whose files are much the same, does not. An LV that is one run of bytes of one disk is left to the
kernel alone, at its own speed. For any other a process stays in the background until it
is detached. The directory /run/lvm2fs has a link VG/LV to each device.`
}

// runDirEnv names another directory than runDir.
const runDirEnv = "LVM2FS_RUN_DIR"

// attachDir is the directory of the list and the links. Its path is absolute: a reload goes to the directories in which devices
// were named.
func attachDir() string {
	if dir, err := filepath.Abs(os.Getenv(runDirEnv)); err == nil && os.Getenv(runDirEnv) != "" {
		return dir
	}
	return runDir
}

func (c *attachCmd) Run(a *app) error {
	switch {
	case c.List:
		return c.list(a)
	case c.JSON:
		return usagef("--json: only with --list")
	case c.Reload && (c.All || len(c.LV) > 0 || len(c.Devices) > 0):
		return usagef("--reload is of all that is attached")
	case !c.Reload && len(c.LV) == 0 && !c.All:
		return usagef("no LV named: say --lv VG/LV, or --all")
	}
	if os.Geteuid() != 0 {
		return errNeedsRoot
	}
	if ready := readyPipe(); ready != nil {
		return c.serve(a, ready)
	}
	return c.withState(func(st *attach.State) error {
		if c.Reload {
			return reloadAttached(a, st)
		}
		return c.attach(a, st)
	})
}

var errNeedsRoot = errors.New("making a block device takes root; a mount needs none: lvm2fs DEVICE... MOUNTPOINT")

// withState is for who changes what is attached.
func (*attachCmd) withState(change func(*attach.State) error) error {
	st, err := attach.Lock(attachDir())
	if err != nil {
		return err
	}
	defer st.Close()
	return errors.Join(tidy(st), change(st))
}

// tidy takes off the list what is no longer there, and takes away what a process that was killed has left half done.
func tidy(st *attach.State) error {
	var errs []error
	changed := false
	for _, e := range slices.Clone(st.Entries) {
		alive := isAttached(e)
		if alive && e.Pending {
			errs = append(errs, takeAway(st, e))
			alive = false
		}
		if !alive {
			st.Remove(e)
			changed = true
		}
	}
	for _, e := range st.IdleClaims() {
		errs = append(errs, takeAway(st, e))
		st.Remove(e)
		changed = true
	}
	if changed {
		errs = append(errs, st.Save())
	}
	return errors.Join(errs...)
}

// attach makes block devices of the LVs that are asked for, and goes on with the next where one cannot be.
func (c *attachCmd) attach(a *app, st *attach.State) error {
	c.ours = claimedHere(st)
	asked := &remembering{asker: a.ask}
	defer asked.forget()
	a.ask = asked
	s, err := openDevices(a, c.Devices, c.deviceOptions)
	if err != nil {
		return err
	}
	defer s.Close()
	asked.replay = true // for the process in the background
	lvs, err := c.chosen(s.Result())
	if err != nil {
		return err
	}
	m := newMaker(a, c, st, s)
	defer m.close()
	var errs []error
	made := map[*lvm2.LV]*attach.Entry{}
	for _, lv := range contiguousFirst(lvs) {
		e, err := c.attachOne(m, lv)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		made[lv] = e
	}
	if err := m.finish(); err != nil {
		return errors.Join(append(errs, err)...)
	}
	for _, lv := range lvs {
		if e := made[lv]; e != nil {
			fmt.Fprintln(a.stdout, strings.Join(append([]string{e.LV, e.Device}, partitionsOf(e)...), "  "))
		}
	}
	for i, err := range errs {
		if i < len(errs)-1 {
			a.warnf("%w", err)
		}
	}
	if len(errs) > 0 {
		return errs[len(errs)-1]
	}
	return nil
}

// contiguousFirst puts those first that the kernel can have alone. Their devices keep others from the disks, but let a
// process of ours in. The process keeps everybody out, so it must come later.
func contiguousFirst(lvs []*lvm2.LV) []*lvm2.LV {
	var first, then []*lvm2.LV
	for _, lv := range lvs {
		if _, ok := attach.Contiguous(lv); ok {
			first = append(first, lv)
		} else {
			then = append(then, lv)
		}
	}
	return append(first, then...)
}

func (c *attachCmd) chosen(found *scan.Result) ([]*lvm2.LV, error) {
	var lvs []*lvm2.LV
	add := func(lv *lvm2.LV) {
		if !slices.Contains(lvs, lv) {
			lvs = append(lvs, lv)
		}
	}
	for _, name := range c.LV {
		lv, err := findLV(found, name)
		if err != nil {
			return nil, err
		}
		if !lv.Visible() {
			return nil, fmt.Errorf("LV %s is internal", lvPath(lv))
		}
		add(lv)
	}
	if c.All {
		for _, vg := range found.VGs {
			for _, lv := range vg.LVs {
				if lv.Visible() {
					add(lv)
				}
			}
		}
	}
	return lvs, nil
}

// attachOne finds the LV among what is attached, or attaches it.
func (c *attachCmd) attachOne(m *maker, lv *lvm2.LV) (*attach.Entry, error) {
	if e := m.st.OfLV(lv.VG.UUID.String(), lv.UUID.String()); e != nil {
		switch {
		case isBroken(e) && m.takeOver(e, lv):
			return e, nil
		case isBroken(e):
			if err := detachEntry(m.a, m.st, e); err != nil {
				return nil, fmt.Errorf("%s is attached as %s, but the process behind it is gone: %w", e.LV, e.Device, err)
			}
		case e.ReadOnly != c.ReadOnly:
			mode := map[bool]string{false: "for writing too", true: "read-only"}[e.ReadOnly]
			return nil, fmt.Errorf("%s is attached already, %s, as %s", e.LV, mode, e.Device)
		default:
			return e, nil
		}
	}
	if err := linkable(lvPath(lv)); err != nil {
		return nil, err
	}
	v, err := lv.Open()
	if err != nil {
		return nil, err
	}
	if !c.ReadOnly {
		if err := lv.ReadOnlyReason(); err != nil {
			return nil, fmt.Errorf("%w (-r attaches it read-only)", err)
		}
	}
	e := &attach.Entry{
		LV:         lvPath(lv),
		VGUUID:     lv.VG.UUID.String(),
		LVUUID:     lv.UUID.String(),
		Size:       v.Size(),
		ReadOnly:   c.ReadOnly,
		Partitions: c.Partitions,
		Since:      time.Now().UTC().Truncate(time.Second),
		By:         whoAmI(),
		Command:    m.a.args,
		Options:    c.optionsText(),
	}
	if e.Dir, err = os.Getwd(); err != nil {
		return nil, err
	}
	e.BlockSize = blockSizeOf(lv, v.Size())
	return e, m.make(e, lv)
}

// linkable says why VG/LV cannot be the name of a link. Names come from disks. Package lvm2 has replaced those that lvm
// would not allow, so this is a second check.
func linkable(path string) error {
	vg, lv, ok := strings.Cut(path, "/")
	bad := func(s string) bool { return s == "" || s == "." || s == ".." || strings.ContainsAny(s, "/\x00") }
	if !ok || bad(vg) || bad(lv) || vg == attach.OwnDir {
		return fmt.Errorf("%q is no name for a link", path)
	}
	return nil
}

// optionsText is equal for flags about devices that mean the same.
func (c *attachCmd) optionsText() string {
	text, err := json.Marshal(c.deviceOptions)
	if err != nil {
		panic(err) // they are words and numbers
	}
	return string(text)
}

// blockSizeOf is the size in bytes of the logical blocks of a block device of an LV: that of the sectors of its PVs, if the LV
// is whole blocks of that size.
func blockSizeOf(lv *lvm2.LV, size int64) int {
	block := int64(512)
	for _, d := range lv.Devices() {
		block = max(block, scan.SectorSize(d))
	}
	const most = 4096 // a page, which is as much as every kernel takes
	if block > most || size%block != 0 {
		block = 512
	}
	return int(block)
}

// whoAmI names who runs this, also through sudo.
func whoAmI() string {
	if name := os.Getenv("SUDO_USER"); name != "" {
		return printable(name)
	}
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return fmt.Sprint(os.Getuid())
}
