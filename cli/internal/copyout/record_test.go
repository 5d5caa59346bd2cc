package copyout

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// finish is a run that is not the last of its dump.
func (d *testDir) finish(j *Job) {
	d.t.Helper()
	if _, err := j.Run(context.Background()); err != nil {
		d.t.Fatal(err)
	}
	d.wantNames("lv lv.done")
}

// do is a step of a test that has to work.
func (d *testDir) do(err error) {
	d.t.Helper()
	if err != nil {
		d.t.Fatal(err)
	}
}

func TestWhatAnEarlierRunHasFinishedIsDone(t *testing.T) {
	d := newTestDir(t)
	v := newVolume(data(mib))
	d.finish(d.job(v))
	before := snapshot(t, d.path)
	v.bytes = make([]byte, mib) // would show if it were read again

	j := d.job(v)
	if n, err := j.Need(); n != 0 || err != nil {
		t.Errorf("needs %d bytes, %v", n, err)
	}
	finished, err := j.Check()
	if ago := time.Since(finished); err != nil || ago < -2*time.Second || ago > time.Minute {
		t.Errorf("finished %v ago, %v", ago, err)
	}
	r, err := j.Run(context.Background())
	if err != nil || r.Name != "lv" || r.Map != "" || r.File == nil || r.File.Size() != mib {
		t.Errorf("%+v, %v", r, err)
	}
	if diff := cmp.Diff(before, snapshot(t, d.path)); diff != "" {
		t.Errorf("changed (-before +after):\n%s", diff)
	}
}

func TestAFileThatIsNotSyncedHasNoRecord(t *testing.T) {
	d := newTestDir(t)
	v := newVolume(data(20 * mib))
	job := func() *Job {
		j := d.job(v)
		j.NoSync = true
		return j
	}
	synced := 0
	d.folder.before = func(op, _ string) error {
		if strings.HasPrefix(op, "sync") {
			synced++
		}
		return nil
	}
	stopped, stop := context.WithCancel(context.Background())
	j := job()
	j.Progress = func(int64) { stop() }
	if _, err := j.Run(stopped); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	d.wantNames("lv.part lv.part.map")
	if synced == 0 {
		t.Error("what the next run is to go on from was not synced")
	}
	synced = 0
	if _, err := job().Run(context.Background()); err != nil {
		t.Fatal(err)
	}
	d.wantFile("lv", v.want())
	d.wantNames("lv")
	if synced != 0 {
		t.Errorf("synced %d times", synced)
	}
	if _, err := job().Check(); !errors.Is(err, ErrExists) {
		t.Errorf("once more: %v", err)
	}
}

func TestAFileIsOnlyDoneIfItIsTheOneThatWasFinished(t *testing.T) {
	type setup struct {
		*testDir
		*Job
	}
	for name, change := range map[string]func(s setup){
		"written to": func(s setup) {
			f, err := os.OpenFile(filepath.Join(s.path, "lv"), os.O_WRONLY, 0)
			s.do(err)
			_, err = f.WriteAt([]byte("x"), 0)
			s.do(err)
			s.do(f.Close())
		},
		"replaced by an equal one": func(s setup) {
			path := filepath.Join(s.path, "lv")
			info, err := os.Stat(path)
			s.do(err)
			s.write("copy", s.read("lv"))
			s.do(os.Chtimes(filepath.Join(s.path, "copy"), info.ModTime(), info.ModTime()))
			s.do(os.Rename(filepath.Join(s.path, "copy"), path))
		},
		"shorter":              func(s setup) { s.do(os.Truncate(filepath.Join(s.path, "lv"), kib)) },
		"a link":               func(s setup) { s.do(os.Rename(s.path+"/lv", s.path+"/x")); s.do(os.Symlink("x", s.path+"/lv")) },
		"with a second name":   func(s setup) { s.do(os.Link(s.path+"/lv", s.path+"/x")) },
		"a directory":          func(s setup) { s.do(os.Remove(s.path + "/lv")); s.do(os.Mkdir(s.path+"/lv", 0o700)) },
		"without a record":     func(s setup) { s.do(os.Remove(s.path + "/lv.done")) },
		"with a note only":     func(s setup) { s.do(os.Rename(s.path+"/lv.done", s.path+"/lv.part.map")) },
		"of another LV":        func(s setup) { s.Identity.UUID = "another" },
		"of other metadata":    func(s setup) { s.Identity.Seqno++ },
		"of another image":     func(s setup) { s.Identity.Sources = map[string]string{"image": "later"} },
		"of another size":      func(s setup) { s.Identity.Size = 2 * mib },
		"all can write it":     func(s setup) { s.do(os.Chmod(s.path+"/lv", 0o666)) },
		"all write the record": func(s setup) { s.do(os.Chmod(s.path+"/lv.done", 0o666)) },
		"all can move it":      func(s setup) { s.do(os.Chmod(s.path, 0o777)) },
		"forgotten":            func(s setup) { s.do(s.Forget()) },
	} {
		t.Run(name, func(t *testing.T) {
			d := newTestDir(t)
			v := newVolume(data(mib))
			sources := map[string]string{"image": "then"}
			j := d.job(v)
			j.Identity.Sources = sources
			d.finish(j)
			j = d.job(v)
			j.Identity.Sources = sources
			change(setup{d, j})
			before := snapshot(t, d.path)
			if finished, err := j.Check(); !finished.IsZero() || !errors.Is(err, ErrExists) {
				t.Errorf("finished %v, %v", finished, err)
			}
			if _, err := j.Run(context.Background()); !errors.Is(err, ErrExists) {
				t.Errorf("Run: %v", err)
			}
			if diff := cmp.Diff(before, snapshot(t, d.path)); diff != "" {
				t.Errorf("changed (-before +after):\n%s", diff)
			}
		})
	}
}

func TestAFinishedFileIsReplacedIfAskedFor(t *testing.T) {
	d := newTestDir(t)
	d.finish(d.job(newVolume(data(mib))))
	v := newVolume(computed(mib))
	j := d.job(v)
	j.Replace = true
	if finished, err := j.Check(); !finished.IsZero() || err != nil {
		t.Errorf("finished %v, %v", finished, err)
	}
	d.run(j)
	d.wantFile("lv", v.bytes)
	d.wantNames("lv")
}

// Others could change what is in such a folder. A record there would not be believed, so none is left.
func TestNoRecordIsLeftWhereItWouldNotBeBelieved(t *testing.T) {
	d := newTestDir(t)
	if err := os.Chmod(d.path, 0o777); err != nil {
		t.Fatal(err)
	}
	if _, err := d.job(newVolume(data(kib))).Run(context.Background()); err != nil {
		t.Fatal(err)
	}
	d.wantNames("lv")
}

func TestWhatAKilledRunLeftBesideAFinishedFileGoes(t *testing.T) {
	d := newTestDir(t)
	whole := newVolume(data(mib), data(mib))
	j := d.job(whole)
	d.finish(j)
	all := mapfile{Identity: j.Identity, done: Ranges{{0, j.Identity.Size}}}
	for _, name := range []string{"lv.part.map", "lv.map"} {
		var b strings.Builder
		if err := all.write(&b, "vg/lv", bad); err != nil {
			t.Fatal(err)
		}
		d.write(name, []byte(b.String()))
	}
	d.write("lv.partial", whole.bytes)
	d.finish(d.job(whole))
}
