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

func openPath(t *testing.T, path string) *blockdev.Device {
	t.Helper()
	d, err := blockdev.Open(path, blockdev.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func TestNamesThatAreNoPathsAreRefused(t *testing.T) {
	for _, name := range []string{"", "a\x00b", "nbd://host/export", "json:{}", "a:b", "file:///etc/passwd"} {
		if path, err := localPath(name); !errors.Is(err, ErrUnsupported) && !errors.Is(err, ErrDamaged) {
			t.Errorf("%q: %q, %v", name, path, err)
		}
	}
	for name, want := range map[string]string{"base": "base", "file:base": "base", "./a:b": "./a:b", "file:../outside": "../outside"} {
		if path, err := localPath(name); err != nil || path != want {
			t.Errorf("%q: %q, %v", name, path, err)
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
		if _, err := Open(d, Options{Files: blockdev.Beside(d, nil)}); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "over itself") {
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
	open := blockdev.Beside(top, nil)
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
