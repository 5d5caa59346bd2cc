package scan

import (
	"errors"
	"fmt"
	"io/fs"

	"lvm2fs/blockdev"
	"lvm2fs/blockdev/pieces"
	"lvm2fs/mapping"
)

// devices are what a session has opened by path, each once, but for the files that images name.
type devices struct {
	given []mapping.Device // by the caller, who closes them
	all   []*blockdev.Device
}

// add opens a device. nil without an error: it is open already.
func (s *devices) add(path string) (*blockdev.Device, error) {
	d, err := blockdev.Open(path, blockdev.Options{})
	switch {
	case err != nil:
		return nil, err
	case s.same(d) != nil:
		return nil, d.Close()
	}
	s.all = append(s.all, d)
	return d, nil
}

// same is the device that d is too; nil if it is another.
func (s *devices) same(d *blockdev.Device) mapping.Device {
	for _, other := range s.given {
		if d.Same(other) {
			return other
		}
	}
	for _, other := range s.all {
		if d.Same(other) {
			return other
		}
	}
	return nil
}

func (s *devices) refresh() error {
	for _, d := range s.given {
		if err := mapping.Refresh(d); err != nil {
			return err
		}
	}
	for _, d := range s.all {
		if err := d.Refresh(); err != nil {
			return err
		}
	}
	return nil
}

func (s *devices) close() error {
	var errs []error
	for _, d := range s.all {
		errs = append(errs, d.Close())
	}
	return errors.Join(errs...)
}

// partition is the system's own device for a partition of a disk: writing to it takes no more than the
// partition. nil if there is none.
func (s *devices) partition(disk mapping.Device, number int, start, size int64) mapping.Device {
	whole, ok := disk.(*blockdev.Device)
	if !ok {
		return nil
	}
	for _, path := range whole.Partitions(number, start, size) {
		d, err := blockdev.Open(path, blockdev.Options{})
		if err != nil {
			continue
		}
		if other := s.same(d); other != nil {
			_ = d.Close()
			return other
		}
		if d.Size() == size {
			s.all = append(s.all, d)
			return d
		}
		_ = d.Close()
	}
	return nil
}

// openAll opens the paths and, if they are asked for, the disks of the system. It fails if that leaves no device.
func (s *Session) openAll(paths []string) error {
	for _, path := range paths {
		if s.opts.Pieces {
			// Any piece stands for all of them.
			if all, err := pieces.Find(path); err == nil {
				path = all[0]
			}
		}
		d, err := s.open.add(path)
		switch {
		case err != nil:
			s.notOpened = append(s.notOpened, Problem{Reason: NotOpened, Refused: true, Err: err})
		case d != nil:
			s.named = append(s.named, d)
		}
	}
	if s.opts.SystemDisks {
		s.openDisks()
	}
	if failures := refusals(s.notOpened); len(s.named)+len(s.system) == 0 && len(failures) > 0 {
		return errors.Join(failures...)
	}
	return nil
}

// openDisks opens the disks of the system. One that may not be opened, or has no medium, is
// passed over with a note; if there is no other device it is a failure.
func (s *Session) openDisks() {
	paths, err := blockdev.Disks()
	if err != nil {
		s.notOpened = append(s.notOpened, Problem{Reason: NotOpened, Refused: true, Err: err})
		return
	}
	var failures []error
	for _, path := range paths {
		d, err := s.open.add(path)
		switch {
		case d != nil:
			s.system = append(s.system, d)
		case err != nil && !errors.Is(err, blockdev.ErrNoMedium) && !errors.Is(err, fs.ErrNotExist):
			failures = append(failures, err)
		}
	}
	alone := len(s.named)+len(s.system) == 0
	for _, err := range failures {
		if !alone {
			err = fmt.Errorf("skipped: %w", err)
		}
		s.notOpened = append(s.notOpened, Problem{Reason: NotOpened, Refused: alone, Err: err})
	}
}
