package blockdev

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"lvm2fs/internal/test/testenv"
)

func init() {
	media = append(media,
		medium{"loop device", 1, func(t *testing.T, data []byte) (*Device, io.ReaderAt) {
			return openForTest(t, attach(t, writeImage(t, data), 512), Options{})
		}},
		medium{"loop device with 4096-byte sectors", 1, func(t *testing.T, data []byte) (*Device, io.ReaderAt) {
			return openForTest(t, attach(t, writeImage(t, data), 4096), Options{})
		}},
		medium{"O_DIRECT on an image file", 0, func(t *testing.T, data []byte) (*Device, io.ReaderAt) {
			return openDirect(t, writeImage(t, data))
		}},
		medium{"O_DIRECT on a loop device", 512, func(t *testing.T, data []byte) (*Device, io.ReaderAt) {
			return openDirect(t, attach(t, writeImage(t, data), 512))
		}},
		medium{"O_DIRECT on a loop device with 4096-byte sectors", 4096, func(t *testing.T, data []byte) (*Device, io.ReaderAt) {
			return openDirect(t, attach(t, writeImage(t, data), 4096))
		}},
	)
}

func openDirect(t *testing.T, path string) (*Device, io.ReaderAt) {
	t.Helper()
	d, err := Open(path, Options{Direct: true})
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, errors.ErrUnsupported) {
		t.Skipf("needs a file system with O_DIRECT: %v", err)
	}
	if err == nil {
		d.Close()
	}
	return openForTest(t, path, Options{Direct: true})
}

// attach makes a loop device over a file, for as long as the test runs.
func attach(t *testing.T, file string, sector int, options ...string) string {
	t.Helper()
	testenv.NeedLoop(t)
	args := append([]string{"--find", "--show", "--sector-size", strconv.Itoa(sector)}, options...)
	out, err := exec.Command("losetup", append(args, file)...).CombinedOutput()
	if err != nil {
		t.Fatalf("losetup: %v: %s", err, out)
	}
	loop := strings.TrimSpace(string(out))
	t.Cleanup(func() {
		out, err := exec.Command("losetup", "-d", loop).CombinedOutput()
		if err != nil && !strings.Contains(string(out), "No such device") { // someone else was as tidy
			t.Errorf("losetup -d %s: %v: %s", loop, err, out)
		}
	})
	return loop
}

func run(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
}

func TestTheBytesBehindTheLastWholeSectorAreReadButNotWrittenDirectly(t *testing.T) {
	data := noise(3*4096 + 100)
	path := writeImage(t, data)
	d, _ := openDirect(t, path)
	p := make([]byte, 200)
	if n, err := d.ReadAt(p, 3*4096); n != 100 || err != io.EOF || string(p[:n]) != string(data[3*4096:]) {
		t.Errorf("reading the rest: %d, %v; want 100, EOF", n, err)
	}
	claimForTest(t, d)
	if n, err := d.WriteAt([]byte("x"), 3*4096); err == nil || n != 0 {
		t.Errorf("writing the rest: %d, %v; want an error", n, err)
	}
	if _, err := d.WriteAt([]byte("x"), 3*4096-1); err != nil {
		t.Errorf("writing the byte before it: %v", err)
	}
	if info, err := os.Stat(path); err != nil || info.Size() != int64(len(data)) {
		t.Errorf("the file has %d bytes, want %d", info.Size(), len(data))
	}
}
