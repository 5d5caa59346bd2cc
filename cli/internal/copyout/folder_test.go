package copyout

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestANameThatLeadsElsewhereIsRefused(t *testing.T) {
	d := newTestDir(t)
	for _, name := range []string{"", ".", "..", "a/b", "/", "../x", "a\nb", "a\x00b"} {
		if _, err := d.folder.Sub(name); !errors.Is(err, ErrName) {
			t.Errorf("Sub(%q): %v", name, err)
		}
		j := d.job(newVolume(data(kib)))
		j.Name = name
		if _, err := j.Run(context.Background()); err == nil {
			t.Errorf("a file called %q was written", name)
		}
	}
	d.wantNames("")
}

func TestAFolderIsMadeWithItsFirstFile(t *testing.T) {
	d := newTestDir(t)
	sub, err := d.folder.Sub("vg")
	if err != nil {
		t.Fatal(err)
	}
	j := d.job(newVolume(data(kib)))
	j.Folder = sub
	if _, err := j.Check(); err != nil {
		t.Error(err)
	}
	if n, err := j.Need(); n != kib || err != nil {
		t.Errorf("needs %d, %v", n, err)
	}
	if _, _, err := sub.FreeSpace(); err != nil {
		t.Error(err)
	}
	d.wantNames("")
	d.run(j)
	d.wantNames("vg")
	sub.Close()
}

func TestAFolderThatIsALinkIsNotEntered(t *testing.T) {
	for name, make := range map[string]func(path string) error{
		"before":        func(path string) error { return os.Symlink("elsewhere", path) },
		"to nowhere":    func(path string) error { return os.Symlink("nowhere", path) },
		"in its parent": func(path string) error { return os.Symlink(".", path) },
		"not a folder":  func(path string) error { return os.WriteFile(path, nil, 0o600) },
	} {
		t.Run(name, func(t *testing.T) {
			d := newTestDir(t)
			elsewhere := filepath.Join(d.path, "elsewhere")
			if err := os.Mkdir(elsewhere, 0o700); err != nil {
				t.Fatal(err)
			}
			early, err := d.folder.Sub("vg")
			if err != nil {
				t.Fatal(err)
			}
			if err := make(filepath.Join(d.path, "vg")); err != nil {
				t.Fatal(err)
			}
			if _, err := d.folder.Sub("vg"); err == nil {
				t.Error("was opened")
			}
			j := d.job(newVolume(data(kib)))
			j.Folder = early
			if _, err := j.Run(context.Background()); err == nil {
				t.Error("was written to, having appeared after the look")
			}
			if entries, _ := os.ReadDir(elsewhere); len(entries) > 0 {
				t.Errorf("%v was written elsewhere", entries)
			}
		})
	}
}

// Files are written to a folder, and a link takes its place meanwhile. No file goes where the link leads.
func TestAFolderThatIsReplacedByALinkKeepsItsFiles(t *testing.T) {
	d := newTestDir(t)
	for _, name := range []string{"vg", "elsewhere"} {
		if err := os.Mkdir(filepath.Join(d.path, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	sub, err := d.folder.Sub("vg")
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Close()
	v := newVolume(computed(mib))
	v.onRead = func() {
		if err := os.Rename(filepath.Join(d.path, "vg"), filepath.Join(d.path, "moved")); err != nil {
			t.Error(err)
		}
		if err := os.Symlink("elsewhere", filepath.Join(d.path, "vg")); err != nil {
			t.Error(err)
		}
	}
	j := d.job(v)
	j.Folder = sub
	d.run(j)
	d.wantFile("moved/lv", v.bytes)
	if entries, _ := os.ReadDir(filepath.Join(d.path, "elsewhere")); len(entries) > 0 {
		t.Errorf("%v was written elsewhere", entries)
	}
}
