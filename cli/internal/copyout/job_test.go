package copyout

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"lvm2fs/internal/test/testenv"
	"lvm2fs/mapping"
)

const (
	kib = 1 << 10
	mib = 1 << 20
)

// testDir is a directory to write to.
type testDir struct {
	t      *testing.T
	path   string
	folder *Folder
}

func newTestDir(t *testing.T) *testDir { return openTestDir(t, t.TempDir()) }

func openTestDir(t *testing.T, path string) *testDir {
	t.Helper()
	f, err := OpenFolder(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return &testDir{t, path, f}
}

func (d *testDir) job(v mapping.Volume) *Job {
	return NewJob(v, d.folder, "lv", "vg/lv", Identity{UUID: "uuid", Seqno: 5})
}

func (d *testDir) read(name string) []byte {
	d.t.Helper()
	b, err := os.ReadFile(filepath.Join(d.path, name))
	if err != nil {
		d.t.Fatal(err)
	}
	return b
}

func (d *testDir) write(name string, b []byte) {
	d.t.Helper()
	if err := os.WriteFile(filepath.Join(d.path, name), b, 0o600); err != nil {
		d.t.Fatal(err)
	}
}

func (d *testDir) names() string {
	d.t.Helper()
	entries, err := os.ReadDir(d.path)
	if err != nil {
		d.t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return strings.Join(names, " ")
}

func (d *testDir) wantNames(want string) {
	d.t.Helper()
	if got := d.names(); got != want {
		d.t.Errorf("the directory holds %q, want %q", got, want)
	}
}

func (d *testDir) wantFile(name string, want []byte) {
	d.t.Helper()
	got := d.read(name)
	if len(got) != len(want) {
		d.t.Errorf("%s has %d bytes, want %d", name, len(got), len(want))
		return
	}
	for i := range want {
		if got[i] != want[i] {
			d.t.Errorf("%s differs at byte %d", name, i)
			return
		}
	}
}

// allocated is how many bytes a file takes up.
func (d *testDir) allocated(name string) int64 {
	d.t.Helper()
	info, err := os.Stat(filepath.Join(d.path, name))
	if err != nil {
		d.t.Fatal(err)
	}
	return info.Sys().(*syscall.Stat_t).Blocks * 512
}

// run runs a job as the last of a dump.
func (d *testDir) run(j *Job) Result {
	d.t.Helper()
	r, err := j.Run(context.Background())
	if err == nil {
		err = j.Forget()
	}
	if err != nil {
		d.t.Fatal(err)
	}
	return r
}

func TestAFileIsTheVolume(t *testing.T) {
	for name, v := range map[string]*testVolume{
		"one run":         newVolume(data(3*mib + 512)),
		"less than block": newVolume(data(512)),
		"stripes":         newVolume(data(64*kib), data(64*kib), data(64*kib), data(512*kib), data(4*kib), data(4*kib)),
		"zeros":           newVolume(zero(mib), data(mib), zero(mib)),
		"computed":        newVolume(computed(5*mib+kib), data(kib), computed(kib)),
		"no bytes at all": newVolume(),
		"mixed":           newVolume(data(100*kib+512), zero(4*kib), computed(2*mib), zero(300*kib), data(2*mib), zero(512)),
	} {
		t.Run(name, func(t *testing.T) {
			d := newTestDir(t)
			var progress int64
			j := d.job(v)
			j.Progress = func(done int64) {
				if done < progress {
					t.Errorf("progress goes from %d back to %d", progress, done)
				}
				progress = done
			}
			r := d.run(j)
			r.File = nil
			if diff := cmp.Diff(Result{Name: "lv"}, r); diff != "" {
				t.Errorf("result (-want +got):\n%s", diff)
			}
			d.wantFile("lv", v.want())
			d.wantNames("lv")
			if progress != v.Size() {
				t.Errorf("progress ends at %d of %d", progress, v.Size())
			}
		})
	}
}

func TestEveryWayOfCopyingGivesTheSameBytes(t *testing.T) {
	testenv.Long(t)
	for name, w := range map[string]ways{"memory": 0, "holes": holes, "clones": clones, "file system": remote | remoteAnywhere, "all": allWays | remoteAnywhere} {
		for _, offset := range []int64{0, 192 * kib, mib + 512} {
			t.Run(fmt.Sprintf("%s at %d", name, offset), func(t *testing.T) {
				d := newTestDir(t)
				v := newFileVolume(t, t.TempDir(), offset, newVolume(
					data(2*mib), zero(mib), data(64*kib), data(4*kib), data(3*mib+512), computed(mib), data(512)))
				j := d.job(v)
				j.ways = w
				d.run(j)
				d.wantFile("lv", v.want())
			})
		}
	}
}

func TestZerosStayHoles(t *testing.T) {
	testenv.Long(t)
	zeroes := func(v *testVolume, off, n int64) *testVolume {
		clear(v.bytes[off : off+n])
		return v
	}
	for name, v := range map[string]*testVolume{
		"extents of zeros":      newVolume(data(mib), zero(14*mib), data(mib)),
		"zeros on a device":     zeroes(newVolume(data(16*mib)), mib, 14*mib),
		"computed zeros":        zeroes(newVolume(computed(16*mib)), mib, 14*mib),
		"a hole in an image":    newFileVolume(t, t.TempDir(), 192*kib, newVolume(data(mib), zero(14*mib), data(mib))),
		"zeros in an image":     newFileVolume(t, t.TempDir(), 192*kib, zeroes(newVolume(data(16*mib)), mib, 14*mib)),
		"small runs of zeros":   newVolume(data(mib), zero(7*mib), data(kib), zero(7*mib), data(mib-kib)),
		"zeros and nothing":     newVolume(zero(16 * mib)),
		"zeros that are stored": zeroes(newVolume(data(16*mib)), 0, 16*mib),
	} {
		t.Run(name, func(t *testing.T) {
			d := newTestDir(t)
			d.run(d.job(v))
			d.wantFile("lv", v.want())
			if n := d.allocated("lv"); n > 3*mib {
				t.Errorf("2 MiB of data take up %d bytes", n)
			}
		})
	}
}

func TestAHoleOfAnImageIsNotRead(t *testing.T) {
	d := newTestDir(t)
	v := newFileVolume(t, t.TempDir(), 0, newVolume(data(mib), zero(14*mib), data(mib)))
	image := v.pieces[0].Device
	v.pieces = []mapping.Extent{{Kind: mapping.Data, Length: 16 * mib, Device: image}}
	d.run(d.job(v))
	d.wantFile("lv", v.want())
	if v.readBytes > 3*mib {
		t.Skipf("%d bytes were read: the file system does not tell of holes", v.readBytes)
	}
}

// Seeking finds no data behind the end of a file either, but that is no hole.
func TestWhatIsCutOffFromAnImageIsLost(t *testing.T) {
	d := newTestDir(t)
	v := newFileVolume(t, t.TempDir(), 0, newVolume(data(8*mib)))
	if err := os.Truncate(v.pieces[0].Device.Name(), 3*mib); err != nil {
		t.Fatal(err)
	}
	v.bad = Ranges{{3 * mib, 8 * mib}}
	r := d.run(d.job(v))
	if want := (Ranges{{3 * mib, 8 * mib}}); r.Err == nil || !slices.Equal(r.Lost, want) {
		t.Errorf("lost %v, %v; want %v", r.Lost, r.Err, want)
	}
}

func TestAFileWithLostBytesIsPartialAndHasAMap(t *testing.T) {
	d := newTestDir(t)
	v := newVolume(data(1536*kib), missing(mib), data(1536*kib))
	want := Result{Name: "lv.partial", Map: "lv.map", Lost: Ranges{{1536 * kib, 2560 * kib}}}
	for range 2 { // another run changes nothing
		r := d.run(d.job(v))
		if !errors.Is(r.Err, mapping.ErrMissing) {
			t.Errorf("the reason is %v", r.Err)
		}
		r.Err, r.File = nil, nil
		if diff := cmp.Diff(want, r); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		d.wantNames("lv.map lv.partial")
		d.wantFile("lv.partial", v.want())
		wantMap := "0x00000000  0x00180000  +\n0x00180000  0x00100000  -\n0x00280000  0x00180000  +\n"
		if got := string(d.read("lv.map")); !strings.HasSuffix(got, wantMap) {
			t.Errorf("the map is\n%s", got)
		}
	}
}

func TestWhatComesBackCompletesAPartialFile(t *testing.T) {
	d := newTestDir(t)
	whole := newVolume(data(1536*kib), data(mib), data(1536*kib))
	v := &testVolume{pieces: []mapping.Extent{whole.pieces[0], missing(mib), whole.pieces[2]}, bytes: whole.bytes}
	d.run(d.job(v))
	d.wantNames("lv.map lv.partial")
	r := d.run(d.job(whole))
	if r.Name != "lv" {
		t.Errorf("the file is called %s", r.Name)
	}
	d.wantNames("lv")
	d.wantFile("lv", whole.bytes)
	if whole.readBytes != mib {
		t.Errorf("%d bytes were read again, want those of the lost range", whole.readBytes)
	}
}

func TestOnlyBadSectorsAreLost(t *testing.T) {
	testenv.Long(t)
	sectors := func(at ...int64) Ranges {
		var r Ranges
		for _, s := range at {
			r.Add(s*512, s*512+512)
		}
		return r
	}
	for name, bad := range map[string]Ranges{
		"the first":       sectors(0),
		"the last":        sectors(8191),
		"one":             sectors(4711),
		"two of a page":   sectors(4713, 4718),
		"across a buffer": sectors(2047, 2048),
		"a track":         {{1000 * 512, 1100 * 512}},
		"many":            sectors(1, 300, 301, 302, 2050, 2060, 8000),
		"all":             {{0, 4 * mib}},
	} {
		for kind, pieces := range map[string][]mapping.Extent{
			"one run":  {data(4 * mib)},
			"stripes":  {data(64 * kib), data(2*mib - 64*kib), data(4 * kib), data(2*mib - 4*kib)},
			"computed": {computed(4 * mib)},
		} {
			t.Run(name+" of "+kind, func(t *testing.T) {
				d := newTestDir(t)
				v := newVolume(pieces...)
				v.bad = bad
				j := d.job(v)
				r := d.run(j)
				if !errors.Is(r.Err, errBadSector) {
					t.Errorf("the reason is %v", r.Err)
				}
				want := bad
				if name == "all" {
					want = Ranges{{0, 4 * mib}}
				}
				if diff := cmp.Diff(want, r.Lost); diff != "" {
					t.Errorf("lost (-want +got):\n%s", diff)
				}
				d.wantFile("lv.partial", v.want())
			})
		}
	}
}

func TestADeadDiskIsNotReadForEver(t *testing.T) {
	testenv.Long(t)
	d := newTestDir(t)
	v := newVolume(computed(2*mib), computed(62*mib))
	v.bad = Ranges{{mib, 63 * mib}}
	r := d.run(d.job(v))
	d.wantFile("lv.partial", v.want())
	if diff := cmp.Diff(v.bad, r.Lost); diff != "" {
		t.Errorf("lost (-want +got):\n%s", diff)
	}
	if most := patience + 64 + 16*64; v.badReads > most {
		t.Errorf("%d reads failed, want at most %d", v.badReads, most)
	}
}

func TestWhatCannotBeMappedIsReadOrLost(t *testing.T) {
	d := newTestDir(t)
	v := newVolume(data(5 * mib))
	v.unmap = Ranges{{2*mib + 4*kib, 2*mib + 12*kib}}
	r := d.run(d.job(v))
	if diff := cmp.Diff(v.unmap, r.Lost); diff != "" {
		t.Errorf("lost (-want +got):\n%s", diff)
	}
	d.wantFile("lv.partial", v.want())
}

func TestARunThatIsStoppedIsGoneOnWith(t *testing.T) {
	d := newTestDir(t)
	v := newVolume(computed(8 * mib))
	ctx, stop := context.WithCancel(context.Background())
	v.onRead = func() {
		if v.readBytes == 5*mib {
			stop()
		}
	}
	if _, err := d.job(v).Run(ctx); !errors.Is(err, context.Canceled) {
		t.Fatalf("stopped with %v", err)
	}
	d.wantNames("lv.part lv.part.map")
	v.readBytes, v.onRead = 0, nil
	d.run(d.job(v))
	d.wantNames("lv")
	d.wantFile("lv", v.bytes)
	if v.readBytes != 2*mib {
		t.Errorf("%d bytes were read after the stop, want the 2 MiB that were left", v.readBytes)
	}
}

// stopped runs a job, which is stopped after two or three MiB.
func stopped(t *testing.T, v *testVolume, j *Job) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	before := v.readBytes
	v.onRead = func() {
		if v.readBytes-before == 2*mib {
			stop()
		}
	}
	if _, err := j.Run(ctx); !errors.Is(err, context.Canceled) {
		t.Fatalf("stopped with %v", err)
	}
	v.readBytes, v.onRead = 0, nil
}

func TestAnotherVolumeStartsAfresh(t *testing.T) {
	testenv.Long(t)
	for name, c := range map[string]struct {
		change func(*Identity)
		size   int64
		afresh bool
	}{
		"the same":                 {func(*Identity) {}, 8 * mib, false},
		"another UUID":             {func(i *Identity) { i.UUID = "other" }, 8 * mib, true},
		"another seqno":            {func(i *Identity) { i.Seqno++ }, 8 * mib, true},
		"larger":                   {func(*Identity) {}, 9 * mib, true},
		"smaller":                  {func(*Identity) {}, 7 * mib, true},
		"on an image that changed": {func(i *Identity) { i.Sources = map[string]string{"a": "2"} }, 8 * mib, true},
		"on one image more":        {func(i *Identity) { i.Sources = map[string]string{"a": "1", "b": "1"} }, 8 * mib, false},
		"on one image less":        {func(i *Identity) { i.Sources = nil }, 8 * mib, false},
	} {
		t.Run(name, func(t *testing.T) {
			d := newTestDir(t)
			v := newVolume(computed(8 * mib))
			j := d.job(v)
			j.Identity.Sources = map[string]string{"a": "1"}
			stopped(t, v, j)
			v = newVolume(computed(c.size))
			for i := range v.bytes {
				v.bytes[i] ^= 1
			}
			j = d.job(v)
			j.Identity.Sources = map[string]string{"a": "1"}
			c.change(&j.Identity)
			d.run(j)
			d.wantNames("lv")
			if afresh := v.readBytes == v.Size(); afresh != c.afresh {
				t.Errorf("%d bytes of %d were read", v.readBytes, v.Size())
			}
			if c.afresh {
				d.wantFile("lv", v.bytes)
			}
		})
	}
}

func TestAnImageThatWentAndChangedIsNoticedWhenItComesBack(t *testing.T) {
	d := newTestDir(t)
	v := newVolume(computed(8 * mib))
	for _, sources := range []map[string]string{{"a": "1", "b": "1"}, {"a": "1"}} {
		j := d.job(v)
		j.Identity.Sources = sources
		stopped(t, v, j)
	}
	j := d.job(v)
	j.Identity.Sources = map[string]string{"b": "2"}
	d.run(j)
	if v.readBytes != v.Size() {
		t.Errorf("%d bytes of %d were read", v.readBytes, v.Size())
	}
}

func TestWhatIsInTheWayIsLeftAlone(t *testing.T) {
	v := newVolume(data(mib))
	other := []byte("something else")
	for name, c := range map[string]struct {
		make   func(d *testDir)
		forced string // what the directory holds after a run that may replace; "" if it fails
	}{
		"a file":                      {func(d *testDir) { d.write("lv", other) }, "lv"},
		"a link":                      {func(d *testDir) { d.write("x", other); os.Symlink("x", d.path+"/lv") }, "lv x"},
		"a dangling link":             {func(d *testDir) { os.Symlink("nowhere", d.path+"/lv") }, "lv"},
		"a directory":                 {func(d *testDir) { os.Mkdir(d.path+"/lv", 0o700) }, ""},
		"a part without a note":       {func(d *testDir) { d.write("lv.part", other) }, "lv"},
		"a part that is a link":       {func(d *testDir) { d.write("x", other); os.Symlink("x", d.path+"/lv.part") }, "lv x"},
		"a part and a foreign note":   {func(d *testDir) { d.write("lv.part", other); d.write("lv.part.map", other) }, "lv"},
		"a foreign note":              {func(d *testDir) { d.write("lv.part.map", other) }, "lv"},
		"a note that is a link":       {func(d *testDir) { d.write("x", other); os.Symlink("x", d.path+"/lv.part.map") }, "lv x"},
		"a partial without a map":     {func(d *testDir) { d.write("lv.partial", other) }, "lv lv.partial"},
		"a foreign map":               {func(d *testDir) { d.write("lv.map", other) }, "lv lv.map"},
		"a partial that is a link":    {func(d *testDir) { d.write("x", other); os.Symlink("x", d.path+"/lv.partial") }, "lv lv.partial x"},
		"a partial and a link beside": {func(d *testDir) { d.write("lv.partial", other); os.Symlink("lv.partial", d.path+"/lv.map") }, "lv lv.map lv.partial"},
		"a foreign record":            {func(d *testDir) { d.write("lv.done", other) }, "lv"},
		"a record that is a link":     {func(d *testDir) { d.write("x", other); os.Symlink("x", d.path+"/lv.done") }, "lv x"},
		"a part that is a directory":  {func(d *testDir) { os.Mkdir(d.path+"/lv.part", 0o700) }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			d := newTestDir(t)
			c.make(d)
			before := snapshot(t, d.path)
			j := d.job(v)
			if _, err := j.Check(); !errors.Is(err, ErrExists) {
				t.Errorf("Check: %v", err)
			}
			if _, err := j.Run(context.Background()); !errors.Is(err, ErrExists) || !strings.Contains(err.Error(), d.path) {
				t.Errorf("Run: %v", err)
			}
			if diff := cmp.Diff(before, snapshot(t, d.path)); diff != "" {
				t.Errorf("changed (-before +after):\n%s", diff)
			}

			j = d.job(v)
			j.Replace = true
			if c.forced == "" {
				if _, err := j.Run(context.Background()); err == nil {
					t.Error("was replaced")
				}
				return
			}
			d.run(j)
			d.wantNames(c.forced)
			d.wantFile("lv", v.bytes)
			if strings.Contains(c.forced, "x") && !bytes.Equal(d.read("x"), other) {
				t.Error("the file behind the link was changed")
			}
		})
	}
}

func snapshot(t *testing.T, path string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(path, func(p string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		switch e.Type() {
		case 0:
			b, err := os.ReadFile(p)
			files[p] = string(b)
			return err
		case fs.ModeSymlink:
			to, err := os.Readlink(p)
			files[p] = "-> " + to
			return err
		}
		files[p] = e.Type().String()
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestAPartThatHasAnotherNameIsNotWrittenTo(t *testing.T) {
	d := newTestDir(t)
	v := newVolume(computed(8 * mib))
	stopped(t, v, d.job(v))
	if err := os.Link(filepath.Join(d.path, "lv.part"), filepath.Join(d.path, "x")); err != nil {
		t.Skip(err)
	}
	before := d.read("x")
	if _, err := d.job(v).Run(context.Background()); !errors.Is(err, ErrExists) {
		t.Errorf("Run: %v", err)
	}
	j := d.job(v)
	j.Replace = true
	d.run(j)
	d.wantFile("lv", v.bytes)
	if !bytes.Equal(before, d.read("x")) {
		t.Error("the other name's file was changed")
	}
}

func TestAPartialOfOtherMetadataIsKept(t *testing.T) {
	d := newTestDir(t)
	v := newVolume(data(mib), missing(mib))
	d.run(d.job(v))
	before := snapshot(t, d.path)
	j := d.job(v)
	j.Identity.Seqno++
	if _, err := j.Run(context.Background()); !errors.Is(err, ErrExists) {
		t.Errorf("Run: %v", err)
	}
	if diff := cmp.Diff(before, snapshot(t, d.path)); diff != "" {
		t.Errorf("changed (-before +after):\n%s", diff)
	}
	j.Replace = true
	d.run(j)
	d.wantNames("lv.map lv.partial")
	d.wantFile("lv.partial", v.want())
}

func TestAFileThatIsReadFromIsNotReplaced(t *testing.T) {
	for _, name := range []string{"lv", "lv.part", "lv.part.map", "lv.partial", "lv.map"} {
		t.Run(name, func(t *testing.T) {
			d := newTestDir(t)
			v := newFileVolume(t, d.path, 0, newVolume(data(mib)))
			if err := os.Rename(filepath.Join(d.path, "image"), filepath.Join(d.path, name)); err != nil {
				t.Fatal(err)
			}
			info, err := os.Stat(filepath.Join(d.path, name))
			if err != nil {
				t.Fatal(err)
			}
			j := d.job(v)
			j.Protect, j.Replace = []os.FileInfo{info}, true
			if _, err := j.Run(context.Background()); !errors.Is(err, ErrProtected) {
				t.Errorf("Run: %v", err)
			}
			d.wantFile(name, v.bytes)
			d.wantNames(name)
		})
	}
}

func TestTwoAtOnceDoNotDisturbEachOther(t *testing.T) {
	d := newTestDir(t)
	v := newVolume(computed(8 * mib))
	second := newVolume(computed(8 * mib))
	v.onRead = func() {
		j := d.job(second)
		j.lockWait = time.Millisecond
		if _, err := j.Run(context.Background()); !errors.Is(err, ErrBusy) {
			t.Errorf("the second: %v", err)
		}
	}
	d.run(d.job(v))
	d.wantFile("lv", v.bytes)
	d.wantNames("lv")
	if second.readBytes > 0 {
		t.Error("the second has read")
	}
}

func TestAFileThatAppearsMeanwhileIsLeftAlone(t *testing.T) {
	d := newTestDir(t)
	v := newVolume(computed(mib))
	v.onRead = func() { d.write("lv", []byte("mine")) }
	if _, err := d.job(v).Run(context.Background()); !errors.Is(err, ErrExists) {
		t.Errorf("Run: %v", err)
	}
	d.wantFile("lv", []byte("mine"))
	d.wantNames("lv lv.part lv.part.map")
}

// noteOften lets time pass with every read of v, so that j notes its progress each time.
func noteOften(v *testVolume, j *Job) {
	var now time.Time
	j.now = func() time.Time { return now }
	v.onRead = func() { now = now.Add(noteInterval) }
}

func TestProgressIsNotedWhileCopying(t *testing.T) {
	d := newTestDir(t)
	v := newVolume(computed(4 * mib))
	j := d.job(v)
	noteOften(v, j)
	var notes []int64
	d.folder.before = func(op, name string) error {
		if op == "rename" && name == "lv.part.map" {
			m, err := readMapfile(bytes.NewReader(d.read("lv.part.map.new")))
			if err != nil {
				t.Error(err)
			}
			notes = append(notes, m.done.Bytes())
		}
		return nil
	}
	d.run(j)
	if diff := cmp.Diff([]int64{0, mib, 2 * mib, 3 * mib, 4 * mib}, notes); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
