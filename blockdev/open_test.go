package blockdev

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestOpenRefusesWhatIsNoDevice(t *testing.T) {
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	// Names of sockets must be short.
	sockets, err := os.MkdirTemp("", "s")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(sockets)
	socket := filepath.Join(sockets, "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, c := range []struct {
		path string
		want error
		says string
	}{
		{dir, ErrDirectory, "is a directory, not a device or an image file"},
		{fifo, ErrNotDisk, "is a FIFO, not a disk or an image file"},
		{socket, ErrNotDisk, "is a socket, not a disk or an image file"},
		{"/dev/null", ErrNotDisk, "is a character device, not a disk or an image file"},
		{filepath.Join(dir, "none"), fs.ErrNotExist, "no such file or directory"},
		{filepath.Join(fifo, "none"), syscall.ENOTDIR, "not a directory"},
	} {
		d, err := Open(c.path, Options{})
		if err == nil {
			d.Close()
		}
		if !errors.Is(err, c.want) || err.Error() != c.path+": "+c.says {
			t.Errorf("%v; want %s: %s", err, c.path, c.says)
		}
	}
	if !errors.Is(ErrDirectory, syscall.EISDIR) || !errors.Is(ErrBusy, syscall.EBUSY) || !errors.Is(ErrReadOnlyDevice, syscall.EROFS) {
		t.Error("an error has lost its errno")
	}
}

func TestAnErrorUsesTheNameGiven(t *testing.T) {
	if _, err := Open("/none/at/all", Options{Name: "disk 3"}); err == nil || !strings.HasPrefix(err.Error(), "disk 3: ") {
		t.Errorf("%v", err)
	}
}

func TestAnImageFileTellsItsSizeAndTime(t *testing.T) {
	path := writeImage(t, noise(12345))
	stamp := time.Date(2020, 2, 3, 4, 5, 6, 0, time.UTC)
	if err := os.Chtimes(path, stamp, stamp); err != nil {
		t.Fatal(err)
	}
	d, _ := openForTest(t, path, Options{Name: "image"})
	if d.Name() != "image" || d.Path() != path || !d.IsFile() || d.SectorSize() != 1 || d.Size() != 12345 || !d.ModTime().Equal(stamp) {
		t.Errorf("%q %q %v %d %d %v", d.Name(), d.Path(), d.IsFile(), d.SectorSize(), d.Size(), d.ModTime())
	}

	if err := os.Truncate(path, 4096); err != nil {
		t.Fatal(err)
	}
	later := stamp.Add(time.Hour)
	if err := os.Chtimes(path, later, later); err != nil {
		t.Fatal(err)
	}
	if d.Size() != 12345 || !d.ModTime().Equal(stamp) {
		t.Error("size or time moved before Refresh")
	}
	if err := d.Refresh(); err != nil {
		t.Fatal(err)
	}
	if d.Size() != 4096 || !d.ModTime().Equal(later) {
		t.Errorf("after Refresh: %d %v", d.Size(), d.ModTime())
	}
}

func TestTheDescriptorReadsAtAnyOffset(t *testing.T) {
	overMedia(t, func(t *testing.T, d *Device, _ io.ReaderAt, data []byte) {
		f, ok := d.File()
		if ok != (d.SectorSize() == 1) {
			t.Fatalf("File gives one: %v, with sectors of %d bytes", ok, d.SectorSize())
		}
		if !ok {
			return
		}
		p := make([]byte, 1001)
		if n, err := unix.Pread(int(f.Fd()), p, 777); n != len(p) || err != nil || !bytes.Equal(p, data[777:1778]) {
			t.Errorf("%d, %v, or wrong bytes", n, err)
		}
	})
}

func TestTheSameFileIsSeenByAnyPath(t *testing.T) {
	path := writeImage(t, noise(512))
	dir := filepath.Dir(path)
	hard, soft := filepath.Join(dir, "hard"), filepath.Join(dir, "soft")
	if err := errors.Join(os.Link(path, hard), os.Symlink(path, soft)); err != nil {
		t.Fatal(err)
	}
	d, _ := openForTest(t, path, Options{})
	for _, p := range []string{path, dir + "/./disk.img", hard, soft} {
		if o, _ := openForTest(t, p, Options{}); !d.Same(o) || !o.Same(d) {
			t.Errorf("%s is another file than %s", p, path)
		}
	}
	if o, _ := openForTest(t, writeImage(t, noise(512)), Options{}); d.Same(o) {
		t.Error("a copy is the same file")
	}
}

func TestAPathThatNamesAnotherFileIsNotClaimed(t *testing.T) {
	path := writeImage(t, noise(4096))
	d, _ := openForTest(t, path, Options{})
	if err := os.Rename(writeImage(t, noise(4096)), path); err != nil {
		t.Fatal(err)
	}
	if err := d.Claim(); !errors.Is(err, ErrChanged) || !strings.HasPrefix(err.Error(), path+": ") {
		t.Errorf("%v; want ErrChanged", err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := d.Claim(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v; want ErrNotExist", err)
	}
	if _, err := d.ReadAt(make([]byte, 4096), 0); err != nil {
		t.Errorf("reading what was opened: %v", err)
	}
}

func TestARelativePathIsClaimedFromAnotherDirectory(t *testing.T) {
	path := writeImage(t, noise(4096))
	t.Chdir(filepath.Dir(path))
	d, _ := openForTest(t, "disk.img", Options{})
	t.Chdir("/")
	claimForTest(t, d)
	if d.Path() != "disk.img" || d.Name() != "disk.img" {
		t.Errorf("path %q, name %q; want what was given", d.Path(), d.Name())
	}
}

func TestADiskWithOddSectorsIsRefused(t *testing.T) {
	for _, sector := range []int64{0, -512, 520, 1 << 20} {
		if _, err := newSectorDisk(sector, make([]byte, 1<<20)).device(); !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("sectors of %d bytes: %v; want ErrUnsupported", sector, err)
		}
	}
	if _, err := newSectorDisk(512, nil).device(); !errors.Is(err, ErrNoMedium) {
		t.Errorf("no bytes at all: %v; want ErrNoMedium", err)
	}
}

func TestAWordForAShellIsQuotedWhereItMustBe(t *testing.T) {
	for word, want := range map[string]string{
		"/mnt/a-b_c.d":   "/mnt/a-b_c.d",
		"/mnt/my disk":   "'/mnt/my disk'",
		"it's":           `'it'\''s'`,
		"":               "''",
		"a\nb'c":         `$'a\nb\'c'`,
		"$(reboot)`x`;&": "'$(reboot)`x`;&'",
	} {
		if got := shellWord(word); got != want {
			t.Errorf("%q: %s, want %s", word, got, want)
		}
	}
}
