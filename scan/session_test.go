package scan

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"lvm2fs/blockdev"
	"lvm2fs/internal/test/testpv"
	"lvm2fs/lvm2"
	"lvm2fs/mapping"
)

// one is the disk of a VG with one LV.
func one(vg string) *testpv.Disk {
	v := testpv.VG{Name: vg, Seqno: 1, PVs: []string{vg}, LVs: []testpv.LV{{Name: "lv", Segments: []string{testpv.Linear(0, 2, "pv0", 0)}}}}
	return v.Disks()[0]
}

// sample is the image of the examples, where it can be changed.
func sample(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("testdata/server.qcow2")
	if err != nil {
		t.Fatal(err)
	}
	return stack{t, t.TempDir()}.write("server.qcow2", b)
}

// touch changes the time of an image, so that it is opened anew.
func touch(t *testing.T, path string, n int) {
	t.Helper()
	at := time.Unix(int64(n+1)*1000, 0)
	if err := os.Chtimes(path, at, at); err != nil {
		t.Fatal(err)
	}
}

var banana = []Key{{Bytes: []byte("banana")}}

// volume is an LV, open.
func (r *Result) volume(t *testing.T, path string) *lvm2.Volume {
	t.Helper()
	lv, err := r.LV(path)
	if err != nil {
		t.Fatal(err)
	}
	v, err := lv.Open()
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func readAll(v mapping.Volume) ([]byte, error) {
	return io.ReadAll(io.NewSectionReader(v, 0, v.Size()))
}

func TestLVsAreReadWhileTheSessionIsReloaded(t *testing.T) {
	path := sample(t)
	s, _ := opened(t, Options{Keys: banana, KeepKeys: true}, path)
	v := s.Result().volume(t, "server/log")
	want, err := readAll(v)
	if err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if got, err := readAll(v); err != nil || !bytes.Equal(got, want) {
					t.Errorf("%v, the same bytes: %t", err, bytes.Equal(got, want))
					return
				}
			}
		})
	}
	for i := range 10 {
		touch(t, path, i)
		first := s.Result()
		r, err := s.Reload(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if r == first || r != s.Result() {
			t.Error("the result is not the new one")
		}
		if got, err := readAll(r.volume(t, "server/log")); err != nil || !bytes.Equal(got, want) {
			t.Error("the new LV has other bytes", err)
		}
	}
	close(stop)
	readers.Wait()
}

func TestKeysAreForgottenUnlessTheyAreToBeKept(t *testing.T) {
	for _, keep := range []bool{false, true} {
		path := sample(t)
		s, _ := opened(t, Options{Keys: banana, KeepKeys: keep}, path)
		v := s.Result().volume(t, "server/log")
		touch(t, path, 0)
		r, err := s.Reload(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if locked := reasons(r)[Locked] == 1; locked == keep || (r.NoVG() == nil) != keep {
			t.Errorf("kept: %t, locked: %t, %v", keep, locked, r.NoVG())
		}
		if _, err := readAll(v); err != nil {
			t.Errorf("what was open is no longer read: %v", err)
		}
	}
}

// reasons counts problems.
func reasons(r *Result) map[Reason]int {
	n := map[Reason]int{}
	for _, p := range r.Problems {
		n[p.Reason]++
	}
	return n
}

func TestAPassphraseIsAskedForAgainAtAReloadIfItIsNeeded(t *testing.T) {
	path := sample(t)
	asked := 0
	s, _ := opened(t, Options{Passphrase: func(context.Context, Question) ([]byte, error) {
		asked++
		return []byte("banana"), nil
	}}, path)
	for range 2 {
		if _, err := s.Reload(t.Context()); err != nil || asked != 1 {
			t.Errorf("%v, asked %d times, though nothing has changed", err, asked)
		}
	}
	touch(t, path, 0)
	if r, err := s.Reload(t.Context()); err != nil || asked != 2 || r.NoVG() != nil {
		t.Errorf("%v, asked %d times", err, asked)
	}
}

func TestAfterCloseWhatIsOpenFailsToBeRead(t *testing.T) {
	s, err := Open(t.Context(), []string{sample(t), stack{t, t.TempDir()}.write("disk", one("vg").Bytes)}, Options{Keys: banana})
	if err != nil {
		t.Fatal(err)
	}
	volumes := []*lvm2.Volume{s.Result().volume(t, "server/log"), s.Result().volume(t, "vg/lv")}
	for range 2 {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	for _, v := range volumes {
		if _, err := readAll(v); !errors.Is(err, os.ErrClosed) {
			t.Errorf("LV %s: %v", v.LV(), err)
		}
		if err := v.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := s.Reload(t.Context()); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
}

func TestASessionWithAnLVOpenForWritingIsNotClosed(t *testing.T) {
	s, _ := opened(t, Options{}, stack{t, t.TempDir()}.write("disk", one("vg").Bytes))
	lv, err := s.Result().LV("vg/lv")
	if err != nil {
		t.Fatal(err)
	}
	v, err := lv.OpenWritable()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); !errors.Is(err, blockdev.ErrBusy) {
		t.Error(err)
	}
	if _, err := v.WriteAt([]byte("written"), 0); err != nil {
		t.Error(err)
	}
	if err := v.Close(); err != nil {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

func TestAReloadThatFailsLeavesTheSessionAsItIs(t *testing.T) {
	s, err := Open(t.Context(), nil, Options{Devices: []mapping.Device{one("vg")}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	r, v := s.Result(), s.Result().volume(t, "vg/lv")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Reload(ctx); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if _, err := readAll(v); err != nil || s.Result() != r {
		t.Error("the result is another, or", err)
	}
	if _, err := s.Reload(t.Context()); err != nil {
		t.Error(err)
	}
}

// watched is a disk that ends a context when it is read.
type watched struct {
	mapping.Device
	read func()
}

func (w *watched) ReadAt(p []byte, off int64) (int, error) {
	w.read()
	return w.Device.ReadAt(p, off)
}

func TestAScanOfManyDisksEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	enough := errors.New("enough")
	var disks []mapping.Device
	looked := map[int]bool{}
	for i := range 100 {
		disks = append(disks, &watched{one(fmt.Sprint("vg", i)), func() {
			looked[i] = true
			if i == 10 {
				cancel(enough)
			}
		}})
	}
	path := stack{t, t.TempDir()}.write("disk", one("vg").Bytes)
	if _, err := Open(ctx, []string{path}, Options{Devices: disks}); !errors.Is(err, enough) || len(looked) > 12 {
		t.Errorf("%v, after %d disks", err, len(looked))
	}
	if n := openFiles(t, path); n != 0 {
		t.Errorf("%d files are still open", n)
	}
}

// openFiles is how often this process has a file open.
func openFiles(t *testing.T, path string) (n int) {
	t.Helper()
	all, err := filepath.Glob("/proc/self/fd/*")
	if err != nil || len(all) == 0 {
		t.Skip("nothing tells which files are open here")
	}
	for _, fd := range all {
		if to, _ := os.Readlink(fd); to == path {
			n++
		}
	}
	return n
}

func TestFilesAreOpenOnceAndUntilClose(t *testing.T) {
	path := sample(t)
	s, err := Open(t.Context(), []string{path, path}, Options{Keys: banana, KeepKeys: true})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		touch(t, path, i)
		if _, err := s.Reload(t.Context()); err != nil {
			t.Error(err)
		}
	}
	if n := openFiles(t, path); n != 1 {
		t.Errorf("open %d times", n)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if n := openFiles(t, path); n != 0 {
		t.Errorf("open %d times after Close", n)
	}
}

func TestWhoIsAskedForAPassphraseIsNotWaitedForWithoutEnd(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	_, err := Open(ctx, []string{sample(t)}, Options{Passphrase: func(ctx context.Context, _ Question) ([]byte, error) {
		cancel()
		<-ctx.Done()
		return nil, ctx.Err()
	}})
	if !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestProblemsHaveAReason(t *testing.T) {
	st := stack{t, t.TempDir()}
	pv := one("vg").Bytes
	older := testpv.VG{Name: "vg", Seqno: 2, PVs: []string{"vg"}}.Disks()[0].Bytes
	member := inRAID5(pv)[0]
	copied := st.write("copy", pv)
	s, problems := opened(t, Options{}, sample(t), st.write("newer", older), copied, st.write("text", []byte("no disk\n")), st.write("member", member), filepath.Join(st.dir, "absent"))
	r := s.Result()
	for reason, want := range map[Reason]int{Locked: 1, Duplicate: 1, NoPV: 1, NotOpened: 1, Unreadable: 1} {
		if got := reasons(r)[reason]; got != want {
			t.Errorf("%d problems for the reason %v, want %d of\n%s", got, reason, want, problems)
		}
	}
	for _, p := range r.Problems {
		if !p.Refused && p.Reason != Oddity {
			t.Errorf("%v is not refused: %v", p.Reason, p.Err)
		}
		switch p.Reason {
		case Duplicate:
			if p.Device == nil || p.Device.Name() != copied {
				t.Errorf("the duplicate is on %v", p.Device)
			}
		case NotOpened:
			if !errors.Is(p.Err, fs.ErrNotExist) || !strings.Contains(p.Err.Error(), "absent") {
				t.Error(p.Err)
			}
		}
	}
}

func TestWithNothingToOpenThereIsNoSession(t *testing.T) {
	if _, err := Open(t.Context(), []string{filepath.Join(t.TempDir(), "absent")}, Options{}); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	var none *NoVGError
	s, _ := opened(t, Options{}, stack{t, t.TempDir()}.write("empty", make([]byte, 1<<20)))
	if err := s.Result().NoVG(); !errors.As(err, &none) || len(none.Causes) != 1 || !errors.Is(err, lvm2.ErrNoPV) {
		t.Error(err)
	}
	if _, err := s.Result().LV("vg/lv"); !errors.Is(err, ErrNoVG) {
		t.Error(err)
	}
	if _, err := s.Result().LV("lv"); !errors.Is(err, ErrLVPath) {
		t.Error(err)
	}
}

func TestADeviceIsPreferredOnlyIfAPVIsThere(t *testing.T) {
	st := stack{t, t.TempDir()}
	a, b, other := st.write("a", one("vg").Bytes), st.write("b", one("vg").Bytes), st.write("other", make([]byte, 1<<20))
	s, _ := opened(t, Options{Prefer: []string{b}}, a, b, other)
	if name := s.Result().VGs[0].PVs[0].Device.Name(); name != b {
		t.Errorf("the PV is read from %s", name)
	}
	for _, none := range []string{other, "nowhere"} {
		var option *OptionError
		if _, err := Open(t.Context(), []string{a, b, other}, Options{Prefer: []string{none}}); !errors.As(err, &option) || option.Option != "Prefer" || option.Name != none || !errors.Is(err, lvm2.ErrNoPV) {
			t.Errorf("%s: %v", none, err)
		}
	}
}

// The caller gives a device that a path names too. It is open once, is refreshed, and stays open.
func TestADeviceOfTheCallersStaysTheCallers(t *testing.T) {
	path := stack{t, t.TempDir()}.write("disk", one("vg").Bytes)
	d, err := blockdev.Open(path, blockdev.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	s, err := Open(t.Context(), []string{path}, Options{Devices: []mapping.Device{d}})
	if err != nil {
		t.Fatal(err)
	}
	if n := len(s.Devices()); n != 0 || len(s.Result().Problems) > 0 {
		t.Errorf("%d devices were opened; %v", n, s.Result().Problems)
	}
	if err := os.Truncate(path, d.Size()+4096); err != nil {
		t.Fatal(err)
	}
	before := d.Size()
	if _, err := s.Reload(t.Context()); err != nil || d.Size() != before+4096 {
		t.Error(d.Size(), err)
	}
	v := s.Result().volume(t, "vg/lv")
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if _, err := readAll(v); err != nil {
		t.Error(err)
	}
}
