package scan

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"lvm2fs/internal/test/testenv"
	"lvm2fs/lvm2"
)

// converted is a disk in an image of QEMU's.
func converted(t *testing.T, disk []byte, args ...string) string {
	t.Helper()
	testenv.NeedTools(t, "qemu-img")
	dir := t.TempDir()
	raw, path := filepath.Join(dir, "disk.raw"), filepath.Join(dir, "image")
	if err := os.WriteFile(raw, disk, 0o600); err != nil {
		t.Fatal(err)
	}
	qemu(t, append(append([]string{"convert", "-f", "raw"}, args...), raw, path)...)
	return path
}

func qemu(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command("qemu-img", args...).CombinedOutput(); err != nil {
		t.Fatalf("qemu-img %v: %v\n%s", args, err, out)
	}
}

func (r *Result) writable(t *testing.T, path string) *lvm2.Volume {
	t.Helper()
	lv, err := r.LV(path)
	if err != nil {
		t.Fatal(err)
	}
	v, err := lv.OpenWritable()
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// Two openings of one image would each know only what they have written themselves.
func TestAnImageThatIsWrittenIsOpenedOnce(t *testing.T) {
	for _, args := range [][]string{{"-c", "-O", "qcow2"}, {"-O", "vmdk"}, {"-O", "vdi"}, {"-O", "vpc", "-o", "force_size=on"}} {
		path := converted(t, one("vg").Bytes, args...)
		s, _ := opened(t, Options{}, path)
		write := func(v *lvm2.Volume, text string, off int64) {
			t.Helper()
			if _, err := v.WriteAt([]byte(text), off); err != nil {
				t.Fatal(args, err)
			}
		}
		reload := func() {
			t.Helper()
			if _, err := s.Reload(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		device := func() lvm2.Device { return s.Result().VGs[0].PVs[0].Device }
		before := device()
		first := s.Result().writable(t, "vg/lv")
		write(first, "first", 0)
		if err := first.Sync(); err != nil {
			t.Fatal(err)
		}
		reload()
		second := s.Result().writable(t, "vg/lv")
		write(second, "second", 3000)
		write(first, "third", 6000)
		for _, v := range []*lvm2.Volume{first, second} {
			if err := v.Close(); err != nil {
				t.Fatal(err)
			}
		}
		reload()
		if device() != before {
			t.Error(args, "the image that we have written was opened anew")
		}
		v := s.Result().volume(t, "vg/lv")
		for off, text := range map[int64]string{0: "first", 3000: "second", 6000: "third"} {
			p := make([]byte, len(text))
			if _, err := v.ReadAt(p, off); err != nil || string(p) != text {
				t.Errorf("%v: %q, want %q: %v", args, p, text, err)
			}
		}
		// Somebody else's changes are another matter.
		touch(t, path, 5)
		reload()
		if device() == before {
			t.Error(args, "the image that has changed is still the old one")
		}
		raw := path + ".raw"
		format := args[len(args)-1]
		if args[0] == "-O" {
			format = args[1]
		}
		qemu(t, "convert", "-f", format, "-O", "raw", path, raw)
		b, err := os.ReadFile(raw)
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range []string{"first", "second", "third"} {
			if !bytes.Contains(b, []byte(text)) {
				t.Errorf("%v: QEMU does not read %q", args, text)
			}
		}
	}
}
