package fusefs

import (
	"bytes"
	"fmt"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"lvm2fs/internal/test/testenv"
	"lvm2fs/lvm2"
)

func TestAPrivateMountIsReachedThroughItsRootAloneAndEndsWithItsLastFile(t *testing.T) {
	testenv.NeedRoot(t)
	testenv.NeedFUSE(t)
	disks := oneLV().Disks()
	var devices []lvm2.Device
	for _, d := range disks {
		devices = append(devices, d)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	const fd = 800
	s, err := MountPrivate(Config{Scan: lvm2.Open(devices, lvm2.Options{}), BlockDevices: true}, fd)
	if err != nil {
		t.Fatal(err)
	}
	defer s.ForceUnmount()
	if now, err := os.ReadFile("/proc/self/mountinfo"); err != nil || !bytes.Equal(now, mounts) {
		t.Errorf("the mount shows in the table (%v)", err)
	}
	// Package os would poll what it opens. That asks this process, which may be waiting for the answer.
	file, err := unix.Open(fmt.Sprintf("/proc/self/fd/%d/vg/data", fd), unix.O_RDONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	want := contents(disks)
	got := make([]byte, len(want))
	if n, err := unix.Pread(file, got, 0); n != len(want) || err != nil || !bytes.Equal(got, want) {
		t.Errorf("read %d bytes of %d, %v", n, len(want), err)
	}
	_, err = unix.Pread(file, got, extent)
	wantErrno(t, "reading over the end", err, unix.EIO)

	ended := make(chan error, 1)
	go func() { ended <- s.Unmount() }()
	select {
	case err := <-ended:
		t.Errorf("the mount ended although a file is open: %v", err)
	case <-time.After(100 * time.Millisecond):
	}
	if n, err := unix.Pread(file, got, 0); n != len(want) || err != nil {
		t.Errorf("after unmounting, %d bytes could be read, %v", n, err)
	}
	unix.Close(file)
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Error("the mount has not ended")
	}
}
