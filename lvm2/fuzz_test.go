package lvm2

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"runtime/metrics"
	"strings"
	"testing"
	"time"

	"lvm2fs/internal/test/testenv"
	"lvm2fs/internal/test/testpv"
	"lvm2fs/lvm2/internal/ondisk"
	"lvm2fs/lvm2/internal/text"
	"lvm2fs/lvm2/metadata"
	"lvm2fs/mapping"
)

// disksOf makes a disk with a copy of the text for each PV that the text names, as far as
// it can be read, and at least one.
func disksOf(src []byte) []Device {
	const few, maxSize = 6, 1 << 60
	uuids, sizes := []string{testpv.UUID("pv")}, []int64{1 << 20}
	if top, err := text.Parse(src); err == nil && len(top.Sections()) == 1 {
		if pvs := top.Sections()[0].Section("physical_volumes"); pvs != nil && len(pvs.Sections()) > 0 {
			uuids, sizes = nil, nil
			for _, pv := range pvs.Sections()[:min(few, len(pvs.Sections()))] {
				id, _ := pv.Str("id")
				sectors, _ := pv.OptUint("dev_size", 2048, maxSize/512)
				uuids, sizes = append(uuids, id), append(sizes, int64(sectors)*512)
			}
		}
	}
	var devices []Device
	for i, uuid := range uuids {
		parsed, err := metadata.ParseUUID(uuid)
		if err != nil {
			continue
		}
		d := testpv.New("pv"+string(rune('0'+i)), string(parsed), 64<<10, string(src))
		devices = append(devices, &testpv.PatternDisk{Label: d.Label, Head: d.Bytes, Bytes: max(sizes[i], 64<<10)})
	}
	return devices
}

// FuzzOpenText opens disks with any metadata text: nothing panics, hangs or takes much
// memory, and what is read is what the metadata says.
func FuzzOpenText(f *testing.F) {
	for _, dir := range []string{filepath.Join(testenv.Root(), "testdata", "images"), testenv.ImagesDir()} {
		backups, _ := filepath.Glob(filepath.Join(dir, "*", "metadata-*.vg"))
		for _, name := range backups {
			src, err := os.ReadFile(name)
			if err != nil {
				f.Fatal(err)
			}
			if len(src) < 16<<10 {
				f.Add(src)
			}
		}
	}
	f.Add([]byte(twoPVs().Text()))
	f.Add([]byte(testpv.VG{Name: "vg", Seqno: 1, PVs: []string{"sda"}, LVs: []testpv.LV{
		{Name: "empty"},
		{Name: "thin", Segments: []string{"start_extent = 0\nextent_count = 1\ntype = \"thin\"\nthin_pool = \"empty\"\ntransaction_id = 0\ndevice_id = 1"}},
	}}.Text()))
	f.Fuzz(func(t *testing.T, src []byte) {
		if len(src) > 32<<10 {
			return
		}
		bounded(t, func() { checkScan(t, Open(disksOf(src), Options{})) })
	})
}

// twins are two disks that hold the same metadata, with what its LVs read as.
type twins struct {
	disks []*testpv.Disk
	truth map[UUID][]byte
}

func makeTwins(t testing.TB) twins {
	t.Helper()
	vg := testpv.VG{
		Name: "vg", Seqno: 5, PVs: []string{"sda", "sdb"},
		LVs: []testpv.LV{
			{Name: "a", Segments: []string{testpv.Linear(0, 2, "pv0", 10), testpv.Linear(2, 1, "pv1", 3)}},
			{Name: "b", Segments: []string{testpv.Striped(0, 4, 8, "pv1", 20, "pv0", 30)}},
			{Name: "c", Segments: []string{testpv.Linear(0, 1, "a", 1), "start_extent = 1\nextent_count = 1\ntype = \"zero\""}},
		},
	}
	tw := twins{vg.Disks(), map[UUID][]byte{}}
	for _, lv := range Open(devices(tw.disks...), Options{}).VGs[0].LVs {
		tw.truth[lv.UUID] = make([]byte, lv.Size())
		if _, err := readAll(lv, tw.truth[lv.UUID]); err != nil {
			t.Fatal(err)
		}
	}
	return tw
}

// devices are the disks, with heads that can be damaged.
func (tw twins) devices() (devs []Device, heads [][]byte) {
	for _, d := range tw.disks {
		head := bytes.Clone(d.Bytes[:16<<10])
		devs, heads = append(devs, &headedDisk{d, head}), append(heads, head)
	}
	return devs, heads
}

// check holds that an LV that is there reads as before, or not at all.
func (tw twins) check(t *testing.T, s *Scan) (read int) {
	t.Helper()
	for _, vg := range s.VGs {
		for _, lv := range vg.LVs {
			got := make([]byte, len(tw.truth[lv.UUID]))
			if _, err := readAll(lv, got); err != nil {
				continue
			}
			read++
			if !bytes.Equal(got, tw.truth[lv.UUID]) {
				t.Errorf("%s reads other bytes than before the damage", lv)
			}
		}
	}
	return read
}

func TestNoFlippedBitOfTheMetadataMakesAnLVReadOtherBytes(t *testing.T) {
	testenv.Long(t)
	tw := makeTwins(t)
	devs, heads := tw.devices()
	read := 0
	for off := range len(heads[0]) {
		bit := byte(1) << (off % 8)
		heads[0][off] ^= bit
		heads[1][off] ^= bit
		read += tw.check(t, Open(devs, Options{}))
		heads[0][off] ^= bit
		heads[1][off] ^= bit
		if t.Failed() {
			t.Fatalf("bit %#02x of byte %d", bit, off)
		}
	}
	// Most of the head is not in use.
	if all := len(heads[0]) * len(tw.truth); read < all/2 || read > all-len(tw.truth)*1000 {
		t.Errorf("%d of %d reads were possible", read, all)
	}
}

// FuzzOpenDamaged damages the metadata of two disks that hold the same. Unless the checksums were mended, an LV that
// is there reads as it did, or not at all.
func FuzzOpenDamaged(f *testing.F) {
	tw := makeTwins(f)
	patch := func(disk byte, off uint16, xor byte) []byte { return []byte{disk, byte(off >> 8), byte(off), xor} }
	for _, mend := range []bool{false, true} {
		f.Add([]byte{}, mend)
		f.Add(bytes.Join([][]byte{patch(0, 512, 1), patch(1, 512+100, 0x80)}, nil), mend)
		f.Add(bytes.Join([][]byte{patch(0, 4096+40, 2), patch(1, 4096+512+30, 1)}, nil), mend)
		f.Add(bytes.Join([][]byte{patch(0, 4096+512+700, 1), patch(1, 4096+512+700, 1)}, nil), mend)
	}
	f.Fuzz(func(t *testing.T, patches []byte, mend bool) {
		devs, heads := tw.devices()
		for ; len(patches) >= 4; patches = patches[4:] {
			head := heads[patches[0]%2]
			head[int(binary.BigEndian.Uint16(patches[1:]))%len(head)] ^= patches[3]
		}
		if mend {
			mendChecksums(heads[0])
			mendChecksums(heads[1])
		}
		bounded(t, func() {
			s := Open(devs, Options{})
			checkScan(t, s)
			if !mend {
				tw.check(t, s)
			}
		})
	})
}

func readAll(lv *LV, p []byte) (int, error) {
	v, err := lv.Open()
	if err != nil {
		return 0, err
	}
	defer v.Close()
	if v.Size() != int64(len(p)) {
		return 0, errors.New("another size")
	}
	return v.ReadAt(p, 0)
}

// headedDisk is a disk with other first bytes.
type headedDisk struct {
	Device
	head []byte
}

func (d *headedDisk) ReadAt(p []byte, off int64) (int, error) {
	n, err := d.Device.ReadAt(p, off)
	if 0 <= off && off < int64(len(d.head)) {
		copy(p[:n], d.head[off:])
	}
	return n, err
}

// mendChecksums makes damage look as if it were meant.
func mendChecksums(head []byte) {
	le := binary.LittleEndian
	label, mda := head[512:1024], head[4096:4096+512]
	le.PutUint32(label[16:], ondisk.CRC(label[20:]))
	off, size := le.Uint64(mda[40:]), le.Uint64(mda[48:])
	if end := uint64(len(head) - 4096); off <= end && size <= end-off {
		le.PutUint32(mda[56:], ondisk.CRC(head[4096+off:4096+off+size]))
	}
	le.PutUint32(mda, ondisk.CRC(mda[4:]))
}

// bounded fails the test if run takes unreasonable time or memory.
func bounded(t *testing.T, run func()) {
	t.Helper()
	const maxTime, maxBytes = 20 * time.Second, 256 << 20
	allocated := func() uint64 {
		sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
		metrics.Read(sample)
		return sample[0].Value.Uint64()
	}
	start, before := time.Now(), allocated()
	run()
	if took := time.Since(start); took > maxTime {
		t.Errorf("took %v", took)
	}
	if n := allocated() - before; n > maxBytes {
		t.Errorf("took %d MiB of memory", n>>20)
	}
}

// checkScan uses all that Open found, and reads from each LV: what Map says, and what
// the metadata says, must be what is read.
func checkScan(t *testing.T, s *Scan) {
	t.Helper()
	for _, vg := range s.VGs {
		askAll(vg)
		for _, pv := range vg.PVs {
			askAll(pv)
		}
		if vg.ExtentSize <= 0 {
			t.Errorf("VG %q has extents of %d bytes", vg.Name, vg.ExtentSize)
		}
		for i, lv := range vg.LVs {
			askAll(lv)
			for _, seg := range lv.Segments {
				askAll(seg)
			}
			if lv.ReadOnlyReason() != nil && !errors.Is(lv.ReadOnlyReason(), ErrReadOnly) {
				t.Errorf("%s: %v", lv, lv.ReadOnlyReason())
			}
			const some = 40
			if i >= some {
				continue
			}
			v, err := lv.Open()
			if err != nil {
				continue
			}
			if v.Size() <= 0 {
				t.Errorf("%s has %d bytes", lv, v.Size())
			}
			checkExtents(t, v)
			checkAgainstSegments(t, v)
			v.Close()
		}
	}
}

// askAll calls all methods of v that report something.
func askAll(v any) {
	methods := reflect.ValueOf(v)
	for i := range methods.NumMethod() {
		if m := methods.Method(i); m.Type().NumIn() == 0 && !strings.HasPrefix(methods.Type().Method(i).Name, "Open") {
			m.Call(nil)
		}
	}
}

// checkExtents walks some of the extents of v and reads a little of each.
func checkExtents(t *testing.T, v *Volume) {
	t.Helper()
	const some, most = 50, 700
	off := int64(0)
	for range some {
		if off >= v.Size() {
			return
		}
		e, err := v.Map(off, v.Size()-off)
		if err != nil {
			if _, readErr := v.ReadAt(make([]byte, 1), off); readErr == nil {
				t.Errorf("%s at %d: map fails with %v, reading does not", v.LV(), off, err)
			}
			return
		}
		if e.Length <= 0 || e.Length > v.Size()-off {
			t.Fatalf("%s at %d: extent of %d bytes", v.LV(), off, e.Length)
		}
		if e.Kind == mapping.Data && (e.Offset < 0 || e.Length > e.Device.Size()-e.Offset) {
			t.Fatalf("%s at %d: %d bytes at %d of %s, which has %d", v.LV(), off, e.Length, e.Offset, e.Device.Name(), e.Device.Size())
		}
		first := e
		first.Length = min(e.Length, most)
		if err := sameBytes(v, off, first); err != nil && (e.Kind != mapping.Computed) {
			t.Errorf("%s: %v", v.LV(), err)
		}
		off += e.Length
	}
}

// checkAgainstSegments reads at the ends and in the middle of each segment and compares with
// what follows from the segments by their definition, where it is known here.
func checkAgainstSegments(t *testing.T, v *Volume) {
	t.Helper()
	lv := v.LV()
	if lv.SnapshotOf() != nil || len(lv.Snapshots()) > 0 {
		return
	}
	var got, want [512]byte
	const some = 20
	for _, seg := range lv.Segments[:min(some, len(lv.Segments))] {
		start, size := int64(seg.StartExtent)*lv.VG.ExtentSize, int64(seg.ExtentCount)*lv.VG.ExtentSize
		for _, off := range []int64{start, start + size/3, start + size/2, start + size - 1} {
			off -= off % 512
			p := place(lv, off, 0)
			if p.unknown {
				continue
			}
			_, err := v.ReadAt(got[:], off)
			switch {
			case p.lost:
				if !errors.Is(err, ErrMissing) {
					t.Errorf("%s at %d is lost, but reads with error %v", lv, off, err)
				}
				continue
			case p.device != nil:
				if _, err := p.device.ReadAt(want[:], p.off); err != nil {
					t.Fatal(err)
				}
			default:
				want = [512]byte{}
			}
			if err != nil || got != want {
				t.Errorf("%s at %d is not as its segments say (%+v): %v", lv, off, p, err)
			}
		}
	}
}

// placed is where a sector of an LV is: on a device, nowhere (zeros), lost or unknown.
type placed struct {
	device        Device
	off           int64
	lost, unknown bool
}

// place follows segments of types striped, error and zero.
// (docs/format/03-mapping-linear-striped-raid.md, section 2)
func place(lv *LV, off int64, depth int) placed {
	extent := uint64(off / lv.VG.ExtentSize)
	for _, seg := range lv.Segments {
		if extent < seg.StartExtent || extent >= seg.StartExtent+seg.ExtentCount {
			continue
		}
		within := off - int64(seg.StartExtent)*lv.VG.ExtentSize
		m, striped := seg.Mapping.(*metadata.Striped)
		switch {
		case seg.Type == "zero":
			return placed{}
		case seg.Type == "error":
			return placed{lost: true}
		case !striped || depth > 50:
			return placed{unknown: true}
		}
		area, at := m.Stripes[0], within
		if n := int64(len(m.Stripes)); n > 1 {
			if m.StripeSize%512 != 0 {
				return placed{unknown: true}
			}
			chunk := within / m.StripeSize
			area, at = m.Stripes[chunk%n], chunk/n*m.StripeSize+within%m.StripeSize
		}
		at += int64(area.Extent) * lv.VG.ExtentSize
		if area.LV != nil {
			return place(lv.VG.Of(area.LV), at, depth+1)
		}
		pv := lv.VG.PVOf(area.PV)
		at += pv.DataStart
		if pv.Device == nil || pv.FlaggedMissing() || at+512 > pv.Device.Size() {
			return placed{lost: true}
		}
		return placed{device: pv.Device, off: at}
	}
	return placed{unknown: true}
}
