package cli

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	fit "lvm2fs/internal/printable"
	"lvm2fs/overlay"
)

type overlayCmd struct {
	JSON   bool     `name:"json" help:"With list: print JSON."`
	Action string   `arg:"" enum:"list,discard" name:"list|discard"`
	Dir    string   `arg:"" name:"dir"`
	LV     []string `arg:"" optional:"" name:"vg/lv"`
}

// Help is shown by lvm2fs overlay --help, between the synopsis and the flags.
func (overlayCmd) Help() string {
	return `Examples:
  lvm2fs -o overlay=/var/tmp/changes disk.img /mnt/lvm     what is written goes to /var/tmp/changes
  lvm2fs overlay list /var/tmp/changes
  lvm2fs dump --overlay /var/tmp/changes --lv vg/root disk.img
  lvm2fs overlay discard /var/tmp/changes vg/root

list shows the overlays in a directory: how much of each volume was written, how much was made zeros, and how much space
that takes. A volume is called as it was when its overlay was made.

discard removes overlays, with all that was written, so that the volumes are again what is on the disks: those of the
volumes named, or all in the directory. One that is in use stays.`
}

func (c *overlayCmd) Run(a *app) error {
	if c.JSON && c.Action != "list" {
		return usagef("--json: only with list")
	}
	dir, err := overlay.OpenDir(c.Dir)
	if err != nil {
		return err
	}
	defer dir.Close()
	entries, err := dir.Entries()
	if err != nil {
		return err
	}
	if entries, err = c.named(entries); err != nil {
		return err
	}
	if c.Action == "discard" {
		return c.discard(a, dir, entries)
	}
	return c.list(a, entries)
}

// named are the entries of the LVs that were named, or all.
func (c *overlayCmd) named(entries []overlay.Entry) ([]overlay.Entry, error) {
	if len(c.LV) == 0 {
		return entries, nil
	}
	var chosen []overlay.Entry
	for _, name := range c.LV {
		found := slices.DeleteFunc(slices.Clone(entries), func(e overlay.Entry) bool {
			return name != e.VGName+"/"+e.LVName && name != e.Name
		})
		switch len(found) {
		case 0:
			return nil, fmt.Errorf("no overlay of %q in %s", name, c.Dir)
		case 1:
			chosen = append(chosen, found[0])
		default:
			return nil, fmt.Errorf("%d overlays are of a %s: say %s or %s", len(found), name, found[0].Name, found[1].Name)
		}
	}
	return chosen, nil
}

func (c *overlayCmd) discard(a *app, dir *overlay.Dir, entries []overlay.Entry) error {
	var errs []error
	for _, e := range entries {
		if err := dir.Discard(e.Name); err != nil {
			errs = append(errs, err)
			continue
		}
		fmt.Fprintf(a.stdout, "discarded %s\n", printable(overlayOf(e)))
	}
	return errors.Join(errs...)
}

// overlayOf says what an overlay is of.
func overlayOf(e overlay.Entry) string {
	if e.VG == "" { // its header cannot be read
		return e.Name
	}
	return e.VGName + "/" + e.LVName
}

// listedOverlay is an element of overlays. What is not known of a damaged one is left out.
type listedOverlay struct {
	File     string     `json:"file"`
	VG       string     `json:"vg_name,omitempty"`
	LV       string     `json:"lv_name,omitempty"`
	VGUUID   string     `json:"vg_uuid,omitempty"`
	LVUUID   string     `json:"lv_uuid,omitempty"`
	Size     int64      `json:"lv_size,omitempty"`
	Written  int64      `json:"written"`
	Zeroed   int64      `json:"zeroed"`
	Damaged  int64      `json:"damaged"`
	OnDisk   int64      `json:"on_disk"`
	Created  *time.Time `json:"created,omitempty"`
	InUse    bool       `json:"in_use"`
	Problem  string     `json:"error,omitempty"`
	problems []string
}

func listed(e overlay.Entry) listedOverlay {
	l := listedOverlay{
		File: e.Name, OnDisk: e.Allocated, InUse: e.InUse,
		VG: fit.UTF8(e.VGName), LV: fit.UTF8(e.LVName), VGUUID: fit.UTF8(e.VG), LVUUID: fit.UTF8(e.LV), Size: e.Size,
		Written: e.Usage.Written, Zeroed: e.Usage.Zeroed, Damaged: e.Usage.Damaged,
	}
	if !e.Created.IsZero() {
		created := e.Created.UTC()
		l.Created = &created
	}
	if e.InUse {
		l.problems = append(l.problems, "in use")
	}
	if e.Usage.Damaged > 0 {
		l.problems = append(l.problems, fmt.Sprintf("%d bytes cannot be read: their part of the map is damaged", e.Usage.Damaged))
	}
	if e.Err != nil {
		l.Problem = fit.UTF8(oneLine(e.Err))
		l.problems = append(l.problems, l.Problem)
	}
	return l
}

func (c *overlayCmd) list(a *app, entries []overlay.Entry) error {
	all, damaged := []listedOverlay{}, 0
	for _, e := range entries {
		l := listed(e)
		if e.Err != nil || l.Damaged > 0 {
			damaged++
		}
		all = append(all, l)
	}
	out := bufio.NewWriter(a.stdout)
	var err error
	if c.JSON {
		err = writeJSON(out, map[string]any{"overlays": all})
	} else {
		err = c.writeTable(a, out, entries, all)
	}
	if err := errors.Join(err, out.Flush()); err != nil {
		return err
	}
	if damaged > 0 {
		return fmt.Errorf("%w: %d of %d overlays are damaged", errIncomplete, damaged, len(all))
	}
	return nil
}

func (c *overlayCmd) writeTable(a *app, out io.Writer, entries []overlay.Entry, all []listedOverlay) error {
	if len(all) == 0 {
		_, err := fmt.Fprintf(out, "no overlays in %s\n", printable(c.Dir))
		return err
	}
	var t table
	t.header("LV", "Size", "Written", "Zeros", "On disk", "Made", "Notes")
	for i, l := range all {
		whole, made := alignRight+"-", "-"
		if l.Created != nil {
			whole, made = size(l.Size), l.Created.Local().Format(time.DateTime)
		}
		t.row(printable(overlayOf(entries[i])), whole, size(l.Written), size(l.Zeroed), size(l.OnDisk), made, notes(l.problems))
	}
	return t.write(out, layout{headings: true, width: a.terminalWidth()})
}
