package cli

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"lvm2fs/internal/testimages"
	"lvm2fs/internal/testmd"
	"lvm2fs/internal/testtable"
)

// opened is a session over devices, with what went to standard error.
func opened(t *testing.T, opts deviceOptions, paths ...string) (*session, string) {
	t.Helper()
	var stderr bytes.Buffer
	s, err := openDevices(newApp(nil, strings.NewReader(""), io.Discard, &stderr), paths, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s, stderr.String()
}

// reads says that every LV of the case is read as the kernel read it, and that there is no other.
func (s *session) reads(t *testing.T, c *testimages.Case) {
	t.Helper()
	found := 0
	for _, vg := range s.Scan.VGs {
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
		lv, err := findLV(s.Scan, want.Path())
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
	for _, c := range testimages.All(t) {
		if !liesOnSomething(c) || !c.Supported() {
			continue
		}
		t.Run(c.Name, func(t *testing.T) {
			paths := c.Unpack(t)
			for range paths {
				s, _ := opened(t, deviceOptions{Nested: c.Name == "nested"}, paths...)
				s.reads(t, c)
				paths = append(paths[1:], paths[0])
			}
			slices.Reverse(paths)
			s, _ := opened(t, deviceOptions{Nested: c.Name == "nested"}, append(paths, paths...)...)
			s.reads(t, c)
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

// inGPT is a disk with content in its second partition.
func inGPT(content []byte) []byte {
	b := make([]byte, len(content)+4*mib)
	copy(b[2*mib:], content)
	testtable.GPT(b, 512,
		testtable.Part{Number: 1, First: 2048, Count: 2048, GUID: "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"},
		testtable.Part{Number: 2, First: 4096, Count: int64(len(content)) / 512})
	return b
}

// inLogical is a disk with content in a logical partition, the first.
func inLogical(content []byte) []byte {
	b := make([]byte, len(content)+2*mib)
	copy(b[mib:], content)
	n := int64(len(b)) / 512
	testtable.MBR(b, testtable.Part{Number: 1, First: 64, Count: n - 64, Kind: 5})
	testtable.Logical(b, 512, 64, testtable.Part{First: 2048, Count: int64(len(content)) / 512, Kind: 0x8e})
	return b
}

// inRAID5 is the members of a raid5 with content.
func inRAID5(content []byte) [][]byte {
	const chunk = 64 << 10
	content = append(content, make([]byte, -len(content)&(2*chunk-1))...)
	m := testmd.Member{Version: "1.2", Name: "lab:stack", Array: [16]byte{77}, Level: 5, Layout: 2, Chunk: chunk / 512, Disks: 3, Resync: testmd.All, DataOffset: 2048}
	return testmd.Set(m, int64(len(content)/2+2*mib), content)
}

func TestAPVIsFoundUnderPartitionsOnAnArrayOfPartitions(t *testing.T) {
	c, pv := onePV(t)
	st := stack{t, t.TempDir()}
	var paths []string
	for i, member := range inRAID5(inGPT(pv)) {
		paths = append(paths, st.write(string(rune('a'+i)), inLogical(member)))
	}
	s, stderr := opened(t, deviceOptions{}, paths...)
	s.reads(t, c)
	if stderr != "" {
		t.Errorf("got %s", stderr)
	}
	if got, want := s.Scan.VGs[0].PVs[0].Device.Name(), "MD array lab:stack (partition 2)"; got != want {
		t.Errorf("the PV is called %q, want %q", got, want)
	}
	s, stderr = opened(t, deviceOptions{}, paths[2], paths[0])
	s.reads(t, c)
	if !strings.Contains(stderr, "1 of 3 members are missing") {
		t.Errorf("without a member: got %q", stderr)
	}
	var out, errs bytes.Buffer
	if code := Main([]string{"list", paths[0]}, strings.NewReader(""), &out, &errs); code != exitError || !strings.Contains(errs.String(), "MD array lab:stack: too many members are missing") {
		t.Errorf("with one member: exit %d, %q", code, errs.String())
	}
}

func TestAReloadKeepsTheDevicesThatHaveNotChanged(t *testing.T) {
	c, pv := onePV(t)
	st := stack{t, t.TempDir()}
	var paths []string
	for i, member := range inRAID5(inGPT(pv)) {
		paths = append(paths, st.write(string(rune('a'+i)), inLogical(member)))
	}
	s, _ := opened(t, deviceOptions{Nested: true}, paths...)
	before := s.Scan.VGs[0].PVs[0].Device
	again, _, err := s.rescan(newApp(nil, strings.NewReader(""), io.Discard, io.Discard))
	if err != nil {
		t.Fatal(err)
	}
	if again == s.Scan || again.VGs[0].PVs[0].Device != before {
		t.Error("the PV is on another device")
	}
	s.Scan = again
	s.reads(t, c)
}

func TestWritingToAPVInAPartitionClaimsTheImage(t *testing.T) {
	_, pv := onePV(t)
	path := stack{t, t.TempDir()}.write("disk", inLogical(pv))
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	s, _ := opened(t, deviceOptions{}, path)
	lv := s.Scan.VGs[0].LVs[0]
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

func TestALVOnAnArrayIsReadOnly(t *testing.T) {
	_, pv := onePV(t)
	st := stack{t, t.TempDir()}
	var paths []string
	for i, member := range inRAID5(pv) {
		paths = append(paths, st.write(string(rune('a'+i)), member))
	}
	s, _ := opened(t, deviceOptions{}, paths...)
	if err := s.Scan.VGs[0].LVs[0].ReadOnlyReason(); err == nil || !strings.Contains(err.Error(), "MD array") {
		t.Errorf("got %v", err)
	}
}

func TestAnOffsetIsWhereThePVStarts(t *testing.T) {
	c, pv := onePV(t)
	path := stack{t, t.TempDir()}.write("disk", append(make([]byte, 12345), pv...))
	s, _ := opened(t, deviceOptions{Offset: []string{"12345"}}, path)
	s.reads(t, c)
}

func TestAnOffsetCanBeThatOfOneDeviceOrOfWhatLiesOnIt(t *testing.T) {
	c, pv := onePV(t)
	st := stack{t, t.TempDir()}
	disk := st.write("disk", inLogical(append(make([]byte, 12345), pv...)))
	other := st.write("other", make([]byte, 1<<20))
	s, _ := opened(t, deviceOptions{Offset: []string{disk + " (partition 5)=12345"}}, disk, other)
	s.reads(t, c)

	var errs bytes.Buffer
	if code := Main([]string{"list", "--offset", "nowhere=12345", disk}, strings.NewReader(""), io.Discard, &errs); code != exitError || !strings.Contains(errs.String(), "--offset nowhere=12345: there is no such device") {
		t.Errorf("exit %d, %q", code, errs.String())
	}
}
