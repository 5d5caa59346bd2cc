package copyout

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// forge lays out the files of an earlier run of j. The bytes are not the volume's, and a note calls all of them good.
func (d *testDir) forge(j *Job, file, note string) {
	d.t.Helper()
	d.write(file, bytes.Repeat([]byte("FORGED!\n"), int(j.Identity.Size/8)))
	var b bytes.Buffer
	all := Ranges{{0, j.Identity.Size}}
	if err := (mapfile{Identity: j.Identity, done: all}).write(&b, j.Title, untried); err != nil {
		d.t.Fatal(err)
	}
	d.write(note, b.Bytes())
}

// Another user can have written a file, or moved it to where it is. Such a file is no earlier work.
func TestWhatAStrangerCanChangeIsMadeAnew(t *testing.T) {
	mode := func(name string, mode os.FileMode) func(dir string) error {
		return func(dir string) error { return os.Chmod(filepath.Join(dir, name), mode) }
	}
	owner := func(name string) func(dir string) error {
		return func(dir string) error { return os.Chown(filepath.Join(dir, name), 65534, -1) }
	}
	for name, test := range map[string]struct {
		give  func(dir string) error
		owner bool
	}{
		"file, all write":      {give: mode("lv.part", 0o606)},
		"file, a group writes": {give: mode("lv.part", 0o620)},
		"note, all write":      {give: mode("lv.part.map", 0o606)},
		"folder, all write":    {give: mode(".", 0o707)},
		"file of another":      {give: owner("lv.part"), owner: true},
		"note of another":      {give: owner("lv.part.map"), owner: true},
		"folder of another":    {give: owner("."), owner: true},
	} {
		t.Run(name, func(t *testing.T) {
			if test.owner && os.Geteuid() != 0 {
				t.Skip("SKIP: only root can give files to another user")
			}
			d := newTestDir(t)
			v := newVolume(data(kib), zero(kib), computed(kib))
			j := d.job(v)
			d.forge(j, "lv.part", "lv.part.map")
			theirs, err := os.OpenFile(filepath.Join(d.path, "lv.part"), os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer theirs.Close()
			if err := test.give(d.path); err != nil {
				t.Fatal(err)
			}
			d.run(j)
			d.wantFile("lv", v.bytes)
			d.wantNames("lv")
			theirInfo, err := theirs.Stat()
			if err != nil {
				t.Fatal(err)
			}
			info, err := os.Stat(filepath.Join(d.path, "lv"))
			if err != nil {
				t.Fatal(err)
			}
			if os.SameFile(theirInfo, info) || info.Sys().(*syscall.Stat_t).Uid != uint32(os.Geteuid()) {
				t.Error("the file is the stranger's")
			}
			b := make([]byte, 8)
			if _, err := theirs.ReadAt(b, 0); err != nil || string(b) != "FORGED!\n" {
				t.Errorf("the stranger's file holds %q, %v: it was written to", b, err)
			}
		})
	}
}

// The length of the rest of a note would be the choice of the stranger who wrote it.
func TestOnlyTheHeaderOfAStrangersNoteIsRead(t *testing.T) {
	d := newTestDir(t)
	v := newVolume(data(kib))
	j := d.job(v)
	d.forge(j, "lv.part", "lv.part.map")
	note := filepath.Join(d.path, "lv.part.map")
	if err := errors.Join(os.Truncate(note, 1<<40), os.Chmod(note, 0o666)); err != nil {
		t.Fatal(err)
	}
	if _, err := j.readMap("lv.part.map"); !errors.Is(err, errStranger) {
		t.Errorf("got %v, want errStranger", err)
	}
	d.run(j)
	d.wantFile("lv", v.bytes)
}

// In a folder like /tmp others can make files, but cannot move this user's.
func TestOwnWorkInAStickyFolderIsGoneOnWith(t *testing.T) {
	d := newTestDir(t)
	if err := os.Chmod(d.path, 0o777|os.ModeSticky); err != nil {
		t.Fatal(err)
	}
	j := d.job(newVolume(data(kib)))
	d.forge(j, "lv.part", "lv.part.map")
	d.run(j)
	d.wantFile("lv", bytes.Repeat([]byte("FORGED!\n"), kib/8))
}

func TestAPartialFileThatAStrangerCanChangeIsLeftAlone(t *testing.T) {
	for _, name := range []string{"lv.partial", "lv.map"} {
		t.Run(name, func(t *testing.T) {
			d := newTestDir(t)
			v := newVolume(data(kib))
			j := d.job(v)
			d.forge(j, "lv.partial", "lv.map")
			if err := os.Chmod(filepath.Join(d.path, name), 0o666); err != nil {
				t.Fatal(err)
			}
			before := snapshot(t, d.path)
			if _, err := j.Run(context.Background()); !errors.Is(err, ErrExists) {
				t.Errorf("got %v, want ErrExists", err)
			}
			for name, was := range before {
				if now := snapshot(t, d.path)[name]; now != was {
					t.Errorf("%s was changed", name)
				}
			}
			j.Replace = true
			d.run(j)
			d.wantFile("lv", v.bytes)
		})
	}
}

// Somebody puts a file in the place of the one in the making. It does not get the final name.
func TestAFileThatIsPutInPlaceOfThePartIsNotTakenForIt(t *testing.T) {
	d := newTestDir(t)
	v := newVolume(computed(kib))
	v.onRead = func() {
		if err := os.Remove(filepath.Join(d.path, "lv.part")); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Error(err)
		}
		d.write("lv.part", []byte("FORGED!\n"))
	}
	if _, err := d.job(v).Run(context.Background()); !errors.Is(err, ErrBusy) {
		t.Errorf("got %v, want ErrBusy", err)
	}
	if _, err := os.Lstat(filepath.Join(d.path, "lv")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the other file was given the name: %v", err)
	}
}
