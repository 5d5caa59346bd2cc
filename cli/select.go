package cli

import (
	"errors"
	"fmt"

	"lvm2fs/lvm2"
	"lvm2fs/scan"
)

// lvPath names an LV as its file in the mounted tree is named: VG/LV.
func lvPath(lv *lvm2.LV) string { return lv.VG.DirName() + "/" + lv.FileName() }

// findLV finds the LV that a user calls VG/LV; see [scan.Result.LV].
func findLV(r *scan.Result, path string) (*lvm2.LV, error) {
	lv, err := r.LV(path)
	return lv, asUsage(err)
}

// asUsage makes the error for what is no VG/LV one about the command line.
func asUsage(err error) error {
	if errors.Is(err, scan.ErrLVPath) {
		return usageError{err}
	}
	return err
}

// damagedVGs names the VGs that may have lost more than is known.
func damagedVGs(vgs []*lvm2.VG) []error {
	var errs []error
	for _, vg := range vgs {
		if err := vg.Damage(); err != nil {
			errs = append(errs, fmt.Errorf("VG %s: %w", vg.DirName(), err))
		}
	}
	return errs
}
