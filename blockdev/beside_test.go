package blockdev

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"lvm2fs/mapping"
)

// place makes DIR/images with some files in it and one outside of it.
func place(t *testing.T) (dir string, first *Device) {
	t.Helper()
	dir = t.TempDir()
	images := filepath.Join(dir, "images")
	if err := os.MkdirAll(filepath.Join(images, "below"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"images/first", "images/base", "images/below/base", "images/a:b", "outside"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for link, target := range map[string]string{"images/out": "../outside", "images/in": "below/base", "images/dir": ".."} {
		if err := os.Symlink(target, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	return dir, openPath(t, filepath.Join(images, "first"))
}

func openPath(t *testing.T, path string) *Device {
	t.Helper()
	d, err := Open(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func contents(t *testing.T, open func(from mapping.Device, path string) (mapping.Device, error), from *Device, name string) (string, error) {
	t.Helper()
	d, err := open(from, name)
	if err != nil {
		return "", err
	}
	defer func() { _ = d.(*Device).Close() }()
	b := make([]byte, d.Size())
	_, err = d.ReadAt(b, 0)
	return string(b), err
}

func TestFilesInTheDirectoryOfAnImageAreOpenedForIt(t *testing.T) {
	dir, first := place(t)
	open := Beside(first, nil)
	for name, want := range map[string]string{
		"base": "images/base", "./below/../base": "images/base", "below/base": "images/below/base", "in": "images/below/base",
		"./a:b": "images/a:b", filepath.Join(dir, "images/base"): "images/base",
	} {
		if got, err := contents(t, open, first, name); err != nil || got != want {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	// A relative name counts from the directory of the image that has the name.
	below := openPath(t, filepath.Join(dir, "images/below/base"))
	if got, err := contents(t, open, below, "../base"); err != nil || got != "images/base" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestFilesOutsideOfTheDirectoryAreRefusedUnlessAllowed(t *testing.T) {
	dir, first := place(t)
	for _, name := range []string{"../outside", "out", "dir/outside", filepath.Join(dir, "outside"), "below/../../outside", "/etc/passwd", "/dev/null/../../etc/passwd"} {
		if _, err := contents(t, Beside(first, nil), first, name); !errors.Is(err, ErrOutside) && !errors.Is(err, os.ErrNotExist) && !strings.Contains(err.Error(), "not a directory") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got, err := contents(t, Beside(first, anywhere), first, "../outside"); err != nil || got != "outside" {
		t.Errorf("%q, %v", got, err)
	}
}

func anywhere(string) bool { return true }
