package cli

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"lvm2fs/attach"
)

type detachCmd struct {
	All bool `help:"Detach all that is attached."`

	Names []string `arg:"" optional:"" name:"vg/lv|device"`
}

// Help is shown by lvm2fs detach --help, between the synopsis and the flags.
func (detachCmd) Help() string {
	return `Examples:
  lvm2fs detach vg/root
  lvm2fs detach /dev/loop3
  lvm2fs detach --all

Takes the block device of an LV away that lvm2fs attach has made, and returns when it is gone and all
that was written is on disk. One that is mounted, or in use otherwise, stays, and the error says where.`
}

func (c *detachCmd) Run(a *app) error {
	if c.All == (len(c.Names) > 0) {
		return usagef("say VG/LV, a block device, or --all")
	}
	if os.Geteuid() != 0 {
		return errors.New("taking a block device away takes root")
	}
	return (*attachCmd)(nil).withState(func(st *attach.State) error {
		var entries []*attach.Entry
		var errs []error
		for _, name := range c.Names {
			e := st.Find(name)
			if e == nil {
				errs = append(errs, fmt.Errorf("%s: %w", name, attach.ErrNotAttached))
			} else if !slices.Contains(entries, e) {
				entries = append(entries, e)
			}
		}
		if c.All {
			for _, e := range st.Entries {
				if e.Way != attach.Claim {
					entries = append(entries, e)
				}
			}
		}
		for _, e := range entries {
			errs = append(errs, detachEntry(a, st, e))
		}
		return errors.Join(errs...)
	})
}
