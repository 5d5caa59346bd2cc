package vdisk

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"lvm2fs/blockdev"
	"lvm2fs/mapping"
)

// place makes DIR/images with some files in it and one outside of it.
func place(t *testing.T) (dir string, first *blockdev.Device) {
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

func openPath(t *testing.T, path string) *blockdev.Device {
	t.Helper()
	d, err := blockdev.Open(path, blockdev.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func contents(t *testing.T, open Opener, from *blockdev.Device, name string) (string, error) {
	t.Helper()
	d, err := open(from, name)
	if err != nil {
		return "", err
	}
	defer func() { _ = d.(*blockdev.Device).Close() }()
	b := make([]byte, d.Size())
	_, err = d.ReadAt(b, 0)
	return string(b), err
}

func TestFilesInTheDirectoryOfAnImageAreOpenedForIt(t *testing.T) {
	dir, first := place(t)
	open := Beside(first, nil)
	for name, want := range map[string]string{
		"base": "images/base", "./below/../base": "images/base", "below/base": "images/below/base", "in": "images/below/base",
		"file:base": "images/base", "./a:b": "images/a:b", filepath.Join(dir, "images/base"): "images/base",
	} {
		if got, err := contents(t, open, first, name); err != nil || got != want {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	// A name counts from the directory of the image that has it.
	below := openPath(t, filepath.Join(dir, "images/below/base"))
	if got, err := contents(t, open, below, "../base"); err != nil || got != "images/base" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestFilesOutsideOfTheDirectoryAreRefusedUnlessAllowed(t *testing.T) {
	dir, first := place(t)
	for _, name := range []string{"../outside", "out", "dir/outside", filepath.Join(dir, "outside"), "below/../../outside", "file:../outside", "/etc/passwd", "/dev/null/../../etc/passwd"} {
		if _, err := contents(t, Beside(first, nil), first, name); !errors.Is(err, ErrOutside) && !errors.Is(err, os.ErrNotExist) && !strings.Contains(err.Error(), "not a directory") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got, err := contents(t, Beside(first, anywhere), first, "../outside"); err != nil || got != "outside" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestNamesThatAreNoPathsAreRefused(t *testing.T) {
	_, first := place(t)
	for _, name := range []string{"", "a\x00b", "nbd://host/export", "json:{}", "a:b", "file:///etc/passwd"} {
		if _, err := contents(t, Beside(first, anywhere), first, name); !errors.Is(err, ErrUnsupported) && !errors.Is(err, ErrDamaged) {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestImagesThatLieOverThemselvesAreRefused(t *testing.T) {
	dir := t.TempDir()
	overlay := func(name, beneath string) string {
		b := sampleQcow2()
		be64(qcowBackingName, 512)(b)
		be32(qcowBackingLength, uint32(len(beneath)))(b)
		copy(b[512:], beneath)
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	overlay("two", "one")
	if err := os.Symlink("one", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{overlay("self", "self"), overlay("one", "two"), overlay("one", "link")} {
		d := openPath(t, path)
		if _, err := Open(d, Options{Files: Beside(d, nil)}); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "over itself") {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestAFailedOpenLeavesNoFileOpen(t *testing.T) {
	dir := t.TempDir()
	b := sampleQcow2()
	be64(qcowBackingName, 512)(b)
	be32(qcowBackingLength, 4)(b)
	copy(b[512:], "base")
	base := sampleQcow2()
	be32(qcowEncryption, 1)(base)
	for name, b := range map[string][]byte{"top": b, "base": base} {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	top := openPath(t, filepath.Join(dir, "top"))
	var opened *blockdev.Device
	open := Beside(top, nil)
	_, err := Open(top, Options{Files: func(from mapping.Device, name string) (mapping.Device, error) {
		d, err := open(from, name)
		opened, _ = d.(*blockdev.Device)
		return d, err
	}})
	if !errors.Is(err, ErrUnsupported) || opened == nil {
		t.Fatal(err)
	}
	if err := opened.Close(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("still open: %v", err)
	}
}

func anywhere(string) bool { return true }
