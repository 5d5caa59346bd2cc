package probe

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"lvm2fs/internal/test/testmd"
	"lvm2fs/internal/test/testpv"
	"lvm2fs/internal/test/testtable"
	"lvm2fs/layers/md"
	"lvm2fs/mapping"
)

type part = testtable.Part

const (
	lvmType = 0x8e
	mib     = 1 << 20
)

// pv is the bytes of a PV of its own VG, of a MiB or more.
func pv(size int64) []byte { return testpv.New("", testpv.UUID("pv"), size, "").Bytes }

func disk(name string, b []byte) *testpv.Disk { return &testpv.Disk{Label: name, Bytes: b} }

// put copies parts into a disk of size bytes at their places.
func put(size int64, parts map[int64][]byte) []byte {
	b := make([]byte, size)
	for at, p := range parts {
		copy(b[at:], p)
	}
	return b
}

// mbr is a disk of 4 MiB whose partitions of 1 MiB, from 1 MiB on, hold the contents.
func mbr(contents ...[]byte) []byte {
	b := make([]byte, 4*mib)
	var parts []part
	for i, c := range contents {
		copy(b[(i+1)*mib:], c)
		parts = append(parts, part{Number: i + 1, First: int64(i+1) * 2048, Count: 2048, Kind: lvmType})
	}
	testtable.MBR(b, parts...)
	return b
}

func gpt(sector int64, contents ...[]byte) []byte {
	b := make([]byte, 4*mib)
	var parts []part
	for i, c := range contents {
		copy(b[(i+1)*mib-int(512<<10):], c)
		parts = append(parts, part{Number: i + 1, First: (int64(i+1)*mib - 512<<10) / sector, Count: mib / sector})
	}
	testtable.GPT(b, sector, parts...)
	return b
}

// mirror is the members of a raid1, of 1 MiB each.
func mirror(version string, content []byte) [][]byte {
	return testmd.Set(testmd.Member{Version: version, Name: "lab:m", Array: [16]byte{1, version[2]}, Level: 1, Disks: 2, Resync: testmd.All}, mib, content)
}

func stripes(array byte, content []byte, disks int) [][]byte {
	return testmd.Set(testmd.Member{Version: "1.2", Name: fmt.Sprintf("lab:s%d", array), Array: [16]byte{array}, Level: 5, Layout: 2, Chunk: 8, Disks: disks, Resync: testmd.All}, mib, content)
}

func probe(opts Options, disks ...[]byte) *Result {
	var devices []mapping.Device
	for i, b := range disks {
		devices = append(devices, disk(fmt.Sprintf("d%d", i), b))
	}
	return New(opts).look(devices, nil)
}

// look is Probe without an end to its time.
func (p *Prober) look(devices, others []mapping.Device) *Result {
	r, err := p.Probe(context.Background(), devices, others)
	if err != nil {
		panic(err)
	}
	return r
}

// pvs are the names of the devices with a PV.
func (r *Result) pvs() (names []string) {
	for _, d := range r.Candidates {
		names = append(names, d.Name())
	}
	return names
}

// finds says that these are the devices with a PV, that nothing was refused, and of what there are
// warnings.
func (r *Result) finds(t *testing.T, want []string, warnings ...string) {
	t.Helper()
	if diff := cmp.Diff(want, r.pvs()); diff != "" {
		t.Errorf("PVs (-want +got):\n%s", diff)
	}
	if len(r.Refused) > 0 {
		t.Errorf("refused: %v", r.Refused)
	}
	r.warns(t, warnings...)
}

func (r *Result) warns(t *testing.T, warnings ...string) {
	t.Helper()
	got := slices.Clone(r.Warnings)
	for _, f := range r.Failed {
		got = append(got, f.Err)
	}
	if len(got) != len(warnings) {
		t.Fatalf("got warnings %v, want %q", got, warnings)
	}
	for i, w := range warnings {
		if !strings.Contains(got[i].Error(), w) {
			t.Errorf("got warning %q, want %q", got[i], w)
		}
	}
}

// refuses says that there is no PV, and why.
func (r *Result) refuses(t *testing.T, want ...string) {
	t.Helper()
	if len(r.Candidates) > 0 {
		t.Errorf("got PVs on %v", r.pvs())
	}
	if len(r.Refused) != len(want) {
		t.Fatalf("refused: %v, want %q", r.Refused, want)
	}
	for i, w := range want {
		if !strings.Contains(r.Refused[i].Err.Error(), w) {
			t.Errorf("refused: %q, want %q", r.Refused[i], w)
		}
	}
}

// tree draws the nodes: an indented line each, with what is on them.
func (r *Result) tree() string {
	var b strings.Builder
	var draw func(n *Node, indent string)
	draw = func(n *Node, indent string) {
		fmt.Fprintf(&b, "%s%s %s: %s\n", indent, n.Name, n.Type, n.Content)
		for _, c := range n.Children {
			draw(c, indent+" ")
		}
	}
	for _, n := range r.Roots {
		draw(n, "")
	}
	return b.String()
}

// label is the bytes of the PV's label, which a device with the PV begins with.
func holds(t *testing.T, d mapping.Device, want []byte) {
	t.Helper()
	got := make([]byte, len(want))
	if n, err := d.ReadAt(got, 0); n < len(got) || !bytes.Equal(got, want) {
		t.Errorf("%s has other bytes: %v", d.Name(), err)
	}
}

func TestAPVOnABareDiskIsFound(t *testing.T) {
	probe(Options{}, pv(mib)).finds(t, []string{"d0"})
}

func TestAPVInAPartitionIsFound(t *testing.T) {
	content := pv(mib)
	for name, b := range map[string][]byte{"MBR": mbr(nil, content), "GPT": gpt(512, nil, content), "GPT of 4096-byte sectors": gpt(4096, nil, content)} {
		r := probe(Options{}, b)
		r.finds(t, []string{"d0 (partition 2)"})
		if t.Failed() {
			t.Fatal(name)
		}
		holds(t, r.Candidates[0], content)
		if r.Candidates[0].Size() != mib {
			t.Errorf("%s: %d bytes", name, r.Candidates[0].Size())
		}
		if _, ok := r.Candidates[0].(mapping.WritableDevice); !ok {
			t.Errorf("%s: it is not writable", name)
		}
	}
}

func TestAMemberOfAMirrorIsNoPVAlthoughItShowsOne(t *testing.T) {
	for _, version := range []string{"0.90", "1.0", "1.1", "1.2"} {
		content := pv(512 << 10)
		disks := mirror(version, content)
		r := probe(Options{}, disks...)
		name := "MD array lab:m"
		if version == "0.90" {
			name = "MD array 01390000:00000000:00000000:00000000"
		}
		r.finds(t, []string{name})
		holds(t, r.Candidates[0], content)
		r = probe(Options{}, disks[1])
		r.finds(t, []string{name}, "1 of 2 members")
	}
}

func TestLayersAreLookedThroughInAnyNesting(t *testing.T) {
	content := pv(400 << 10)
	inPartition := put(mib, map[int64][]byte{64 << 10: content})
	testtable.MBR(inPartition, part{Number: 1, First: 128, Count: 1000, Kind: lvmType})
	for name, c := range map[string]struct {
		disks [][]byte
		pv    string
	}{
		"a partition on an array":                 {stripes(7, inPartition, 3), "MD array lab:s7 (partition 1)"},
		"an array of partitions":                  {[][]byte{mbr(mirror("1.0", content)...)}, "MD array lab:m"},
		"an array of partitions on several disks": {[][]byte{gpt(512, nil, mirror("1.2", content)[1]), mbr(mirror("1.2", content)[0])}, "MD array lab:m"},
		"an array of arrays":                      {slices.Concat(stripes(1, stripes(3, content, 3)[0], 3), stripes(2, stripes(3, content, 3)[1], 3), stripes(3, content, 3)[2:]), "MD array lab:s3"},
		"a partition in a partition":              {[][]byte{mbr(nil, nil, inPartition)}, "d0 (partition 3) (partition 1)"},
	} {
		t.Run(name, func(t *testing.T) {
			for range c.disks {
				r := probe(Options{}, c.disks...)
				r.finds(t, []string{c.pv})
				holds(t, r.Candidates[0], content)
				c.disks = append(c.disks[1:], c.disks[0])
			}
		})
	}
}

func TestAnArrayWaitsForMembersThatLieOnOtherArrays(t *testing.T) {
	content := pv(200 << 10)
	outer := testmd.Set(testmd.Member{Version: "1.2", Name: "lab:outer", Array: [16]byte{40}, Level: 1, Disks: 2, Resync: testmd.All}, mib, content)
	// One member of the mirror is a disk, the other an array that itself lacks a disk.
	inner := stripes(41, outer[0], 4)[1:]
	r := probe(Options{}, append([][]byte{outer[1]}, inner...)...)
	r.finds(t, []string{"MD array lab:outer"}, "lab:s41: 1 of 4 members")
	array := r.Candidates[0].(mapping.Stacked)
	if got := len(array.Beneath()); got != 2 {
		t.Errorf("it has %d members", got)
	}
	if got := len(mapping.Bottom(array)); got != 4 {
		t.Errorf("it lies on %d disks", got)
	}
}

func TestTheTreeSaysWhatLiesOnWhat(t *testing.T) {
	m := mirror("1.2", pv(400<<10))
	got := probe(Options{}, mbr(m[0], []byte("PK\x03\x04")), m[1]).tree()
	want := `d0 image: MBR partition table
 d0 (partition 1) part: member 0 of MD array lab:m (raid1, superblock 1.2)
  MD array lab:m raid1: LVM2 physical volume
 d0 (partition 2) part: zip archive
d1 image: member 1 of MD array lab:m (raid1, superblock 1.2)
 MD array lab:m raid1: LVM2 physical volume
`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestARefusalSaysWhatWasFoundInstead(t *testing.T) {
	probe(Options{}, mbr([]byte("hsqs"), nil)).refuses(t, "d0: no PV: MBR partition table; d0 (partition 1): squashfs file system; d0 (partition 2): empty device")
	probe(Options{}, stripes(1, nil, 3)[0]).refuses(t, "MD array lab:s1: too many members are missing: raid5 with 3 places, without [1")
	// Of two members of one array, the message comes once.
	probe(Options{}, stripes(1, nil, 4)[:2]...).refuses(t, "MD array lab:s1: too many members are missing")
	damaged := gpt(512, pv(mib))
	damaged[512+60] ^= 1
	damaged[len(damaged)-512+60] ^= 1
	probe(Options{}, damaged).refuses(t, "GPT header in sector 1: partition table damaged")
	super := mirror("1.2", nil)[0]
	super[4096+100] ^= 1
	probe(Options{}, super).refuses(t, "checksum")
	luks := put(mib, map[int64][]byte{0: []byte("LUKS\xba\xbe\x00\x02")})
	probe(Options{}, luks).refuses(t, "d0: not a bare PV: it is a LUKS2 container")
	probe(Options{}, mbr(luks)).refuses(t, "d0 (partition 1): not a bare PV: it is a LUKS2 container")
	// Where nothing is found, it is left to lvm2 to describe the device.
	probe(Options{}, make([]byte, mib)).finds(t, []string{"d0"})
}

func TestTroubleBesideAPVIsAWarning(t *testing.T) {
	r := probe(Options{}, mbr(pv(mib), stripes(1, nil, 3)[0]))
	r.finds(t, []string{"d0 (partition 1)"}, "MD array lab:s1: too many members are missing")
	stale := mirror("1.2", pv(400<<10))
	testmd.Change(stale[1], "1.2", func(b []byte) { b[200] = 3 })
	r = probe(Options{}, stale...)
	r.finds(t, []string{"MD array lab:m"}, "1 of 2 members", "d1: not used as member 1")
	if err := r.Roots[1].Err; err == nil || len(r.Roots[1].Children) != 0 {
		t.Errorf("the stale member: %v, with %d devices on it", err, len(r.Roots[1].Children))
	}
}

func TestALabelFromBeforeThePartitionsIsNoPV(t *testing.T) {
	b := mbr([]byte("hsqs"), pv(mib))
	copy(b[512:], pv(mib)[512:1024])
	probe(Options{}, b).finds(t, []string{"d0 (partition 2)"}, "what is left of an earlier use (--offset 0 reads it)")
}

func TestATableBesideAPVCountsForNothingIfItsPartitionsHoldNothing(t *testing.T) {
	b := pv(4 * mib)
	testtable.MBR(b)
	probe(Options{}, b).finds(t, []string{"d0"})
	testtable.MBR(b, part{Number: 1, First: 4096, Count: 2048, Kind: 0x83})
	probe(Options{}, b).finds(t, []string{"d0"}, "whose partitions hold nothing")
	// A PV was made on a disk with a GPT. It overwrote the header of the GPT.
	b = gpt(512, []byte("hsqs"))
	copy(b[512:], pv(4 * mib)[512:1024])
	probe(Options{}, b).finds(t, []string{"d0"}, "of which the backup is left")
}

func TestAFileSystemIsNoPartitionTable(t *testing.T) {
	b := mbr(pv(mib))
	copy(b[54:], "FAT16   ")
	probe(Options{}, b).finds(t, []string{"d0"}) // for lvm2 to say what it is
	b = gpt(512, pv(mib))
	clear(b[446:512])
	b[1030] ^= 1
	copy(b[65536+64:], "_BHRfS_M")
	probe(Options{}, b).finds(t, []string{"d0"})
	clear(b[65536+64:][:8])
	probe(Options{}, b).finds(t, []string{"d0 (partition 1)"}, "going by the backup", "no MBR protects")
}

func TestTheSectorSizeOfAnImageIsToldByWhatItsPartitionsHold(t *testing.T) {
	content := pv(mib)
	b := put(16*mib, map[int64][]byte{8 * mib: content})
	testtable.MBR(b, part{Number: 1, First: 2048, Count: 256, Kind: lvmType})
	r := probe(Options{}, b)
	r.finds(t, []string{"d0 (partition 1)"})
	holds(t, r.Candidates[0], content)
	// A disk tells by itself, if there is something in the partitions then.
	copy(b[mib:], "hsqs")
	r = probe(Options{SectorSize: func(mapping.Device) int64 { return 512 }}, b)
	r.refuses(t, "no PV")
}

func TestAnOldSuperblockInTheLastPartitionIsThePartitions(t *testing.T) {
	content := pv(512 << 10)
	m := testmd.Set(testmd.Member{Version: "0.90", Array: [16]byte{9}, Level: 1, Disks: 2, Resync: testmd.All}, 3*mib, content)
	b := put(4*mib, map[int64][]byte{mib: m[0]})
	testtable.MBR(b, part{Number: 1, First: 2048, Count: 3 * 2048, Kind: 0xfd})
	r := probe(Options{}, b)
	r.finds(t, []string{"MD array 09000000:00000000:00000000:00000000"}, "1 of 2 members")
	holds(t, r.Candidates[0], content)
}

func TestAnOffsetIsTakenAtItsWord(t *testing.T) {
	content := pv(mib)
	b := put(4*mib, map[int64][]byte{12345: content})
	off := int64(12345)
	ofDisks := func(_ mapping.Device, disk bool) (int64, bool) { return off, disk }
	r := probe(Options{Offset: ofDisks}, b)
	r.finds(t, []string{"d0 (from byte 12345)"})
	holds(t, r.Candidates[0], content)
	off = 4 * mib
	probe(Options{Offset: ofDisks}, b).refuses(t, "no byte 4194304")
	off = 0
	both := mbr([]byte("hsqs"), pv(mib))
	copy(both[512:], pv(mib)[512:1024])
	probe(Options{Offset: ofDisks}, both).finds(t, []string{"d0 (from byte 0)"})
	off = 8192
	probe(Options{Offset: ofDisks}, stripes(1, pv(mib), 3)[0]).refuses(t, "d0: not a bare PV: it is member 0 of MD array lab:s1")
	off = 12345
	r = probe(Options{Offset: ofDisks, Images: []Layer{{Type: "reversed", Open: openReversed}}}, reverse(b))
	r.finds(t, []string{"d0 (reversed) (from byte 12345)"})
	holds(t, r.Candidates[0], content)

	// On what lies on an array
	off = 4096
	content = pv(512 << 10)
	array := mirror("1.2", put(600<<10, map[int64][]byte{4096: content}))
	ofArray := func(d mapping.Device, _ bool) (int64, bool) { return off, d.Name() == "MD array lab:m" }
	r = probe(Options{Offset: ofArray}, array...)
	r.finds(t, []string{"MD array lab:m (from byte 4096)"})
	if !r.AtWord[r.Candidates[0]] {
		t.Error("it is not said that it is a PV by the user's word")
	}
}

func TestAPVAtAnOffsetOfAPartOfSomethingElseIsReadOnly(t *testing.T) {
	ofDisks := func(_ mapping.Device, disk bool) (int64, bool) { return 0, disk }
	r := probe(Options{Offset: ofDisks}, mirror("1.0", pv(512<<10))[0])
	r.finds(t, []string{"d0 (from byte 0)"}, "is read as a PV, although the device is a Linux MD member")
	if _, ok := r.Candidates[0].(mapping.WritableDevice); ok {
		t.Error("one leg of a mirror can be written")
	}
	r = probe(Options{Offset: ofDisks}, pv(mib))
	if _, ok := r.Candidates[0].(mapping.WritableDevice); !ok {
		t.Error("what is no part of anything cannot be written")
	}
}

// reversed is a container for the tests: a magic, and then all bytes in reverse order.
type reversed struct {
	mapping.Device
	size   int64
	closed int
}

const magic = "reversed"

func (r *reversed) Name() string              { return r.Device.Name() + " (reversed)" }
func (r *reversed) Size() int64               { return r.size }
func (r *reversed) Beneath() []mapping.Device { return []mapping.Device{r.Device} }
func (r *reversed) Close() error              { r.closed++; return nil }

func (r *reversed) ReadAt(p []byte, off int64) (int, error) {
	if off >= r.Size() {
		return 0, io.EOF
	}
	var end error
	if int64(len(p)) > r.Size()-off {
		p, end = p[:r.Size()-off], io.EOF
	}
	if _, err := r.Device.ReadAt(p, 512+r.size-off-int64(len(p))); err != nil {
		return 0, err
	}
	slices.Reverse(p)
	return len(p), end
}

func reverse(content []byte) []byte {
	b := slices.Concat(make([]byte, 512), content)
	slices.Reverse(b[512:])
	copy(b, magic)
	binary.LittleEndian.PutUint64(b[16:], uint64(len(content)))
	return b
}

var errLocked = errors.New("locked")

func openReversed(_ context.Context, d mapping.Device) (mapping.Device, error) {
	p := make([]byte, 24)
	if _, err := d.ReadAt(p, 0); err != nil || string(p[:len(magic)]) != magic {
		return nil, nil
	}
	if p[len(magic)] != 0 {
		return nil, fmt.Errorf("%s: %w", d.Name(), errLocked)
	}
	return &reversed{Device: d, size: int64(binary.LittleEndian.Uint64(p[16:]))}, nil
}

func TestLayersPlugIn(t *testing.T) {
	opts := Options{Images: []Layer{{Type: "reversed", Open: openReversed}}}
	content := pv(400 << 10)
	m := mirror("1.2", reverse(content))
	r := probe(opts, reverse(mbr(m...)))
	r.finds(t, []string{"MD array lab:m (reversed)"})
	holds(t, r.Candidates[0], content)
	locked := reverse(pv(mib))
	locked[len(magic)] = 1
	probe(opts, locked).refuses(t, "d0: locked (reversed)")
	probe(opts, locked, pv(mib)).finds2(t, []string{"d1"}, "d0: locked (reversed)")
}

// finds2 is finds for a case in which something else was refused.
func (r *Result) finds2(t *testing.T, want []string, refused string) {
	t.Helper()
	if len(r.Refused) != 1 || !strings.Contains(r.Refused[0].Err.Error(), refused) {
		t.Errorf("refused: %v", r.Refused)
	}
	r.Refused = nil
	r.finds(t, want)
}

func TestContainersAreAskedForComponentsAlone(t *testing.T) {
	asked := 0
	opts := Options{Containers: []Layer{{Type: "crypt", Open: func(_ context.Context, d mapping.Device) (mapping.Device, error) {
		asked++
		return mapping.Section(d, 512, d.Size()-512, d.Name()+" (opened)"), nil
	}}}}
	luks := put(2*mib, map[int64][]byte{0: []byte("LUKS\xba\xbe\x00\x02"), 512: pv(mib)})
	r := probe(opts, luks, pv(mib), mirror("1.0", luks[:mib/2])[0], make([]byte, mib))
	r.finds(t, []string{"d1", "d0 (opened)", "MD array lab:m (opened)", "d3"}, "1 of 2 members")
	if asked != 2 {
		t.Errorf("asked about %d devices", asked)
	}
}

func TestASecondLookGivesTheSameDevices(t *testing.T) {
	inner := put(700<<10, map[int64][]byte{200 << 10: pv(400 << 10)})
	testtable.MBR(inner, part{Number: 1, First: 400, Count: 800, Kind: lvmType})
	devices := []mapping.Device{disk("d0", mbr(mirror("1.2", reverse(inner))...)), disk("d1", pv(mib))}
	p := New(Options{Images: []Layer{{Type: "reversed", Open: openReversed}}})
	first, second := p.look(devices, nil), p.look(devices, nil)
	first.finds(t, []string{"d1", "MD array lab:m (reversed) (partition 1)"})
	if !slices.Equal(first.Candidates, second.Candidates) {
		t.Errorf("got %v, then others", first.pvs())
	}
	layer := first.Roots[0].Children[0].Children[0].Children[0].Device.(*reversed)
	if err := p.Close(); err != nil || layer.closed != 1 {
		t.Errorf("%v, closed %d times", err, layer.closed)
	}
	// A change of the superblock makes another array of it.
	p = New(Options{})
	disks := mirror("1.2", pv(400<<10))
	devices = []mapping.Device{disk("d0", disks[0]), disk("d1", disks[1])}
	first = p.look(devices, nil)
	for _, b := range disks {
		testmd.Change(b, "1.2", func(b []byte) { b[200]++ })
	}
	second = p.look(devices, nil)
	if slices.Equal(first.Candidates, second.Candidates) {
		t.Error("it is the same array")
	}
}

// dated is a file that remembers when it was changed.
type dated struct {
	mapping.Device
	time time.Time
}

func (d *dated) ModTime() time.Time { return d.time }

func TestAnImageThatHasChangedIsOpenedAnew(t *testing.T) {
	for _, changes := range []bool{false, true} {
		p := New(Options{Images: []Layer{{Type: "reversed", Open: openReversed, Changes: changes}}})
		file := &dated{disk("d0", reverse(pv(mib))), time.Unix(1, 0)}
		devices := []mapping.Device{file}
		first := p.look(devices, nil).Candidates[0]
		if second := p.look(devices, nil).Candidates[0]; second != first {
			t.Error("it was opened anew, although it has not changed")
		}
		file.time = time.Unix(2, 0)
		if third := p.look(devices, nil).Candidates[0]; (third != first) != changes {
			t.Errorf("Changes is %t, and it was opened anew: %t", changes, third != first)
		}
		p.Forget()
		p.look(devices, nil)
		if p.Forget(); len(p.opened) != 1 {
			t.Errorf("%d images are remembered", len(p.opened))
		}
	}
}

func TestThePartitionsOfTheSystemArePreferred(t *testing.T) {
	whole := disk("sda", mbr(pv(mib), pv(mib)))
	own := disk("sda1", pv(mib))
	opts := Options{Partition: func(d mapping.Device, number int, start, size int64) mapping.Device {
		if d == mapping.Device(whole) && number == 1 && start == mib && size == mib {
			return own
		}
		return nil
	}}
	r := New(opts).look([]mapping.Device{whole, own}, nil)
	r.finds(t, []string{"sda1", "sda (partition 2)"})
	if r.Roots[1] != r.Roots[0].Children[0] || r.Roots[1].Type != "part" {
		t.Errorf("the partition is there twice, or a %s", r.Roots[1].Type)
	}
}

func TestDevicesThatNobodyHasNamedAreNotRefused(t *testing.T) {
	lv := disk("vg/lv", mbr([]byte("hsqs")))
	disks := []mapping.Device{disk("d0", pv(mib))}
	New(Options{}).look(disks, []mapping.Device{lv}).finds(t, []string{"d0"})
	lv.Bytes = mbr(pv(mib))
	New(Options{}).look(disks, []mapping.Device{lv}).finds(t, []string{"d0", "vg/lv (partition 1)"})
	New(Options{}).look(nil, []mapping.Device{disk("empty", make([]byte, mib))}).finds(t, nil)
}

func TestNestingWithoutEndIsBounded(t *testing.T) {
	// Each partition is all of the disk but its first sectors, and holds a table again.
	b := make([]byte, mib)
	for at := int64(0); at < mib/2; at += 16 * 512 {
		testtable.MBR(b[at:], part{Number: 1, First: 16, Count: (mib-at)/512 - 16, Kind: lvmType}, part{Number: 2, First: 24, Count: 8, Kind: lvmType}, part{Number: 3, First: 32, Count: 8, Kind: lvmType})
	}
	r := probe(Options{}, b)
	const deep = "not looked at: it lies on 17 others"
	r.refuses(t, deep, deep, deep)
}

func TestWhatCannotBeReadIsRefused(t *testing.T) {
	d := disk("d0", pv(mib))
	d.Break(0, 512)
	New(Options{}).look([]mapping.Device{d}, nil).refuses(t, "input/output error")
}

func FuzzProbe(f *testing.F) {
	const size = 256 << 10
	small := pv(64 << 10)
	m := testmd.Set(testmd.Member{Version: "1.2", Array: [16]byte{1}, Level: 1, Disks: 2, Resync: testmd.All}, size, small)
	f.Add(m[0][:8192], []byte{}, []byte{})
	table := make([]byte, size)
	testtable.MBR(table, part{Number: 1, First: 64, Count: 200, Kind: lvmType}, part{Number: 2, First: 264, Count: 200, Kind: lvmType})
	f.Add(table[:512], small[:2048], m[1][:8192])
	f.Fuzz(func(t *testing.T, start, first, second []byte) {
		b := put(size, map[int64][]byte{64 * 512: first[:min(len(first), 100<<10)]})
		copy(b[264*512:], second[:min(len(second), 100<<10)])
		copy(b, start[:min(len(start), 16<<10)])
		if len(start) > 4096+512 && b[4096+223] == 0 && b[4096+222] == 0 && b[4096+221] < 7 {
			testmd.SumV1(b[4096:8192])
		}
		r := probe(Options{}, b, bytes.Clone(b))
		_ = r.tree()
		for _, d := range r.Candidates {
			p := make([]byte, 4096)
			if n, err := d.ReadAt(p, 0); n < len(p) && err == nil {
				t.Fatalf("%s: %d bytes without an error", d.Name(), n)
			}
		}
	})
}

func TestAnArrayBeatsABareDeviceThatLooksLikeItsMember(t *testing.T) {
	for _, version := range []string{"0.90", "1.0"} {
		content := pv(512 << 10)
		inTable := put(600<<10, map[int64][]byte{32 << 10: content})
		testtable.MBR(inTable, part{Number: 1, First: 64, Count: 1024, Kind: lvmType})
		for _, stack := range [][]byte{content, inTable} {
			disks := mirror(version, stack)
			bare := bytes.Clone(disks[0])
			at := testmd.SuperOffset(version, int64(len(bare)))
			clear(bare[at : at+4096])
			r := probe(Options{}, bare, disks[1])
			if len(r.Candidates) != 2 {
				t.Fatalf("%s: PVs on %v", version, r.pvs())
			}
			lost, array := r.Candidates[0], r.Candidates[1]
			if r.Beats(array, lost) == "" || r.Beats(lost, array) != "" {
				t.Errorf("%s: %q and %q", version, r.Beats(array, lost), r.Beats(lost, array))
			}
		}
	}
	// The members of this one show nothing at their start.
	disks := mirror("1.2", pv(512<<10))
	r := probe(Options{}, pv(mib), disks[0], disks[1])
	if len(r.Candidates) != 2 || r.Beats(r.Candidates[1], r.Candidates[0]) != "" {
		t.Error("an array whose members do not look like it beats a device")
	}
}

func TestMembersOfAnArrayThatCannotBeReadAreNamed(t *testing.T) {
	content := pv(512 << 10)
	m := testmd.Member{Version: "1.0", Name: "lab:x", Array: [16]byte{9}, Level: 5, Layout: 2, Chunk: 8, Disks: 3, Resync: testmd.All}
	disks := testmd.Set(m, mib, content)
	r := probe(Options{}, disks[0])
	if len(r.Candidates) != 0 || len(r.Unread) != 1 || r.Unread[0].Name() != "d0" {
		t.Errorf("PVs %v, unread %v", r.pvs(), r.Unread)
	}
}

func TestADeviceThatWasNamedBeatsOneThatWasFound(t *testing.T) {
	content := pv(mib)
	r := New(Options{}).look([]mapping.Device{disk("a", content)}, []mapping.Device{disk("b", bytes.Clone(content))})
	if len(r.Candidates) != 2 || r.Beats(r.Candidates[0], r.Candidates[1]) == "" || r.Beats(r.Candidates[1], r.Candidates[0]) != "" {
		t.Error("it does not")
	}
}

func TestATableInSectorsOfAnotherSizeThanTheDisksIsRead(t *testing.T) {
	content := pv(512 << 10)
	for _, sector := range []int64{512, 4096} {
		inMBR := put(4*mib, map[int64][]byte{mib: content})
		testtable.MBR(inMBR, part{Number: 1, First: mib / sector, Count: mib / sector, Kind: lvmType})
		for _, disk := range [][]byte{gpt(sector, content), inMBR} {
			other := Options{SectorSize: func(mapping.Device) int64 { return 512 + 4096 - sector }}
			r := probe(other, disk)
			r.finds(t, []string{"d0 (partition 1)"})
			holds(t, r.Candidates[0], content)
		}
	}
}

func TestAMirrorIsNotReadFromWhatMayBeOlderThanAMemberWithADamagedSuperblock(t *testing.T) {
	for _, version := range []string{"0.90", "1.0", "1.1", "1.2"} {
		m := testmd.Member{Version: version, Name: "lab:r1", Array: [16]byte{1}, Level: 1, Disks: 2, Resync: testmd.All}
		disks := testmd.Set(m, 2*mib, pv(mib))
		super, err := md.Find(bytes.NewReader(disks[1]), 2*mib)
		if err != nil {
			t.Fatal(err)
		}
		const at = 700 << 10
		disks[1][super.DataOffset+at] ^= 0xff // it has missed a write
		disks[0][testmd.SuperOffset(version, 2*mib)+200] ^= 1
		for _, order := range [][]int{{0, 1}, {1, 0}} {
			var given []mapping.Device
			for _, i := range order {
				given = append(given, &testpv.Disk{Label: fmt.Sprint("d", i), Bytes: disks[i]})
			}
			r := New(Options{}).look(given, nil)
			var array mapping.Device
			for _, dev := range r.Candidates {
				if dev.Name() != "d0" && dev.Name() != "d1" {
					array = dev
				}
			}
			if array == nil {
				t.Fatalf("%s: no array, but %v, %v", version, r.Candidates, r.Warnings)
			}
			for _, dev := range r.Candidates {
				if dev != array && r.Beats(array, dev) == "" {
					t.Errorf("%s: %s is as good as the array", version, dev.Name())
				}
			}
			if n, err := array.ReadAt(make([]byte, 4096), at); err == nil {
				t.Errorf("%s: %d bytes are read where the two differ", version, n)
			}
			if n, err := array.ReadAt(make([]byte, 4096), 0); err != nil {
				t.Errorf("%s: where they are the same: %d bytes, %v", version, n, err)
			}
		}
	}
}
