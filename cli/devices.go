package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"lvm2fs/lvm2"
	"lvm2fs/mapping"
)

// deviceOptions are the flags about DEVICEs that every command has.
type deviceOptions struct {
	Exclusive bool `help:"Refuse devices that something else is using."`
}

// session is a set of open devices and what was found on them.
type session struct {
	Scan    *lvm2.Scan
	Devices []device
}

type device interface {
	mapping.Device
	io.Closer
}

// Close closes the devices.
func (s *session) Close() error {
	var errs []error
	for _, d := range s.Devices {
		errs = append(errs, d.Close())
	}
	return errors.Join(errs...)
}

// openDevices opens the DEVICE arguments of a command and reads what is on them. What
// is wrong but can be got over goes to standard error, a line each. It fails if no
// volume group is found.
func openDevices(a *app, paths []string, opts deviceOptions) (*session, error) {
	s := &session{}
	var devices []lvm2.Device
	for _, path := range paths {
		f, err := os.Open(path)
		if err != nil {
			s.Close()
			return nil, err
		}
		d := fileDevice{f}
		s.Devices = append(s.Devices, d)
		devices = append(devices, d)
	}
	scan := lvm2.Open(devices, lvm2.Options{})
	s.Scan = scan
	for _, warning := range scan.Warnings {
		a.warnf("%w", warning)
	}
	for _, rejected := range scan.Rejected {
		a.warnf("%s: %w", rejected.Device.Name(), rejected.Err)
	}
	if len(scan.VGs) == 0 {
		s.Close()
		return nil, fmt.Errorf("no volume group found on %s", strings.Join(paths, ", "))
	}
	return s, nil
}

type fileDevice struct{ *os.File }

func (f fileDevice) Size() int64 {
	info, err := f.Stat()
	if err != nil {
		return 0
	}
	return info.Size()
}
