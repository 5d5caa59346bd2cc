package vdisk

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"

	"lvm2fs/mapping"
)

// VHDX. Integers are little-endian. Two headers and two region tables at fixed places, each
// with a checksum; the regions are the metadata, and a table (BAT) of one u64 for each block
// of the disk, with one for a bitmap of sectors after each chunk of them, which only a differencing disk has:
//
//	bits 0-2 state | bits 20-63 place in the file, in MiB
const (
	vhdxSum        = 4 // u32, of headers and region tables
	vhdxHeaderSize = 4096
	vhdxHeaderMark = "head"
	vhdxSequence   = 8  // u64
	vhdxDataWrite  = 32 // 16, changes when what the disk holds does
	vhdxLogGUID    = 48 // 16
	vhdxVersion    = 66 // u16

	vhdxRegionsSize = 64 << 10
	vhdxRegionsMark = "regi"
	vhdxCount       = 8 // u32
	vhdxMaxRegions  = 2047
	vhdxRegion      = 16 // the first of them
	vhdxRegionSize  = 32 // GUID, u64 place, u32 length, u32 flags

	vhdxMetadataMark  = "metadata"
	vhdxMetadataCount = 10 // u16
	vhdxMaxItems      = 1023
	vhdxItem          = 32 // the first of them
	vhdxItemSize      = 32 // GUID, u32 place in the region, u32 length, u32 flags
	vhdxRequired      = 1  // bit of a region's flags
	vhdxItemRequired  = 4  // bit of an item's flags

	vhdxMaxBlock  = 256 << 20
	vhdxHasParent = 2
)

var (
	vhdxHeaderPlaces = []int64{64 << 10, 128 << 10}
	vhdxRegionPlaces = []int64{192 << 10, 256 << 10}

	// GUIDs, as they are on disk.
	vhdxBATRegion      = guid("\x66\x77\xc2\x2d\x23\xf6\x00\x42\x9d\x64\x11\x5e\x9b\xfd\x4a\x08")
	vhdxMetadataRegion = guid("\x06\xa2\x7c\x8b\x90\x47\x9a\x4b\xb8\xfe\x57\x5f\x05\x0f\x88\x6e")
	vhdxFileParameters = guid("\x37\x67\xa1\xca\x36\xfa\x43\x4d\xb3\xb6\x33\xf0\xaa\x44\xe7\x6b")
	vhdxDiskSize       = guid("\x24\x42\xa5\x2f\x1b\xcd\x76\x48\xb2\x11\x5d\xbe\xd8\x3b\xf4\xb8")
	vhdxDiskID         = guid("\xab\x12\xca\xbe\xe6\xb2\x23\x45\x93\xef\xc3\x09\xe0\x00\xc7\x46")
	vhdxLogicalSector  = guid("\x1d\xbf\x41\x81\x6f\xa9\x09\x47\xba\x47\xf2\x33\xa8\xfa\xab\x5f")
	vhdxPhysicalSector = guid("\xc7\x48\xa3\xcd\x5d\x44\x71\x44\x9c\xc9\xe9\x88\x52\x51\xc5\x56")
	vhdxParentLocator  = guid("\x2d\x5f\xd3\xa8\x0b\xb3\x4d\x45\xab\xf7\xd3\xd8\x48\x34\xab\x0c")
)

// States of a block.
const (
	vhdxNotPresent = 0
	vhdxUndefined  = 1
	vhdxZero       = 2
	vhdxUnmapped   = 3
	vhdxPresent    = 6
	vhdxPartly     = 7 // the bitmap tells of which sectors
)

type guid string

type vhdx struct {
	tables  *table
	log     *replayed // nil if there is nothing in it
	file    mapping.Device
	bytes   int64
	sectors int64 // bytes, of one
	block   int64 // bytes
	chunk   int64 // blocks
	bat     int64 // bytes from the start of the file
	batSize int64
	differs bool // from the disk beneath
	beneath mapping.Volume

	header  []byte // the newer one; its checksum may be zeros
	regions map[guid]region
	known   [][]byte // GUIDs of the states of the file that are ours
	ring    vhdxRing
}

func openVHDX(o *opening) (layout, error) {
	v := &vhdx{file: o.dev}
	items, err := v.load()
	if err != nil {
		return nil, err
	}
	v.known = [][]byte{v.fileWrite()}
	o.based = !v.differs
	if v.differs {
		v.beneath, err = o.vhdxParent(items[vhdxParentLocator], v.sectors)
	}
	return v, err
}

// load reads all but the BAT, and returns the metadata.
func (v *vhdx) load() (map[guid][]byte, error) {
	header, _, err := vhdxCurrentHeader(v.file)
	if err != nil {
		return nil, err
	}
	v.header = header
	dev := v.file
	if [16]byte(header[vhdxLogGUID:]) != [16]byte{} {
		if v.log, err = replayVHDX(dev, header); err != nil {
			return nil, err
		}
		dev = v.log
	}
	if v.regions, err = vhdxRegions(dev); err != nil {
		return nil, err
	}
	v.tables = newTable(dev, binary.LittleEndian)
	bat, ok := v.regions[vhdxBATRegion]
	if !ok {
		return nil, damaged("no region for the BAT")
	}
	v.bat, v.batSize = bat.place, bat.length
	metadata, ok := v.regions[vhdxMetadataRegion]
	if !ok {
		return nil, damaged("no region for the metadata")
	}
	return v.readMetadata(metadata)
}

// checksummed reads a structure that begins with a mark and has a CRC-32C; nil if it has not.
func checksummed(dev mapping.Device, off, size int64, mark string) ([]byte, error) {
	if off > dev.Size()-size {
		return nil, nil
	}
	b := make([]byte, size)
	if _, err := mapping.ReadFull(dev, b, off); err != nil {
		return nil, err
	}
	want := binary.LittleEndian.Uint32(b[vhdxSum:])
	clear(b[vhdxSum:][:4])
	if string(b[:len(mark)]) != mark || crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)) != want {
		return nil, nil
	}
	return b, nil
}

// vhdxCurrentHeader is the newer of the headers, but for its checksum, and which of them that is.
func vhdxCurrentHeader(dev mapping.Device) (newest []byte, which int, err error) {
	for i, off := range vhdxHeaderPlaces {
		b, err := checksummed(dev, off, vhdxHeaderSize, vhdxHeaderMark)
		if err != nil {
			return nil, 0, err
		}
		if b != nil && (newest == nil || binary.LittleEndian.Uint64(b[vhdxSequence:]) > binary.LittleEndian.Uint64(newest[vhdxSequence:])) {
			newest, which = b, i
		}
	}
	switch {
	case newest == nil:
		return nil, 0, damaged("no header with a good checksum")
	case binary.LittleEndian.Uint16(newest[vhdxVersion:]) != 1:
		return nil, 0, unsupported("version %d", binary.LittleEndian.Uint16(newest[vhdxVersion:]))
	}
	return newest, which, nil
}

type region struct{ place, length int64 }

func vhdxRegions(dev mapping.Device) (map[guid]region, error) {
	var b []byte
	var err error
	for _, off := range vhdxRegionPlaces {
		if b == nil && err == nil {
			b, err = checksummed(dev, off, vhdxRegionsSize, vhdxRegionsMark)
		}
	}
	if err != nil {
		return nil, err
	}
	if b == nil {
		return nil, damaged("no region table with a good checksum")
	}
	count := binary.LittleEndian.Uint32(b[vhdxCount:])
	if count > vhdxMaxRegions {
		return nil, damaged("%d regions", count)
	}
	regions := map[guid]region{}
	for i := range int(count) {
		e := b[vhdxRegion+i*vhdxRegionSize:][:vhdxRegionSize]
		id, place := guid(e[:16]), binary.LittleEndian.Uint64(e[16:])
		if known := id == vhdxBATRegion || id == vhdxMetadataRegion; !known && e[28]&vhdxRequired != 0 {
			return nil, unsupported("a required region %x", id)
		}
		if _, twice := regions[id]; twice || place > math.MaxInt64/2 {
			return nil, damaged("region %x at byte %d", id, place)
		}
		regions[id] = region{int64(place), int64(binary.LittleEndian.Uint32(e[24:]))}
	}
	return regions, nil
}

// readMetadata takes over the items that every image has, and returns all that are known.
func (v *vhdx) readMetadata(r region) (map[guid][]byte, error) {
	head, err := v.tables.at(r.place, vhdxItem)
	if err != nil {
		return nil, err
	}
	count := binary.LittleEndian.Uint16(head[vhdxMetadataCount:])
	if string(head[:8]) != vhdxMetadataMark || count > vhdxMaxItems {
		return nil, damaged("no metadata table at byte %d", r.place)
	}
	items := map[guid][]byte{}
	for i := range int64(count) {
		e, err := v.tables.at(r.place+vhdxItem+i*vhdxItemSize, vhdxItemSize)
		if err != nil {
			return nil, err
		}
		id, place, length := guid(e[:16]), int64(binary.LittleEndian.Uint32(e[16:])), int64(binary.LittleEndian.Uint32(e[20:]))
		want, known := vhdxItemLengths[id]
		if !known {
			if e[24]&vhdxItemRequired != 0 {
				return nil, unsupported("a required item %x in its metadata", id)
			}
			continue
		}
		if length != want && id != vhdxParentLocator || length > want || place > r.length-length {
			return nil, damaged("item %x of its metadata: %d bytes at byte %d of %d", id, length, place, r.length)
		}
		if items[id] != nil {
			return nil, damaged("item %x of its metadata twice", id)
		}
		items[id] = make([]byte, length)
		if _, err := mapping.ReadFull(v.tables.dev, items[id], r.place+place); err != nil {
			return nil, fmt.Errorf("its metadata at byte %d: %w", r.place+place, err)
		}
	}
	for id := range vhdxItemLengths {
		if items[id] == nil && id != vhdxParentLocator {
			return nil, damaged("no item %x in its metadata", id)
		}
	}
	parameters := items[vhdxFileParameters]
	return items, v.use(
		binary.LittleEndian.Uint32(parameters), binary.LittleEndian.Uint32(parameters[4:]),
		binary.LittleEndian.Uint64(items[vhdxDiskSize]), binary.LittleEndian.Uint32(items[vhdxLogicalSector]))
}

// vhdxItemLengths are the lengths in bytes of the items that every image has. One more item is only in images that
// lie over another; of that it is the most.
var vhdxItemLengths = map[guid]int64{
	vhdxFileParameters: 8, vhdxDiskSize: 8, vhdxDiskID: 16, vhdxLogicalSector: 4, vhdxPhysicalSector: 4,
	vhdxParentLocator: 1 << 20,
}

func (v *vhdx) use(block, flags uint32, size uint64, sector uint32) error {
	switch {
	case block < 1<<20 || block > vhdxMaxBlock || block&(block-1) != 0:
		return damaged("blocks of %d bytes", block)
	case sector != 512 && sector != 4096:
		return damaged("sectors of %d bytes", sector)
	case size > maxSize:
		return damaged("a disk of %d bytes", size)
	}
	v.bytes, v.sectors, v.block = int64(size), int64(sector), int64(block)
	v.chunk = 1 << 23 * v.sectors / v.block
	v.differs = flags&vhdxHasParent != 0
	if v.bytes > 0 && v.lastEntry()+8 > v.batSize {
		return damaged("a BAT of %d bytes, for a disk of %d", v.batSize, v.bytes)
	}
	return nil
}

func (v *vhdx) size() int64   { return v.bytes }
func (v *vhdx) sector() int64 { return v.sectors }

// entry is where in the BAT the entry of the block at off is.
func (v *vhdx) entry(off int64) int64 {
	i := off / v.block
	return (i + i/v.chunk) * 8
}

// bitmapEntry is where in the BAT the entry is of the bitmap for the block at off.
func (v *vhdx) bitmapEntry(off int64) int64 {
	return (off/v.block/v.chunk*(v.chunk+1) + v.chunk) * 8
}

func (v *vhdx) lastEntry() int64 {
	if v.differs {
		return v.bitmapEntry(v.bytes - 1)
	}
	return v.entry(v.bytes - 1)
}

// placeIn is the place in the file that an entry of the BAT has.
func placeIn(entry uint64) (int64, error) {
	place := entry >> 20 << 20
	if place > math.MaxInt64/2 {
		return 0, damaged("a block at byte %d", place)
	}
	return int64(place), nil
}

func (v *vhdx) Map(off, max int64) (mapping.Extent, error) {
	n := min(max, v.bytes-off, v.block-off%v.block)
	e, err := v.tables.u64(v.bat + v.entry(off))
	if err != nil {
		return mapping.Extent{}, err
	}
	switch state := e & 7; {
	case state == vhdxNotPresent:
		return mapBeneath(v.beneath, off, n)
	case state == vhdxUndefined, state == vhdxZero, state == vhdxUnmapped:
		return mapping.Extent{Kind: mapping.Zero, Length: n}, nil
	case state == vhdxPartly && v.differs:
		marked, run, err := v.marked(off, n)
		switch {
		case err != nil:
			return mapping.Extent{}, err
		case !marked:
			return mapBeneath(v.beneath, off, run)
		}
		return v.data(e, off, run)
	case state == vhdxPresent:
		return v.data(e, off, n)
	default:
		return mapping.Extent{}, damaged("a block in state %d", state)
	}
}

// marked says whether the sector at off is in this file, and for how many of n bytes, all of one block, that holds.
func (v *vhdx) marked(off, n int64) (bool, int64, error) {
	e, err := v.tables.u64(v.bat + v.bitmapEntry(off))
	if err != nil {
		return false, 0, err
	}
	if state := e & 7; state != vhdxPresent {
		return false, 0, damaged("a bitmap in state %d, for a block that is there in part", state)
	}
	place, err := placeIn(e)
	if err != nil {
		return false, 0, err
	}
	return bitmap{v.tables, place, v.sectors, true}.run(off%(v.chunk*v.block), n)
}

// data is n bytes at off, in the block of an entry.
func (v *vhdx) data(entry uint64, off, n int64) (mapping.Extent, error) {
	place, err := placeIn(entry)
	if err != nil {
		return mapping.Extent{}, err
	}
	at := place + off%v.block
	if v.log != nil {
		var logged bool
		if logged, n = v.log.run(at, n); logged {
			return mapping.Extent{Kind: mapping.Computed, Length: n}, nil
		}
	}
	return mapping.Extent{Kind: mapping.Data, Length: n, Device: v.file, Offset: at}, nil
}

// compute reads what is in the log, or is computed beneath.
func (v *vhdx) compute(p []byte, off int64) error {
	for len(p) > 0 {
		n, err := v.computeRun(p[:min(int64(len(p)), v.block-off%v.block)], off)
		if err != nil {
			return err
		}
		p, off = p[n:], off+n
	}
	return nil
}

// computeRun reads at the beginning of p, all of which is of one block, what lies together.
func (v *vhdx) computeRun(p []byte, off int64) (n int64, err error) {
	e, err := v.tables.u64(v.bat + v.entry(off))
	if err != nil {
		return 0, err
	}
	here, n := e&7 == vhdxPresent, int64(len(p))
	if e&7 == vhdxPartly {
		if here, n, err = v.marked(off, n); err != nil {
			return 0, err
		}
	}
	if here {
		place, err := placeIn(e)
		if err != nil {
			return 0, err
		}
		_, err = mapping.ReadFull(v.tables.dev, p[:n], place+off%v.block)
		return n, err
	}
	x, err := v.Map(off, n)
	if err != nil {
		return 0, err
	}
	_, err = mapping.ReadFull(v.beneath, p[:x.Length], off)
	return x.Length, err
}
