package vdisk

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"lvm2fs/internal/test/testenv"
	"lvm2fs/mapping"
)

// overVHDX opens an image as whatever a differencing VHDX names.
func overVHDX(base []byte) Options {
	return Options{Files: func(mapping.Device, string) (mapping.Device, error) { return &memory{data: base}, nil }}
}

// chainVHDX is a base and a differencing image over it, with some of the sectors of want.
func chainVHDX(sector, block int) (base, top, want []byte) {
	base = sampleVHDX()
	le32(1<<20+4096+32, uint32(sector))(base)
	l, want := some(append(sampleBytes(), make([]byte, sampleSize-sampleData)...), sampleSize, sector, block, 3)
	texts := [][2]string{{"parent_linkage", guidText(make([]byte, 16))}, {"relative_path", "base"}}
	return base, differencingVHDX(l, sector, bytes.Repeat([]byte{7}, 16), texts), want
}

func TestADifferencingVHDXIsWrittenSectorBySector(t *testing.T) {
	testenv.Long(t)
	for _, c := range [][2]int{{512, 1 << 20}, {4096, 1 << 20}, {512, 4 << 20}, {4096, 2 << 20}} {
		base, image, want := chainVHDX(c[0], c[1])
		opts := overVHDX(base)
		before := bytes.Clone(base)
		f := newCutFile(image)
		m := openCut(t, f, opts)
		claim(t, m)
		for range 40 {
			changeOne(t, m, want)
		}
		if got := readAll(t, m); !bytes.Equal(got, want) {
			t.Fatal("byte", differs(got, want))
		}
		release(t, m)
		checkImage(t, openCut(t, newCutFile(f.data), opts), want)
		if !bytes.Equal(base, before) {
			t.Fatal("what lies beneath was written")
		}
		cutEverywhere(t, image, opts, 25, nil)
	}
}

// A sector that was not written shows what lies beneath, whatever that is.
func TestWhatIsNotWrittenOfADifferencingVHDXStaysBeneath(t *testing.T) {
	const mib = 1 << 20
	for _, sector := range []int{512, 4096} {
		base, _, _ := chainVHDX(sector, mib)
		texts := [][2]string{{"parent_linkage", guidText(make([]byte, 16))}, {"relative_path", "base"}}
		// One sector is there, of block 1.
		l := layer{make([]byte, sampleSize), func(i int) bool { return i == mib/sector }, mib}
		f := newCutFile(differencingVHDX(l, sector, make([]byte, 16), texts))
		m := openCut(t, f, overVHDX(base))
		claim(t, m)
		for block := range int64(3) {
			if _, err := m.WriteAt([]byte("new"), block*mib+10_000); err != nil {
				t.Fatal(err)
			}
		}
		release(t, m)
		// The base has other bytes everywhere.
		for block := range 4 {
			le64(2*mib+block*8, 3*mib|vhdxPresent)(base)
		}
		copy(base[3*mib:], bytes.Repeat([]byte{0xa5}, mib))
		want := bytes.Repeat([]byte{0xa5}, sampleSize)
		clear(want[mib:][:sector])
		for block := range 3 {
			clear(want[block*mib+10_000/sector*sector:][:sector]) // as the base was
			copy(want[block*mib+10_000:], "new")
		}
		if got := readAll(t, openCut(t, newCutFile(f.data), overVHDX(base))); !bytes.Equal(got, want) {
			t.Error("byte", differs(got, want))
		}
	}
}

// There are more commits than the log has room for, so it begins anew.
func TestPowerCutsWhereTheLogOfAVHDXBeginsAnew(t *testing.T) {
	testenv.Long(t)
	base, image, want := chainVHDX(512, 1<<20)
	opts := overVHDX(base)
	f := newCutFile(image)
	m := openCut(t, f, opts)
	claim(t, m)
	ring := func() vhdxRing { return m.layout.(*vhdx).ring }
	for ring().next < 1<<20-3*pageSize {
		off := rand.Int64N(sampleSize)
		if _, err := m.WriteAt([]byte{1}, off); err != nil {
			t.Fatal(err)
		}
		want[off] = 1
		if err := m.Sync(); err != nil {
			t.Fatal(err)
		}
	}
	place, _, err := vhdxLogRegion(m.layout.(*vhdx).header)
	if err != nil {
		t.Fatal(err)
	}
	cutFrom(t, f, m, opts, 60, nil)
	if !slices.ContainsFunc(f.steps, func(s step) bool { return s.off == place }) {
		t.Error("the log has not begun anew")
	}
}

// vhdxParts are a header, the newer one, and what is never changed: region tables and metadata.
func vhdxParts(t *testing.T, b []byte) (header, fixed []byte) {
	t.Helper()
	header, _, err := vhdxCurrentHeader(&memory{data: b})
	if err != nil {
		t.Fatal(err)
	}
	regions, err := vhdxRegions(&memory{data: b})
	if err != nil {
		t.Fatal(err)
	}
	r := regions[vhdxMetadataRegion]
	return header, append(bytes.Clone(b[vhdxRegionPlaces[0]:][:128<<10]), b[r.place:][:r.length]...)
}

func TestTheHeadersOfAVHDXSayThatItWasWritten(t *testing.T) {
	f := newCutFile(sampleVHDX())
	m := openCut(t, f, Options{})
	claim(t, m)
	release(t, m)
	if !bytes.Equal(f.data, f.before) {
		t.Fatal("it was written to because it was claimed")
	}
	claim(t, m)
	if _, err := m.WriteAt([]byte{1}, 0); err != nil {
		t.Fatal(err)
	}
	before, fixed := vhdxParts(t, f.before)
	during, _ := vhdxParts(t, f.data)
	if _, err := m.WriteAt([]byte{1}, 2<<20); err != nil {
		t.Fatal(err)
	}
	if err := m.Sync(); err != nil {
		t.Fatal(err)
	}
	logged, _ := vhdxParts(t, f.data)
	release(t, m)
	after, now := vhdxParts(t, f.data)
	if !bytes.Equal(fixed, now) {
		t.Error("region tables or metadata were changed")
	}
	for name, at := range map[string]int{"file": vhdxFileWrite, "disk": vhdxDataWrite} {
		if bytes.Equal(before[at:][:16], during[at:][:16]) || !bytes.Equal(during[at:][:16], after[at:][:16]) {
			t.Errorf("the GUID of the %s: %x, then %x, then %x", name, before[at:][:16], during[at:][:16], after[at:][:16])
		}
	}
	none := make([]byte, 16)
	if bytes.Equal(logged[vhdxLogGUID:][:16], none) || !bytes.Equal(after[vhdxLogGUID:][:16], none) {
		t.Errorf("the log: %x, then %x", logged[vhdxLogGUID:][:16], after[vhdxLogGUID:][:16])
	}
	// The other header says the same, but is older.
	copy(f.data[vhdxHeaderPlaces[0]:], make([]byte, 4096))
	one, _ := vhdxParts(t, f.data)
	if a, b := binary.LittleEndian.Uint64(after[vhdxSequence:]), binary.LittleEndian.Uint64(one[vhdxSequence:]); b != a && b != a-1 || !bytes.Equal(after[vhdxFileWrite:], one[vhdxFileWrite:]) {
		t.Errorf("headers %d and %d", a, b)
	}
}

// A crash has left a log. It is replayed into the file before anything else is written there, and not earlier.
func TestALogIsReplayedBeforeTheFirstWrite(t *testing.T) {
	const mib = 1 << 20
	b := sampleVHDX()
	for _, off := range vhdxHeaderPlaces {
		copy(b[off+vhdxLogGUID:], testLogGUID)
	}
	table := make([]byte, 4096)
	copy(table, b[2*mib:][:4096])
	binary.LittleEndian.PutUint64(table[2*8:], 5*mib|vhdxPresent)
	b = append(b, bytes.Repeat([]byte{9}, mib)...)
	entry := logEntry{5, 0, []logChange{{place: 2 * mib, data: table}, {place: 3*mib + 8192, data: page(7)}, {place: 3*mib + 16384, zeros: 8192}}}
	copy(b[4*mib:], entry.bytes(int64(len(b))))
	resumVHDX(b)
	cutEverywhere(t, b, Options{}, 12, nil)

	f := newCutFile(b)
	m := openCut(t, f, Options{})
	want := readAll(t, m)
	claim(t, m)
	release(t, m)
	if !bytes.Equal(f.data, b) {
		t.Fatal("replayed without need")
	}
	claim(t, m)
	if _, err := m.WriteAt([]byte{1}, 100); err != nil {
		t.Fatal(err)
	}
	want[100] = 1
	release(t, m)
	if !bytes.Equal(f.data[2*mib:][:4096], table) || !bytes.Equal(f.data[3*mib+8192:][:4096], page(7)) {
		t.Error("not replayed")
	}
	checkImage(t, openCut(t, newCutFile(f.data), Options{}), want)
	if want[2*mib] != 9 || want[8192] != 7 {
		t.Error("the log was not read")
	}
}

func TestVHDXThatAreOnlyReadSayWhy(t *testing.T) {
	header := func(at int, v uint64) func(b []byte) {
		return func(b []byte) {
			for _, off := range vhdxHeaderPlaces {
				le64(int(off)+at, v)(b)
			}
		}
	}
	for want, change := range map[string]func(b []byte){
		"a log of 0 bytes":       header(vhdxLogLength-4, 1<<16),
		"at byte 4194305":        header(vhdxLogPlace, 4<<20+1),
		"version 9":              func(b []byte) { header(vhdxLogLength-4, 1<<52|1<<16|9)(b) },
		"overlaps what ends at":  header(vhdxLogPlace, 3<<20),
		"ends at byte":           header(vhdxLogPlace, 64<<20),
		"what lies at byte 3145": func(b []byte) { le64(2<<20+8, 3<<20|vhdxPresent)(b) },
	} {
		b := sampleVHDX()
		change(b)
		m := openCut(t, newCutFile(resumVHDX(b)), Options{})
		if err := m.Claim(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}
