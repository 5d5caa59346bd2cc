package copyout

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"lvm2fs/internal/test/testenv"
	"lvm2fs/mapping"
)

var errKilled = errors.New("killed")

// killer ends a run at a change to the directory or the file, together with the machine:
// what was written since the last sync is lost.
type killer struct {
	d          *testDir
	after      int    // changes that still work
	synced     []byte // the file in the making, as it is on the disk
	noPunching bool
}

func (k *killer) before(op, name string) error {
	if k.after--; k.after < 0 {
		return errKilled
	}
	if op == "sync" {
		k.synced, _ = os.ReadFile(filepath.Join(k.d.path, "lv.part"))
	}
	if op == "punch" && k.noPunching {
		return unix.EOPNOTSUPP
	}
	return nil
}

// lose makes the file in the making what it is after the kill: it holds what was synced, and garbage wherever no note
// says that the bytes were synced.
func (k *killer) lose(t *testing.T) {
	name := "lv.part"
	f, err := os.OpenFile(filepath.Join(k.d.path, name), os.O_RDWR, 0)
	if errors.Is(err, os.ErrNotExist) {
		return
	} else if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	note, err := readMapfile(bytes.NewReader(k.d.read("lv.part.map")))
	if err != nil {
		t.Fatalf("a file in the making without a note: %v", err)
	}
	if k.synced != nil {
		if _, err := f.WriteAt(k.synced, 0); err != nil {
			t.Fatal(err)
		}
	} else if len(note.done) > 0 {
		t.Fatalf("%v is noted as done, and nothing was synced", note.done)
	}
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range note.done.Not(info.Size()) {
		if _, err := f.WriteAt(bytes.Repeat([]byte{0xdb}, int(r.End-r.Off)), r.Off); err != nil {
			t.Fatal(err)
		}
	}
}

// newFastDir is a directory in memory, where the system has one: the test syncs often.
func newFastDir(t *testing.T) *testDir {
	t.Helper()
	path, err := os.MkdirTemp("/dev/shm", "copyout")
	if err != nil {
		return newTestDir(t)
	}
	t.Cleanup(func() { os.RemoveAll(path) })
	return openTestDir(t, path)
}

// check compares the volume with each file whose name promises something.
func (k *killer) check(t *testing.T, v *testVolume) {
	t.Helper()
	for _, name := range []string{"lv", "lv.partial"} {
		got, err := os.ReadFile(filepath.Join(k.d.path, name))
		if err == nil && !bytes.Equal(got, v.want()) {
			t.Fatalf("%s has wrong bytes", name)
		}
	}
}

func TestAKillAtAnyMomentLeavesWhatTheNextRunCompletes(t *testing.T) {
	testenv.Long(t)
	mixed := func() *testVolume {
		return newVolume(data(100*kib), zero(64*kib), computed(900*kib), zero(100*kib), data(100*kib))
	}
	for name, v := range map[string]*testVolume{
		"complete": mixed(),
		"partial":  newVolume(data(300*kib), missing(64*kib), zero(100*kib), computed(300*kib)),
		"bad": func() *testVolume {
			v := mixed()
			v.bad = Ranges{{1023 * kib, 1023*kib + 512}}
			return v
		}(),
	} {
		for _, noPunching := range []bool{false, true} {
			for _, stride := range []int{1000, 7} { // changes between a kill and the next
				if noPunching && stride == 7 {
					continue
				}
				t.Run(fmt.Sprintf("%s, holes %t, killed every %d", name, !noPunching, stride), func(t *testing.T) {
					for first := 0; ; first++ {
						d := newFastDir(t)
						k := &killer{d: d, after: first, noPunching: noPunching}
						d.folder.before = k.before
						kills := 0
						for {
							j := d.job(v)
							noteOften(v, j)
							_, err := j.Run(context.Background())
							if err == nil {
								break
							}
							if !errors.Is(err, errKilled) {
								t.Fatalf("kill %d after %d changes: %v", kills, first, err)
							}
							k.lose(t)
							k.check(t, v)
							if kills++; kills > 100 {
								t.Fatal("no progress")
							}
							k.after = stride * (kills + 1)
						}
						v.onRead = nil
						if len(v.fails()) > 0 {
							d.wantFile("lv.partial", v.want())
							d.wantNames("lv.map lv.partial")
						} else {
							d.wantFile("lv", v.want())
							d.wantNames("lv lv.done")
						}
						k.check(t, v)
						if t.Failed() {
							t.Fatalf("killed after %d changes", first)
						}
						os.RemoveAll(d.path)
						if kills == 0 {
							return
						}
					}
				})
			}
		}
	}
}

func TestAKillAtAnyMomentWhileAPartialFileIsCompleted(t *testing.T) {
	whole := newVolume(data(300*kib), data(mib), data(300*kib))
	v := &testVolume{pieces: []mapping.Extent{whole.pieces[0], missing(mib), whole.pieces[2]}, bytes: whole.bytes}
	for first := 0; ; first++ {
		d := newFastDir(t)
		d.run(d.job(v))
		k := &killer{d: d, after: first}
		d.folder.before = k.before
		for run := 0; ; run++ {
			if run == 0 {
				k.synced = d.read("lv.partial")
			}
			_, err := d.job(whole).Run(context.Background())
			if err == nil && run == 0 {
				return
			} else if err == nil {
				break
			}
			if !errors.Is(err, errKilled) {
				t.Fatalf("run %d after %d changes: %v", run, first, err)
			}
			k.lose(t)
			k.after = 1000
		}
		d.wantFile("lv", whole.bytes)
		d.wantNames("lv lv.done")
		if t.Failed() {
			t.Fatalf("killed after %d changes", first)
		}
		os.RemoveAll(d.path)
	}
}
