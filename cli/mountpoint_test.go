package cli

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestAPathIsUnderADirectoryThatItLeadsThrough(t *testing.T) {
	root := t.TempDir()
	err := errors.Join(
		os.MkdirAll(filepath.Join(root, "mnt", "deep"), 0o755),
		os.MkdirAll(filepath.Join(root, "mnt2"), 0o755),
		os.WriteFile(filepath.Join(root, "mnt", "deep", "in.img"), nil, 0o644),
		os.WriteFile(filepath.Join(root, "out.img"), nil, 0o644),
		os.Symlink("../../out.img", filepath.Join(root, "mnt", "deep", "toOut")),
		os.Symlink("mnt/deep/in.img", filepath.Join(root, "toIn")),
		os.Symlink("mnt", filepath.Join(root, "other")),
	)
	if err != nil {
		t.Fatal(err)
	}
	mnt, err := os.Stat(filepath.Join(root, "mnt"))
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]bool{
		"mnt/deep/in.img":   true,
		"other/deep/in.img": true,
		"toIn":              true,
		"mnt/deep/toOut":    true,
		"mnt/nowhere.img":   true,
		"out.img":           false,
		"mnt2/x.img":        false,
		"mnt":               false,
	} {
		if got := under(filepath.Join(root, path), mnt); got != want {
			t.Errorf("%s under mnt: %v, want %v", path, got, want)
		}
	}
}

func TestAMountpointIsResolvedWithoutItsOwnDirectory(t *testing.T) {
	root, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(
		os.MkdirAll(filepath.Join(root, "a", "mnt"), 0o755),
		os.Symlink("a", filepath.Join(root, "b")),
		os.Symlink("a/mnt", filepath.Join(root, "c")),
	); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"a/mnt":    "a/mnt",
		"b/mnt":    "a/mnt",
		"b/mnt/":   "a/mnt",
		"c":        "a/mnt",
		"a/absent": "a/absent",
	} {
		got, err := resolve(root + "/" + path)
		if err != nil || got != filepath.Join(root, want) {
			t.Errorf("%s: %s, %v; want %s", path, got, err, want)
		}
	}
	if got, err := resolve("/"); err != nil || got != "/" {
		t.Errorf("/: %s, %v", got, err)
	}
	if _, err := resolve(filepath.Join(root, "absent", "mnt")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("absent/mnt: %v", err)
	}
}
