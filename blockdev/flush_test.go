package blockdev

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"
)

func TestADiskThatHasNothingToFlushIsFlushed(t *testing.T) {
	for _, answer := range []error{nil, unix.EOPNOTSUPP, unix.ENOTSUP, unix.ENOTTY} {
		if err := flushCache(func() error { return answer }); err != nil {
			t.Errorf("the disk answers %v: %v", answer, err)
		}
	}
	for _, answer := range []error{unix.EIO, unix.ENXIO, unix.ENODEV, unix.ENOSPC, unix.EROFS} {
		if err := flushCache(func() error { return answer }); !errors.Is(err, answer) {
			t.Errorf("the disk answers %v: %v", answer, err)
		}
	}
}

// The driver of some disks on FreeBSD cannot flush. Whoever writes to such a disk goes on, one after the other or all
// together; so does whoever flushes for a state of their own.
func TestAWriterOfADiskThatCannotFlushGoesOn(t *testing.T) {
	s := newSectorDisk(512, make([]byte, 4096))
	s.cache = unix.EOPNOTSUPP
	d, err := s.device()
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	for range 2 {
		if err := d.Claim(); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if _, err := d.WriteAt([]byte("written"), 1000); err != nil {
				t.Fatal(err)
			}
			if err := d.Sync(); err != nil {
				t.Errorf("sync: %v", err)
			}
		}
		if err := d.Release(); err != nil {
			t.Errorf("release: %v", err)
		}
	}
}
