package md

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"lvm2fs/internal/test/testenv"
	"lvm2fs/internal/test/testimages"
	"lvm2fs/internal/test/testmd"
)

func find(t *testing.T, disk []byte) *Superblock {
	t.Helper()
	s, err := Find(bytes.NewReader(disk), int64(len(disk)))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSuperblocksOfEveryVersionAreFoundInTheirPlace(t *testing.T) {
	for _, version := range []string{"0.90", "1.0", "1.1", "1.2"} {
		m := raid5()
		m.Version = version
		disk := testmd.Set(m, size, nil)[1]
		s := find(t, disk)
		if s == nil {
			t.Errorf("%s: not found", version)
			continue
		}
		if s.Version != version || s.Offset != testmd.SuperOffset(version, size) || s.Role != 1 || s.Events != 10 || s.Resync != All {
			t.Errorf("%s: got %+v", version, s)
		}
		if want := (Geometry{Level: 5, Layout: 2, Chunk: 4096, Disks: 3}); s.Geometry != want {
			t.Errorf("%s: got %+v, want %+v", version, s.Geometry, want)
		}
		if s.Size <= size/2 || s.Size > s.DataSize || s.DataOffset+s.DataSize > size {
			t.Errorf("%s: %d bytes used of %d from %d", version, s.Size, s.DataSize, s.DataOffset)
		}
	}
}

func TestOldSuperblocksAreReadInEitherByteOrder(t *testing.T) {
	m := raid5()
	m.Version, m.Events = "0.90", 7<<32|9
	little := find(t, testmd.Set(m, size, nil)[2])
	m.Big = true
	big := find(t, testmd.Set(m, size, nil)[2])
	if little.Events != 7<<32|9 || big.Events != little.Events || big.Array != little.Array || big.Role != 2 || big.Geometry != little.Geometry || big.Size != little.Size {
		t.Errorf("little-endian %+v\nbig-endian %+v", little, big)
	}
}

func TestADiskWithoutASuperblockIsNoMember(t *testing.T) {
	for _, n := range []int{0, 100, 4096, 8192, 65536, size} {
		if s, err := Find(bytes.NewReader(make([]byte, n)), int64(n)); s != nil || err != nil {
			t.Errorf("%d bytes: got %v, %v", n, s, err)
		}
	}
}

func TestADamagedSuperblockIsAnError(t *testing.T) {
	for _, version := range []string{"0.90", "1.0", "1.1", "1.2"} {
		m := raid5()
		m.Version = version
		whole := testmd.Set(m, size, nil)[1]
		at := testmd.SuperOffset(version, size)
		for _, off := range []int64{40, 150, 200, 259} { // name, super_offset or counts, events, roles
			disk := bytes.Clone(whole)
			disk[at+off] ^= 0x10
			s, err := Find(bytes.NewReader(disk), size)
			if !errors.Is(err, ErrDamaged) || s != nil {
				if version == "1.0" && off == 150 && s == nil && err == nil {
					continue // a superblock of another place at the end is none
				}
				t.Errorf("%s, byte %d: got %v, %v", version, off, s, err)
			}
		}
	}
}

func TestWhatASuperblockMayNotSayIsRefused(t *testing.T) {
	le := binary.LittleEndian
	for name, c := range map[string]struct {
		change func(b []byte)
		want   error
	}{
		"unknown features":       {func(b []byte) { b[10] |= 0x80 }, ErrUnsupported},
		"no disks":               {func(b []byte) { le.PutUint32(b[92:], 0) }, ErrDamaged},
		"a million disks":        {func(b []byte) { le.PutUint32(b[92:], 1<<20) }, ErrDamaged},
		"data behind the end":    {func(b []byte) { le.PutUint64(b[128:], size) }, ErrDamaged},
		"an endless size":        {func(b []byte) { le.PutUint64(b[80:], 1<<62) }, ErrDamaged},
		"a bitmap before it all": {func(b []byte) { b[8] |= 1; le.PutUint32(b[96:], 1<<31) }, ErrDamaged},
		"too many roles":         {func(b []byte) { le.PutUint32(b[220:], 1921) }, ErrDamaged},
	} {
		disk := testmd.Set(raid5(), size, nil)[0]
		if name == "too many roles" {
			c.change(disk[4096:])
		} else {
			testmd.Change(disk, "1.2", c.change)
		}
		if s, err := Find(bytes.NewReader(disk), size); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, %v", name, s, err)
		}
	}
}

func TestTheOuterOfTwoArraysIsFoundFirst(t *testing.T) {
	// The member of a mirror has its superblock at the end. The mirror holds the member of another array.
	outer := raid1()
	outer.Version = "1.0"
	disk := testmd.Set(outer, size, nil)[0]
	inner := raid5()
	on := find(t, disk).Size
	copy(disk, testmd.Set(inner, on, nil)[0])
	if s := find(t, disk); s.Version != "1.0" {
		t.Errorf("got %v", s)
	}
	// The other way round, with data that begins at once.
	outer.Version = "1.1"
	outer.DataOffset = 8
	disk = testmd.Set(outer, size, nil)[0]
	inner.Version = "0.90"
	copy(disk[4096:], testmd.Set(inner, size-4096, nil)[0])
	if s := find(t, disk); s.Version != "1.1" {
		t.Errorf("got %v", s)
	}
}

func TestTwoSuperblocksAtOneEndAreAContradiction(t *testing.T) {
	m := raid1()
	m.Version = "1.0"
	disk := testmd.Set(m, size, nil)[0]
	m.Version, m.Array = "0.90", [16]byte{9}
	old := testmd.Set(m, size, nil)[0]
	copy(disk[testmd.SuperOffset("0.90", size):][:4096], old[testmd.SuperOffset("0.90", size):])
	if s, err := Find(bytes.NewReader(disk), size); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "two") {
		t.Errorf("got %v, %v", s, err)
	}
}

func TestASuperblockAtTheEndIsNotBelievedBesideADamagedOneAtTheStart(t *testing.T) {
	disk := testmd.Set(raid5(), size, nil)[0]
	old := raid1()
	old.Version = "0.90"
	copy(disk[testmd.SuperOffset("0.90", size):], testmd.Set(old, size, nil)[0][testmd.SuperOffset("0.90", size):])
	if s := find(t, disk); s.Version != "1.2" {
		t.Fatalf("got %v", s)
	}
	damaged := bytes.Clone(disk)
	damaged[4096+200] ^= 1
	if s, err := Find(bytes.NewReader(damaged), size); !errors.Is(err, ErrDamaged) {
		t.Errorf("got %v, %v", s, err)
	}
	// A superblock at the end belongs to what the array holds, damaged or not.
	disk[testmd.SuperOffset("0.90", size)+200] ^= 1
	if s := find(t, disk); s.Version != "1.2" {
		t.Errorf("got %v", s)
	}
}

// examine is what mdadm reads of a superblock.
func examine(t *testing.T, path string) map[string]string {
	t.Helper()
	out, err := exec.Command("mdadm", "--examine", path).CombinedOutput()
	if err != nil {
		t.Fatalf("mdadm --examine: %v: %s", err, out)
	}
	fields := map[string]string{}
	for line := range strings.Lines(string(out)) {
		if key, value, ok := strings.Cut(line, " : "); ok {
			fields[strings.TrimSpace(key)] = strings.TrimSpace(value)
		}
	}
	return fields
}

func checkExamined(t *testing.T, path string) {
	t.Helper()
	disk, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	s, want := find(t, disk), examine(t, path)
	if s == nil {
		t.Fatalf("%s: mdadm finds %v, we nothing", path, want)
	}
	version, _, _ := strings.Cut(want["Version"]+".", ".00")
	uuid := want["Array UUID"] + want["UUID"]
	if s.Version != strings.TrimSuffix(version, ".") || s.Array.String() != uuid || fmt.Sprint(s.Events) != want["Events"] || s.Geometry.Level.String() != want["Raid Level"] {
		t.Errorf("%s: got %+v, mdadm has %v", path, s, want)
	}
	for key, sectors := range map[string]int64{"Data Offset": s.DataOffset, "Super Offset": s.Offset, "Avail Dev Size": s.DataSize} {
		if text := want[key]; text != "" && !strings.HasPrefix(text, fmt.Sprintf("%d sectors", sectors/512)) {
			t.Errorf("%s: got %s %d, mdadm has %s", path, key, sectors/512, text)
		}
	}
	what := "Active"
	if s.Replacement {
		what = "Replacement"
	}
	if text := want["Device Role"]; text != "" && text != fmt.Sprintf("%s device %d", what, s.Role) {
		t.Errorf("%s: got %v, mdadm has %s", path, s.Role, text)
	}
	if state := want["State"]; strings.HasPrefix(state, "clean") != (s.Resync == All) {
		t.Errorf("%s: in sync to %d, mdadm has %s", path, s.Resync, state)
	}
	if text := want["Chunk Size"]; text != "" && text != fmt.Sprintf("%dK", s.Geometry.Chunk/1024) {
		t.Errorf("%s: got chunks of %d, mdadm has %s", path, s.Geometry.Chunk, text)
	}
}

func TestSuperblocksAreReadAsMdadmReadsThem(t *testing.T) {
	testenv.NeedTools(t, "mdadm")
	t.Setenv("PATH", os.Getenv("PATH")+":/usr/sbin:/sbin")
	for _, version := range []string{"0.90", "1.0", "1.1", "1.2"} {
		for _, resync := range []uint64{testmd.All, 0} {
			m := raid5()
			m.Version, m.Resync = version, resync
			path := filepath.Join(t.TempDir(), "disk.img")
			if err := os.WriteFile(path, testmd.Set(m, size, nil)[1], 0o600); err != nil {
				t.Fatal(err)
			}
			checkExamined(t, path)
		}
	}
}

func TestSuperblocksOfTheImagesAreReadAsMdadmReadsThem(t *testing.T) {
	testenv.NeedTools(t, "mdadm")
	testenv.NeedImages(t)
	t.Setenv("PATH", os.Getenv("PATH")+":/usr/sbin:/sbin")
	for _, c := range testimages.All(t) {
		if !strings.HasPrefix(c.Name, "md-") || !c.Supported() {
			continue
		}
		for _, path := range c.Unpack(t) {
			checkExamined(t, path)
		}
	}
}

func FuzzFind(f *testing.F) {
	const small = 128 << 10
	for i, version := range []string{"0.90", "1.0", "1.1", "1.2"} {
		m := raid5()
		m.Version = version
		disk := testmd.Set(m, small, nil)[1]
		f.Add(byte(i), disk[testmd.SuperOffset(version, small):][:4096])
	}
	f.Fuzz(func(t *testing.T, which byte, super []byte) {
		version := []string{"0.90", "1.0", "1.1", "1.2"}[which%4]
		disk := make([]byte, small)
		b := disk[testmd.SuperOffset(version, small):][:4096]
		copy(b, super)
		switch {
		case version == "0.90":
			testmd.Change(disk, version, func([]byte) {})
		case binary.LittleEndian.Uint32(b[220:]) <= 1920:
			testmd.SumV1(b)
		}
		s, err := Find(bytes.NewReader(disk), small)
		if s == nil {
			return
		}
		if err != nil {
			t.Fatalf("%v and %v", s, err)
		}
		dev := device(0, disk)
		a, err := Assemble([]Member{{dev, s}, {dev, s}}, Options{})
		if err != nil {
			return
		}
		p := make([]byte, 8192)
		for _, off := range []int64{0, a.Array.Size() / 2, a.Array.Size() - 1} {
			if off < 0 || off >= a.Array.Size() {
				continue
			}
			if _, err := a.Array.Map(off, a.Array.Size()-off); err != nil {
				t.Log(err)
			}
			if n, err := a.Array.ReadAt(p, off); n < 0 || n > len(p) || n < len(p) && err == nil {
				t.Fatalf("read %d at %d: %v", n, off, err)
			}
		}
	})
}
