package blockdev

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// Claim takes the device for writing. Claims are counted: the first one opens the device
// as exclusively as the platform can, the others join it. It fails with ErrBusy, naming
// who uses the device where that can be told, with ErrReadOnlyDevice, or with ErrChanged
// if the path has come to name something else; the device stays readable.
func (d *Device) Claim() error {
	d.claim.Lock()
	defer d.claim.Unlock()
	if d.closed {
		return fmt.Errorf("%s: %w", d.name, os.ErrClosed)
	}
	if d.claims.Load() == 0 {
		w, err := d.reopen(d.shared != nil && d.shared())
		if err != nil {
			return fmt.Errorf("%s: %w", d.name, d.claimError(bare(err)))
		}
		d.w, d.lost = w, nil
		d.r.forget()
	}
	d.claims.Add(1)
	return nil
}

// Release gives up one claim; the last one closes the descriptor for writing. It does
// not wait for stable storage: that is Sync's.
func (d *Device) Release() error {
	d.claim.Lock()
	defer d.claim.Unlock()
	if d.claims.Load() == 0 {
		return fmt.Errorf("%s: %w", d.name, d.notClaimed())
	}
	if d.claims.Add(-1) > 0 {
		return nil
	}
	err := d.w.Close()
	d.w = nil
	if err != nil {
		return fmt.Errorf("%s: closing: %w", d.name, bare(err))
	}
	return nil
}

// openShared opens path for writing, whoever else has it open.
func openShared(path string, isFile bool, flags int) (*os.File, error) {
	f, err := openDescriptor(path, os.O_RDWR|flags)
	if err != nil || isFile {
		return f, err
	}
	if readOnly, err := isReadOnlyDevice(f); readOnly || err != nil {
		f.Close()
		return nil, errors.Join(syscall.EROFS, err)
	}
	return f, nil
}

// ShareClaim lets a claim succeed without keeping others out if shared says that somebody does so for us already: a block
// device of ours that lies on this one. Call it before the first claim.
func (d *Device) ShareClaim(shared func() bool) { d.shared = shared }

// ClaimedFile is the descriptor for writing of a claim. Who else is given it, as a loop device is, has the claim too, for
// as long as it is open there. It is not the caller's to close, and lives as long as the claim.
func (d *Device) ClaimedFile() (*os.File, bool) {
	d.claim.RLock()
	defer d.claim.RUnlock()
	f, ok := d.w.(*osFile)
	if !ok {
		return nil, false
	}
	return f.File, true
}

func (d *Device) claimError(err error) error {
	switch {
	case errors.Is(err, ErrBusy):
		return err
	case isBusy(err, d.isFile):
		for _, users := range [][]Holder{d.InUse(), d.attachedTo()} {
			if len(users) > 0 {
				return fmt.Errorf("%w: %s", ErrBusy, users[0])
			}
		}
		return fmt.Errorf("%w by another program", ErrBusy)
	case errors.Is(err, syscall.EROFS), errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w: %w", ErrReadOnlyDevice, err)
	}
	return err
}

// Claimed says whether anybody has claimed the device and not released it.
func (d *Device) Claimed() bool { return d.claims.Load() > 0 }
