package scan

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"lvm2fs/internal/test/testenv"
	"lvm2fs/internal/test/testimages"
	"lvm2fs/internal/test/testmd"
	"lvm2fs/internal/test/testtable"
	"lvm2fs/layers/md"
	"lvm2fs/lvm2"
)

// opened is a session over paths, with what was wrong, a line each.
func opened(t *testing.T, opts Options, paths ...string) (*Session, string) {
	t.Helper()
	s, err := Open(t.Context(), paths, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	var problems strings.Builder
	for _, p := range s.Result().Problems {
		fmt.Fprintln(&problems, p.Err)
	}
	return s, problems.String()
}

// reads says that every LV of the case is read as the kernel read it, and that there is no other.
func (r *Result) reads(t *testing.T, c *testimages.Case) {
	t.Helper()
	found := 0
	for _, vg := range r.VGs {
		for _, lv := range vg.LVs {
			if lv.Visible() {
				found++
			}
		}
	}
	if want := len(c.Tree()); found != want {
		t.Errorf("%d LVs, want %d", found, want)
	}
	for i := range c.LVs {
		want := &c.LVs[i]
		if want.Expect == testimages.Pool || want.Expect == testimages.Absent {
			continue
		}
		lv, err := r.LV(want.Path())
		if err != nil {
			t.Error(err)
			continue
		}
		v, err := lv.Open()
		if err != nil {
			t.Error(err)
			continue
		}
		if err := want.Verify(v, v.Size()); err != nil {
			t.Error(err)
		}
	}
}

// liesOnSomething says whether the PVs of a case are not on bare disks.
func liesOnSomething(c *testimages.Case) bool {
	for _, prefix := range []string{"md-", "part-", "nested", "sector4k"} {
		if strings.HasPrefix(c.Name, prefix) {
			return true
		}
	}
	return false
}

func TestWhateverPVsLieOnTheirLVsAreReadAsTheKernelReadThem(t *testing.T) {
	testenv.Long(t)
	for _, c := range testimages.All(t) {
		if !liesOnSomething(c) || !c.Supported() {
			continue
		}
		t.Run(c.Name, func(t *testing.T) {
			paths := c.Unpack(t)
			for range paths {
				s, _ := opened(t, Options{Nested: c.Name == "nested"}, paths...)
				s.Result().reads(t, c)
				paths = append(paths[1:], paths[0])
			}
			slices.Reverse(paths)
			s, _ := opened(t, Options{Nested: c.Name == "nested"}, append(paths, paths...)...)
			s.Result().reads(t, c)
		})
	}
}

// stack is disks in a directory of the test, made by putting things on others.
type stack struct {
	t   *testing.T
	dir string
}

func (st stack) write(name string, b []byte) string {
	st.t.Helper()
	path := filepath.Join(st.dir, name)
	if err := os.WriteFile(path, b, 0o600); err != nil {
		st.t.Fatal(err)
	}
	return path
}

// onePV is the only disk of a case.
func onePV(t *testing.T) (*testimages.Case, []byte) {
	t.Helper()
	c := testimages.Load(t, "linear-one")
	b, err := os.ReadFile(c.Unpack(t)[0])
	if err != nil {
		t.Fatal(err)
	}
	return c, b
}

const mib = 1 << 20

// inRAID5 is the members of a raid5 with content.
func inRAID5(content []byte) [][]byte {
	const chunk = 64 << 10
	content = append(content, make([]byte, -len(content)&(2*chunk-1))...)
	m := testmd.Member{Version: "1.2", Name: "lab:stack", Array: [16]byte{77}, Level: 5, Layout: 2, Chunk: chunk / 512, Disks: 3, Resync: testmd.All, DataOffset: 2048}
	return testmd.Set(m, int64(len(content)/2+2*mib), content)
}

func TestAPVIsFoundUnderPartitionsOnAnArrayOfPartitions(t *testing.T) {
	testenv.Long(t)
	c, pv := onePV(t)
	st := stack{t, t.TempDir()}
	var paths []string
	for i, member := range inRAID5(testtable.InGPT(pv)) {
		paths = append(paths, st.write(string(rune('a'+i)), testtable.InLogical(member)))
	}
	s, problems := opened(t, Options{}, paths...)
	s.Result().reads(t, c)
	if problems != "" {
		t.Errorf("got %s", problems)
	}
	if got, want := s.Result().VGs[0].PVs[0].Device.Name(), "MD array lab:stack (partition 2)"; got != want {
		t.Errorf("the PV is called %q, want %q", got, want)
	}
	s, problems = opened(t, Options{}, paths[2], paths[0])
	s.Result().reads(t, c)
	if !strings.Contains(problems, "1 of 3 members are missing") {
		t.Errorf("without a member: got %q", problems)
	}
	s, _ = opened(t, Options{}, paths[0])
	if err := s.Result().NoVG(); !errors.Is(err, ErrNoVG) || !strings.Contains(err.Error(), "MD array lab:stack: too many members are missing") {
		t.Errorf("with one member: %v", err)
	}
}

func TestAReloadKeepsTheDevicesThatHaveNotChanged(t *testing.T) {
	testenv.Long(t)
	c, pv := onePV(t)
	st := stack{t, t.TempDir()}
	var paths []string
	for i, member := range inRAID5(testtable.InGPT(pv)) {
		paths = append(paths, st.write(string(rune('a'+i)), testtable.InLogical(member)))
	}
	s, _ := opened(t, Options{Nested: true}, paths...)
	before := s.Result().VGs[0].PVs[0].Device
	first := s.Result()
	again, err := s.Reload(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if again == first || again != s.Result() || again.VGs[0].PVs[0].Device != before {
		t.Error("the PV is on another device")
	}
	s.Result().reads(t, c)
}

func TestWritingToAPVInAPartitionClaimsTheImage(t *testing.T) {
	testenv.Long(t)
	_, pv := onePV(t)
	path := stack{t, t.TempDir()}.write("disk", testtable.InLogical(pv))
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	s, _ := opened(t, Options{}, path)
	lv := s.Result().VGs[0].LVs[0]
	v, err := lv.OpenWritable()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := v.WriteAt([]byte("written"), 4096); err != nil {
		t.Error(err)
	}
	if err := v.Close(); err != nil {
		t.Error(err)
	}
	after, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(after, []byte("written"))
	if at < mib {
		t.Fatalf("it was written at byte %d", at)
	}
	copy(before[at:], "written")
	if !bytes.Equal(before, after) {
		t.Error("something else was written too")
	}
}

// An array that is being written stays the same device when the session is reloaded, whatever its superblocks say
// meanwhile. It is another one only when others have changed it.
func TestAnArrayThatIsWrittenIsAssembledOnce(t *testing.T) {
	st := stack{t, t.TempDir()}
	for name, away := range map[string]bool{"whole": false, "without a member": true} {
		t.Run(name, func(t *testing.T) {
			m := testmd.Member{Version: "1.2", Name: "lab:w", Array: [16]byte{78}, Level: 5, Layout: 2, Chunk: 128, Disks: 3, Resync: testmd.All, DataOffset: 2048}
			content := one("vg").Bytes
			content = content[:len(content)/(128<<10)*(128<<10)]
			var paths []string
			for i, member := range testmd.Set(m, int64(len(content)/2+2<<20), content) {
				paths = append(paths, st.write(fmt.Sprintf("%s %d", name, i), member))
			}
			given := paths
			if away {
				given = paths[:2]
			}
			s, _ := opened(t, Options{}, given...)
			device := func() lvm2.Device { return s.Result().VGs[0].PVs[0].Device }
			reload := func() {
				t.Helper()
				if _, err := s.Reload(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			before := device()
			first := s.Result().writable(t, "vg/lv")
			if _, err := first.WriteAt([]byte("first"), 0); err != nil {
				t.Fatal(err)
			}
			reload()
			if device() != before {
				t.Error("the array that is being written was assembled anew")
			}
			second := s.Result().writable(t, "vg/lv")
			if _, err := second.WriteAt([]byte("second"), 3000); err != nil {
				t.Fatal(err)
			}
			for _, v := range []*lvm2.Volume{first, second} {
				if err := v.Close(); err != nil {
					t.Fatal(err)
				}
			}
			reload()
			if device() != before {
				t.Error("the array that we have written was assembled anew")
			}

			// Another session, with all members, is given what was written.
			other, _ := opened(t, Options{}, paths...)
			v := other.Result().volume(t, "vg/lv")
			for off, text := range map[int64]string{0: "first", 3000: "second"} {
				p := make([]byte, len(text))
				if _, err := v.ReadAt(p, off); err != nil || string(p) != text {
					t.Errorf("%q, want %q: %v", p, text, err)
				}
			}
			w := other.Result().writable(t, "vg/lv")
			if _, err := w.WriteAt([]byte("third"), 6000); err != nil {
				t.Fatal(err)
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			lv, err := s.Result().LV("vg/lv")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := lv.OpenWritable(); !errors.Is(err, md.ErrChanged) {
				t.Errorf("after others have written: %v", err)
			}
			reload()
			if device() == before {
				t.Error("the array that others have written is still the old one")
			}
		})
	}
}

func TestAnOffsetIsWhereThePVStarts(t *testing.T) {
	c, pv := onePV(t)
	path := stack{t, t.TempDir()}.write("disk", append(make([]byte, 12345), pv...))
	s, _ := opened(t, Options{Offsets: []Offset{{Bytes: 12345}}}, path)
	s.Result().reads(t, c)
}

func TestAnOffsetCanBeThatOfOneDeviceOrOfWhatLiesOnIt(t *testing.T) {
	c, pv := onePV(t)
	st := stack{t, t.TempDir()}
	disk := st.write("disk", testtable.InLogical(append(make([]byte, 12345), pv...)))
	other := st.write("other", make([]byte, 1<<20))
	s, _ := opened(t, Options{Offsets: []Offset{{Device: disk + " (partition 5)", Bytes: 12345}}}, disk, other)
	s.Result().reads(t, c)

	var option *OptionError
	if _, err := Open(t.Context(), []string{disk}, Options{Offsets: []Offset{{Device: "nowhere", Bytes: 12345}}}); !errors.Is(err, ErrNoDevice) || !errors.As(err, &option) || option.Name != "nowhere" {
		t.Error(err)
	}
}
