package vdisk

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"strings"
	"testing"

	"lvm2fs/mapping"
)

// memory is a device in memory, with bytes that cannot be read.
type memory struct {
	data []byte
	bad  func(off int64) bool
}

var errBad = errors.New("bad sector")

func (m *memory) Name() string { return "image" }
func (m *memory) Size() int64  { return int64(len(m.data)) }

func (m *memory) ReadAt(p []byte, off int64) (int, error) {
	if off > m.Size() {
		return 0, io.EOF
	}
	n := copy(p, m.data[off:])
	for i := 0; m.bad != nil && i < n; i++ {
		if m.bad(off + int64(i)) {
			return i, errBad
		}
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

type edit struct {
	want string
	do   func(b []byte)
}

func be32(off int, v uint32) func([]byte) {
	return func(b []byte) { binary.BigEndian.PutUint32(b[off:], v) }
}

func be64(off int, v uint64) func([]byte) {
	return func(b []byte) { binary.BigEndian.PutUint64(b[off:], v) }
}

func le32(off int, v uint32) func([]byte) {
	return func(b []byte) { binary.LittleEndian.PutUint32(b[off:], v) }
}

func le64(off int, v uint64) func([]byte) {
	return func(b []byte) { binary.LittleEndian.PutUint64(b[off:], v) }
}

// samples are a small image of each format, with data from byte 0 on and zeros behind. They
// are made here, so that these tests and the fuzzers need no QEMU.
const (
	sampleSize = 4 << 20
	sampleData = 4096 // bytes, all 0x55
)

func sampleQcow2() []byte {
	const cluster = 1 << 16
	b := make([]byte, 4*cluster)
	copy(b, "QFI\xfb")
	be32(qcowVersion, 3)(b)
	be32(qcowClusterBits, 16)(b)
	be64(qcowSize, sampleSize)(b)
	be32(qcowL1Length, 1)(b)
	be64(qcowL1, cluster)(b)
	be32(qcowHeaderLength, qcowHeader3)(b)
	be64(cluster, qcowCopied|2*cluster)(b)
	be64(2*cluster, qcowCopied|3*cluster)(b)
	copy(b[3*cluster:], sampleBytes())
	return b
}

func sampleBytes() []byte { return bytes.Repeat([]byte{0x55}, sampleData) }

func sampleVDI() []byte {
	const data = 4096
	b := make([]byte, data+1<<20)
	copy(b[vdiSignatureAt:], vdiSignature)
	le32(vdiVersion, 1<<16|1)(b)
	le32(vdiType, vdiDynamic)(b)
	le32(vdiTable, 512)(b)
	le32(vdiData, data)(b)
	le32(vdiSectorSize, 512)(b)
	le64(vdiSize, sampleSize)(b)
	le32(vdiBlockSize, 1<<20)(b)
	le32(vdiBlocks, 4)(b)
	for i, block := range []uint32{0, vdiUnused, vdiDiscarded, vdiUnused} {
		le32(512+4*i, block)(b)
	}
	copy(b[data:], sampleBytes())
	return b
}

func sampleVHD() []byte {
	const block = 2 << 20
	b := make([]byte, 4096+block)
	be64(vhdHeaderPlace, 512)(b)
	be64(vhdSize, sampleSize)(b)
	be32(vhdType, vhdDynamic)(b)
	copy(b[512:], vhdHeaderMagic)
	be64(512+vhdTable, 2048)(b)
	be32(512+vhdEntries, 2)(b)
	be32(512+vhdBlockSize, block)(b)
	be32(2048, 3584/512)(b)
	be32(2052, vhdUnused)(b)
	b[3584] = 0xff // the first eight sectors
	copy(b[4096:], sampleBytes())
	return append(b, resumVHD(b)[:512]...)
}

// resumVHD makes the checksums of a dynamic VHD right.
func resumVHD(b []byte) []byte {
	copy(b, vhdMagic)
	for _, s := range []struct{ at, length, place int }{{0, 512, vhdChecksum}, {512, 1024, vhdHeaderChecksum}} {
		sumVHD(b[s.at:s.at+s.length], s.place)
	}
	return b
}

func sumVHD(part []byte, place int) {
	sum := uint32(0)
	clear(part[place:][:4])
	for _, c := range part {
		sum += uint32(c)
	}
	binary.BigEndian.PutUint32(part[place:], ^sum)
}

func sampleVHDX() []byte {
	const mib = 1 << 20
	b := make([]byte, 5*mib)
	copy(b, "vhdxfile")
	for i, off := range vhdxHeaderPlaces {
		copy(b[off:], vhdxHeaderMark)
		le32(int(off)+vhdxLogLength, mib)(b)
		le64(int(off)+vhdxLogPlace, 4*mib)(b)
		le64(int(off)+vhdxSequence, uint64(i))(b)
		b[off+vhdxVersion] = 1
	}
	for _, off := range vhdxRegionPlaces {
		r := b[off:]
		copy(r, vhdxRegionsMark)
		le32(vhdxCount, 2)(r)
		copy(r[vhdxRegion:], vhdxBATRegion)
		le64(vhdxRegion+16, 2*mib)(r)
		le32(vhdxRegion+24, mib)(r)
		copy(r[vhdxRegion+vhdxRegionSize:], vhdxMetadataRegion)
		le64(vhdxRegion+vhdxRegionSize+16, mib)(r)
		le32(vhdxRegion+vhdxRegionSize+24, mib)(r)
	}
	m := b[mib:]
	copy(m, vhdxMetadataMark)
	m[vhdxMetadataCount] = 5
	place := 4096
	for i, item := range []struct {
		id    guid
		value []byte
	}{
		{vhdxFileParameters, binary.LittleEndian.AppendUint64(nil, mib)},
		{vhdxDiskSize, binary.LittleEndian.AppendUint64(nil, sampleSize)},
		{vhdxDiskID, make([]byte, 16)},
		{vhdxLogicalSector, binary.LittleEndian.AppendUint32(nil, 512)},
		{vhdxPhysicalSector, binary.LittleEndian.AppendUint32(nil, 4096)},
	} {
		e := m[vhdxItem+i*vhdxItemSize:]
		copy(e, item.id)
		le32(16, uint32(place))(e)
		le32(20, uint32(len(item.value)))(e)
		copy(m[place:], item.value)
		place += len(item.value)
	}
	le64(2*mib, 3*mib|vhdxPresent)(b)
	copy(b[3*mib:], sampleBytes())
	return resumVHDX(b)
}

func resumVHDX(b []byte) []byte {
	for _, off := range append(append([]int64{}, vhdxHeaderPlaces...), vhdxRegionPlaces...) {
		size := int64(vhdxHeaderSize)
		if off >= vhdxRegionPlaces[0] {
			size = vhdxRegionsSize
		}
		part := b[off : off+size]
		clear(part[vhdxSum:][:4])
		binary.LittleEndian.PutUint32(part[vhdxSum:], crc32.Checksum(part, crc32.MakeTable(crc32.Castagnoli)))
	}
	return b
}

func sampleVMDK() []byte {
	b := make([]byte, 256<<10)
	copy(b, "KDMV")
	le32(sparseVersion, 1)(b)
	le32(sparseFlags, sparseChecksText|sparseZeroGrains)(b)
	le64(sparseCapacity, sampleSize/512)(b)
	le64(sparseGrain, 128)(b)
	le64(sparseDescriptor, 1)(b)
	le64(sparseDescriptorN, 20)(b)
	le32(sparseEntries, 512)(b)
	le64(sparseDirectory, 32)(b)
	copy(b[sparseNewlines:], sparseTheNewlines)
	copy(b[512:], fmt.Sprintf("# Disk DescriptorFile\nversion=1\nCID=12345678\nparentCID=ffffffff\ncreateType=\"monolithicSparse\"\nRW %d SPARSE \"image.vmdk\"\n", sampleSize/512))
	le32(32*512, 64)(b)
	le32(64*512, 128)(b)
	le32(64*512+4, 1)(b)
	copy(b[128*512:], sampleBytes())
	return b
}

func samples() map[string][]byte {
	return map[string][]byte{"qcow2": sampleQcow2(), "VDI": sampleVDI(), "VHD": sampleVHD(), "VHDX": sampleVHDX(), "VMDK": sampleVMDK()}
}

func TestSamplesAreRead(t *testing.T) {
	for name, b := range samples() {
		m, err := Open(&memory{data: b}, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if m.Info().Format != name {
			t.Error(m.Info())
		}
		checkImage(t, m, append(sampleBytes(), make([]byte, sampleSize-sampleData)...))
	}
}

// checkEdits makes each change to a copy of an image, and wants an error from opening it or
// from reading its beginning.
func checkEdits(t *testing.T, image []byte, resum func([]byte) []byte, edits []edit) {
	t.Helper()
	for _, e := range edits {
		b := bytes.Clone(image)
		e.do(b)
		if resum != nil {
			resum(b)
		}
		m, err := Open(&memory{data: b}, Options{})
		if err == nil {
			_, err = m.ReadAt(make([]byte, sampleData), 0)
		}
		if err == nil || !strings.Contains(err.Error(), e.want) || !strings.HasPrefix(err.Error(), "image") {
			t.Errorf("%s: %v", e.want, err)
		}
		if !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrUnsupported) && !errors.Is(err, ErrOutside) && !errors.Is(err, mapping.ErrMissing) && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%s: of no kind: %v", e.want, err)
		}
	}
}

func TestHostileQcow2(t *testing.T) {
	const cluster = 1 << 16
	checkEdits(t, sampleQcow2(), nil, []edit{
		{"version 4", be32(qcowVersion, 4)},
		{"version 1", be32(qcowVersion, 1)},
		{"clusters of 2^63", be32(qcowClusterBits, 63)},
		{"clusters of 2^8", be32(qcowClusterBits, 8)},
		{"a disk of 18446744073709551615", be64(qcowSize, 1<<64-1)},
		{"a disk of 0 bytes", be64(qcowSize, 0)},
		{"an L1 table of 1 entries", be64(qcowSize, 1<<50)},
		{"an L1 table of 4294967295", be32(qcowL1Length, 1<<32-1)},
		{"an L1 table at byte 65537", be64(qcowL1, cluster+1)},
		{"an L1 table at byte 18446744073709486080", be64(qcowL1, 1<<64-cluster)},
		{"beyond the end", be64(qcowL1, 1<<40)},
		{"a header of 4294967288", be32(qcowHeaderLength, 1<<32-8)},
		{"encrypted", be32(qcowEncryption, 2)},
		{"corrupt", be64(qcowIncompatible, qcowCorrupt)},
		{"features 0x20", be64(qcowIncompatible, 1<<5)},
		{"compression type 0", be64(qcowIncompatible, qcowCompressed)},
		{"outside", be64(qcowIncompatible, qcowDataFile)},
		{"name of the backing file", be64(qcowBackingName, 1<<63)},
		{"name of the backing file", func(b []byte) { be64(qcowBackingName, 200)(b); be32(qcowBackingLength, 1<<31)(b) }},
		{"outside", func(b []byte) {
			be64(qcowBackingName, 200)(b)
			be32(qcowBackingLength, 11)(b)
			copy(b[200:], "/etc/passwd")
		}},
		{"header extension of 4294967295", func(b []byte) { be32(qcowHeader3, 1)(b); be32(qcowHeader3+4, 1<<32-1)(b) }},
		{"an L2 table at byte 512", be64(cluster, 512)},
		{"beyond the end", be64(cluster, 1<<55)},
		{"a cluster at byte 512", be64(2*cluster, 512)},
		{"its file ends", be64(2*cluster, 1<<55)},
		{"decompressing", be64(2*cluster, qcowIsCompressed|4096)},
		{"its file ends", be64(2*cluster, qcowIsCompressed|1<<40)},
	})
}

func TestHostileVDI(t *testing.T) {
	checkEdits(t, sampleVDI(), nil, []edit{
		{"version 2.0", le32(vdiVersion, 2<<16)},
		{"type 4", le32(vdiType, 4)},
		{"sectors of 4096", le32(vdiSectorSize, 4096)},
		{"a disk of 0 bytes", le64(vdiSize, 0)},
		{"a disk of 18446744073709551615", le64(vdiSize, 1<<64-1)},
		{"4 blocks", le64(vdiSize, 1<<40)},
		{"and 0 bytes", le32(vdiBlockSize, 0)},
		{"and 3145728 bytes", le32(vdiBlockSize, 3<<20)},
		{"blocks of 4294967295", le32(vdiBlockExtra, 1<<32-1)},
		{"beyond the end", le32(vdiTable, 1<<32-1)},
		{"its file ends", le32(vdiData, 1<<32-1)},
		{"its file ends", le32(512, 0xfffffffd)},
	})
}

func TestHostileVHD(t *testing.T) {
	b := sampleVHD()
	b = b[:len(b)-512] // so that the copy at the start counts
	checkEdits(t, b, resumVHD, []edit{
		{"does not name a file", be32(vhdType, vhdDiffering)},
		{"type 9", be32(vhdType, 9)},
		{"a disk of 18446744073709551615", be64(vhdSize, 1<<64-1)},
		{"2 blocks", be64(vhdSize, 1<<40)},
		{"blocks of 0", be32(512+vhdBlockSize, 0)},
		{"blocks of 2147483648", be32(512+vhdBlockSize, 1<<31)},
		{"header is at byte", be64(vhdHeaderPlace, 1<<63)},
		{"unexpected EOF", be64(vhdHeaderPlace, 1<<40)},
		{"no header", be64(vhdHeaderPlace, 1024)},
		{"beyond the end", be64(512+vhdTable, 1<<63)},
		{"beyond the end", be32(2048, 0xfffffffe)},
		{"was never written", func(b []byte) { b[3584] = 0x7f }},
	})
	for want, off := range map[string]int{"the checksums of the footer": vhdSize, "no header with a good checksum": 512 + vhdEntries} {
		broken := bytes.Clone(b)
		broken[off] ^= 1
		if _, err := Open(&memory{data: broken}, Options{}); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), want) {
			t.Error(want, err)
		}
	}
	whole := sampleVHD()
	for _, at := range []int{0, len(whole) - 512} {
		broken := bytes.Clone(whole)
		broken[at+vhdSize] ^= 1
		m, err := Open(&memory{data: broken}, Options{})
		if err != nil || m.Size() != sampleSize {
			t.Errorf("one of two footers damaged, at %d: %v", at, err)
		}
	}
}

func TestHostileVHDX(t *testing.T) {
	const mib = 1 << 20
	header, regions := int(vhdxHeaderPlaces[1]), int(vhdxRegionPlaces[0])
	checkEdits(t, sampleVHDX(), resumVHDX, []edit{
		{"a log of 0 bytes", func(b []byte) { le32(header+vhdxLogGUID, 1)(b); le32(header+vhdxLogLength, 0)(b) }},
		{"a log of version 1", func(b []byte) { b[header+vhdxLogGUID], b[header+vhdxLogVersion] = 1, 1 }},
		{"a log of 4294967295 bytes", func(b []byte) { b[header+vhdxLogGUID] = 1; le32(header+vhdxLogLength, 1<<32-1)(b) }},
		{"no entry that is whole", func(b []byte) {
			b[header+vhdxLogGUID] = 1
			le32(header+vhdxLogLength, mib)(b)
			le64(header+vhdxLogPlace, mib)(b)
		}},
		{"version 7", func(b []byte) { b[header+vhdxVersion] = 7 }},
		{"no header", func(b []byte) { clear(b[vhdxHeaderPlaces[0]:][:4]); clear(b[header:][:4]) }},
		{"no region table", func(b []byte) { clear(b[vhdxRegionPlaces[0]:][:4]); clear(b[vhdxRegionPlaces[1]:][:4]) }},
		{"4294967295 regions", le32(regions+vhdxCount, 1<<32-1)},
		{"no region for the metadata", le32(regions+vhdxCount, 1)},
		{"no region for the BAT", le32(regions+vhdxRegion, 0)},
		{"a required region", func(b []byte) { le32(regions+vhdxRegion, 0)(b); le32(regions+vhdxRegion+28, 1)(b) }},
		{"at byte 9223372036854775808", le64(regions+vhdxRegion+16, 1<<63)},
		{"beyond the end", le64(regions+vhdxRegion+16, 1<<40)},
		{"a BAT of 8 bytes", le32(regions+vhdxRegion+24, 8)},
		{"no metadata table", func(b []byte) { b[mib] = 'M' }},
		{"no metadata table", func(b []byte) { b[mib+vhdxMetadataCount+1] = 0xff }},
		{"no item", func(b []byte) { b[mib+vhdxMetadataCount] = 4 }},
		{"a required item", func(b []byte) { b[mib+vhdxItem] ^= 1; le32(mib+vhdxItem+24, vhdxItemRequired)(b) }},
		{"4294967295 of 1048576", le32(mib+vhdxItem+16, 1<<32-1)},
		{"names it in 0 bytes", le32(mib+4096+4, vhdxHasParent)},
		{"blocks of 0", le32(mib+4096, 0)},
		{"a disk of 18446744073709551615", le64(mib+4096+8, 1<<64-1)},
		{"sectors of 520", le32(mib+4096+32, 520)},
		{"a block in state 5", le64(2*mib, 3*mib|5)},
		{"a block in state 7", le64(2*mib, 3*mib|7)},
		{"its file ends", le64(2*mib, 1<<50|vhdxPresent)},
	})
	for want, off := range map[string]int64{"no header": vhdxHeaderPlaces[0], "no region table": vhdxRegionPlaces[0]} {
		b := sampleVHDX()
		b[off+100]++
		if m, err := Open(&memory{data: b}, Options{}); err != nil || m.Size() != sampleSize {
			t.Errorf("one of two damaged: %v", err)
		}
		second := map[int64]int64{vhdxHeaderPlaces[0]: vhdxHeaderPlaces[1], vhdxRegionPlaces[0]: vhdxRegionPlaces[1]}[off]
		b[second+100]++
		if _, err := Open(&memory{data: b}, Options{}); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), want) {
			t.Error(want, err)
		}
	}
}

func TestHostileVMDK(t *testing.T) {
	text := func(s string) func([]byte) {
		return func(b []byte) { clear(b[512:][:20*512]); copy(b[512:], s) }
	}
	checkEdits(t, sampleVMDK(), nil, []edit{
		{"version 9", le32(sparseVersion, 9)},
		{"line ends", func(b []byte) { b[sparseNewlines+2] = '\n' }},
		{"grains of 0", le64(sparseGrain, 0)},
		{"grains of 100", le64(sparseGrain, 100)},
		{"grains of 9223372036854775808", le64(sparseGrain, 1<<63)},
		{"tables of 0", le32(sparseEntries, 0)},
		{"a disk of 0 sectors", le64(sparseCapacity, 0)},
		{"a disk of 18446744073709551615", le64(sparseCapacity, 1<<64-1)},
		{"directory at sector 9223372036854775807", le64(sparseDirectory, 1<<63-1)},
		{"beyond the end", le64(sparseDirectory, 1<<40)},
		{"no footer", le64(sparseDirectory, sparseAtEnd)},
		{"compression 1 with", func(b []byte) { b[sparseCompression] = 1 }},
		{"compression 0 with", le32(sparseFlags, sparseIsCompressed)},
		{"a descriptor of 20 sectors at", le64(sparseDescriptor, 1<<63)},
		{"a descriptor of 9223372036854775808", le64(sparseDescriptorN, 1<<63)},
		{"without the descriptor", le64(sparseDescriptor, 0)},
		{"without the descriptor", text("")},
		{"without extents", text("# Disk DescriptorFile\n")},
		{"2 extents", text("RW 1 SPARSE \"a\"\nRW 1 SPARSE \"b\"\n")},
		{"value out of range", text("RW -1 SPARSE \"a\"\n")},
		{"value out of range", text("RW 9223372036854775807 SPARSE \"a\"\n")},
		{"invalid syntax", text("RW 1 SPARSE \"a\n")},
		{"invalid syntax", text("RW 1 SPARSE\n")},
		{"outside", text("RW 1 SPARSE \"a\"\nparentCID=1\nparentFileNameHint=\"/etc/passwd\"\n")},
		{"beyond the end", le32(32*512, 1<<32-1)},
		{"its file ends", le32(64*512, 1<<32-1)},
		{"says that it is sector", func(b []byte) { le32(sparseFlags, sparseIsCompressed)(b); b[sparseCompression] = 1 }},
		{"zlib: invalid header", func(b []byte) {
			le32(sparseFlags, sparseIsCompressed)(b)
			b[sparseCompression] = 1
			clear(b[128*512:])
			b[128*512+8] = 100
		}},
	})
}

func TestABadSectorFailsWhatTouchesItAndNothingElse(t *testing.T) {
	for name, b := range samples() {
		d := &memory{data: b}
		m, err := Open(d, Options{})
		if err != nil {
			t.Fatal(err)
		}
		data := bytes.Index(b, sampleBytes())
		d.bad = func(off int64) bool { return off == int64(data)+1000 }
		p := make([]byte, sampleSize)
		if n, err := m.ReadAt(p, 0); n != 1000 || !errors.Is(err, errBad) {
			t.Errorf("%s: %d, %v", name, n, err)
		}
		if n, err := m.ReadAt(p[1001:], 1001); n != sampleSize-1001 || err != nil {
			t.Errorf("%s: %d, %v", name, n, err)
		}
	}
}

// stacked is a device that lies on another, all of it computed.
type stacked struct{ *memory }

func (s stacked) Map(off, max int64) (mapping.Extent, error) {
	return mapping.Extent{Kind: mapping.Computed, Length: min(max, s.Size()-off)}, nil
}

func TestExtentsEndBeneathTheDeviceOfTheImage(t *testing.T) {
	for _, b := range samples() {
		disk := &memory{data: append(make([]byte, 777), b...)}
		m, err := Open(mapping.Section(disk, 777, int64(len(b)), "part"), Options{})
		if err != nil {
			t.Fatal(err)
		}
		checkImage(t, m, append(sampleBytes(), make([]byte, sampleSize-sampleData)...))
		if e, err := m.Map(10, 10); err != nil || e.Device != mapping.Device(disk) {
			t.Error(e, err)
		}
		if m, err = Open(stacked{&memory{data: b}}, Options{}); err != nil {
			t.Fatal(err)
		}
		checkImage(t, m, append(sampleBytes(), make([]byte, sampleSize-sampleData)...))
		if e, err := m.Map(10, 10); err != nil || e.Kind != mapping.Computed {
			t.Error(e, err)
		}
	}
}

func TestABadSectorInATableIsNoHole(t *testing.T) {
	tables := map[string]int64{"qcow2": 2 << 16, "VDI": 512, "VHD": 2048, "VHDX": 2 << 20, "VMDK": 64 * 512}
	for name, b := range samples() {
		d := &memory{data: b}
		m, err := Open(d, Options{})
		if err != nil {
			t.Fatal(err)
		}
		// The page may have been read when it was opened.
		switch l := m.(*image).layout.(type) {
		case *qcow2:
			l.tables = newTable(d, l.tables.order)
		case *vdi:
			l.tables = newTable(d, l.tables.order)
		case *vhd:
			l.tables = newTable(d, l.tables.order)
		case *vhdx:
			l.tables = newTable(d, l.tables.order)
		case *sparse:
			l.tables = newTable(d, l.tables.order)
		}
		d.bad = func(off int64) bool { return off == tables[name] }
		if n, err := m.ReadAt(make([]byte, 512), 0); n != 0 || !errors.Is(err, errBad) {
			t.Errorf("%s: %d, %v", name, n, err)
		}
		d.bad = nil
		if n, err := m.ReadAt(make([]byte, 512), 0); n != 512 || err != nil {
			t.Errorf("%s: the error was kept: %d, %v", name, n, err)
		}
	}
}

// fuzz changes an image in two places, and reads at some places of what opens all the same.
func fuzz(f *testing.F, image []byte, resum func([]byte) []byte, places ...int) {
	fuzzWith(f, Options{}, image, resum, places...)
}

func fuzzWith(f *testing.F, opts Options, image []byte, resum func([]byte) []byte, places ...int) {
	for i, at := range places {
		next := places[(i+1)%len(places)]
		f.Add(uint32(at), bytes.Clone(image[at:][:8]), uint32(next), bytes.Clone(image[next:][:4]))
	}
	f.Fuzz(func(t *testing.T, at uint32, change []byte, also uint32, change2 []byte) {
		b := bytes.Clone(image)
		copy(b[int(at)%len(b):], change)
		copy(b[int(also)%len(b):], change2)
		if resum != nil {
			resum(b)
		}
		m, err := Open(&memory{data: b}, opts)
		if err != nil {
			return
		}
		p := make([]byte, 70_000)
		for _, off := range []int64{0, m.Size() / 2, max(m.Size()-1000, 0)} {
			n, err := m.ReadAt(p, off)
			if n < len(p) && err == nil {
				t.Errorf("%d of %d bytes without an error", n, len(p))
			}
			if e, err := m.Map(off, m.Size()-off); err == nil && (e.Length < 1 || e.Length > m.Size()-off) {
				t.Errorf("%+v at %d of %d", e, off, m.Size())
			}
		}
	})
}

func FuzzQcow2(f *testing.F) {
	b := sampleQcow2()
	// A snapshot and a compressed cluster, so that these are reached too.
	be32(qcowSnapshotCount, 1)(b)
	be64(qcowSnapshots, 4096)(b)
	be64(2<<16+8, qcowIsCompressed|5000)(b)
	fuzz(f, b, nil, 0, qcowBackingName, qcowClusterBits, qcowSize, qcowL1Length, qcowL1, qcowSnapshots, qcowIncompatible, qcowHeaderLength, qcowHeader3, 1<<16, 2<<16, 2<<16+8, 4096, 5000)
}

func FuzzVDI(f *testing.F) {
	fuzz(f, sampleVDI(), nil, vdiVersion, vdiType, vdiTable, vdiSize, vdiBlockSize, vdiBlocks, 512)
}

func FuzzVHD(f *testing.F) {
	b := sampleVHD()
	fuzz(f, b[:len(b)-512], resumVHD, vhdHeaderPlace, vhdSize, vhdType, 512+vhdTable, 512+vhdEntries, 512+vhdBlockSize, 2048, 3584)
}

func FuzzVHDX(f *testing.F) {
	places := []int{int(vhdxHeaderPlaces[1]) + vhdxSequence, int(vhdxHeaderPlaces[1]) + vhdxLogGUID, int(vhdxRegionPlaces[0]) + vhdxCount}
	for i := range 4 {
		places = append(places, int(vhdxRegionPlaces[0])+vhdxRegion+8*i, 1<<20+vhdxItem+8*i, 1<<20+4096+8*i)
	}
	fuzz(f, sampleVHDX(), resumVHDX, append(places, 2<<20)...)
}

func FuzzVMDK(f *testing.F) {
	fuzz(f, sampleVMDK(), nil, sparseVersion, sparseCapacity, sparseGrain, sparseDescriptor, sparseEntries, sparseDirectory, sparseCompression, 512, 32*512, 64*512, 128*512)
}

func FuzzDescriptor(f *testing.F) {
	f.Add([]byte("# Disk DescriptorFile\nCID=1\nparentCID=2\nparentFileNameHint=\"x\"\nRW 63 ZERO\nRW 10 FLAT \"a b\" 0\nRDONLY 5 SPARSE \"c\"\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		d, err := parseDescriptor(text)
		if err != nil {
			return
		}
		for _, e := range d.extents {
			if e.sectors < 1 || e.offset < 0 || e.file == "" && e.kind != "ZERO" {
				t.Errorf("%+v", e)
			}
		}
	})
}

func TestAnImageThatWasCutShortNamesItsFileOnce(t *testing.T) {
	for name, b := range samples() {
		if name == "VHD" {
			continue // it has no footer then
		}
		cut := &memory{data: b}
		m, err := Open(cut, Options{})
		if err != nil {
			t.Fatal(err)
		}
		cut.data = b[:1000]
		_, err = m.ReadAt(make([]byte, 512), 0)
		if err == nil || strings.Count(err.Error(), "image ["+name+"]") != 1 {
			t.Errorf("%s: reading: %v", name, err)
		}
		// To be recognised, the disk in the image is read.
		if _, err := Is(m); err == nil || strings.Count(err.Error(), "image ["+name+"]") != 1 {
			t.Errorf("%s: %v", name, err)
		}
	}
}
