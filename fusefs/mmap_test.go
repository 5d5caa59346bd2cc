package fusefs

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"lvm2fs/internal/test/testpv"
)

// A process must not touch memory mapped from a file that it serves itself. The thread waits in a page fault; Go's
// scheduler knows nothing of that and cannot go on without the thread. So the tests map files in a child.
const mapperEnv = "LVM2FS_TEST_MAP"

func TestMain(m *testing.M) {
	if how := os.Getenv(mapperEnv); how != "" {
		if err := mapFile(how, os.Args[1]); err != nil {
			fmt.Print(err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

const mappedText = "written through memory"

// mapFile writes the file's bytes, as mapped, to standard output; for "write" it changes the
// first of them before, and the next ones by a write to the file.
func mapFile(how, path string) error {
	flags, protection, mode := unix.MAP_SHARED, unix.PROT_READ, os.O_RDONLY
	switch how {
	case "private":
		flags = unix.MAP_PRIVATE
	case "write":
		protection, mode = unix.PROT_READ|unix.PROT_WRITE, os.O_RDWR
	}
	f, err := os.OpenFile(path, mode, 0)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return err
	}
	p, err := unix.Mmap(int(f.Fd()), 0, int(info.Size()), protection, flags)
	if err != nil {
		return err
	}
	if how == "write" {
		copy(p, mappedText)
		if err := unix.Msync(p, unix.MS_SYNC); err != nil {
			return err
		}
		if _, err := f.WriteAt([]byte(mappedText), 100); err != nil {
			return err
		}
	}
	_, err = os.Stdout.Write(p)
	return errors.Join(err, unix.Munmap(p))
}

func (m *mounted) mapped(how, name string) []byte {
	m.t.Helper()
	me, err := os.Executable()
	if err != nil {
		m.t.Fatal(err)
	}
	cmd := exec.Command(me, m.path(name))
	cmd.Env = append(os.Environ(), mapperEnv+"="+how)
	out, err := cmd.Output()
	if err != nil && how != "private" && strings.Contains(string(out), unix.ENODEV.Error()) {
		m.t.Skip("this kernel cannot share the memory of a FUSE file with direct I/O")
	}
	if err != nil {
		m.t.Fatalf("%s: %v: %s", how, err, out)
	}
	return out
}

func TestFilesCanBeMappedIntoMemory(t *testing.T) {
	m := mount(t, oneLV())
	want := contents(m.disks)
	for _, how := range []string{"private", "shared"} {
		if got := m.mapped(how, "vg/data"); !bytes.Equal(got, want) {
			t.Errorf("%s: %d bytes, or other ones", how, len(got))
		}
	}
}

func TestMappedMemoryAndTheFileAreOne(t *testing.T) {
	m := mount(t, oneLV())
	got := m.mapped("write", "vg/data")
	want := contents(m.disks)
	copy(want, mappedText)
	copy(want[100:], mappedText)
	if !bytes.Equal(got, want) {
		t.Errorf("the memory has %q, and %q", got[:len(mappedText)], got[100:100+len(mappedText)])
	}
	if now := contents(m.disks); !bytes.Equal(now, want) {
		t.Errorf("the disk has %q, and %q", now[:len(mappedText)], now[100:100+len(mappedText)])
	}
}

func TestMappedMemoryIsNotKeptOverAReload(t *testing.T) {
	m := mount(t, oneLV())
	m.mapped("shared", "vg/data")
	m.update(moved())
	m.mustReload()
	if got := m.mapped("shared", "vg/data"); !bytes.Equal(got, m.disks[1].Contents()[testpv.DataStart+40*extent:][:5*extent]) {
		t.Error("other bytes")
	}
}
