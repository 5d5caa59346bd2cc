package dm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/pierrec/lz4/v4"

	"lvm2fs/internal/lru"
	"lvm2fs/mapping"
)

// ErrVDO: the metadata of a VDO pool do not make sense.
var ErrVDO = errors.New("damaged VDO pool")

// vdo is a pool of deduplicated and compressed blocks of 4096 bytes, on one device:
//
//	0           1       D             D+1
//	| geometry | index | super block | block map roots | slabs … | recovery journal | slab summary |
//
// The block map says where each logical block is: nowhere (zeros), in a block of a slab, or as one
// of up to 14 fragments compressed into a block of a slab. While the pool is active the newest
// entries of the map are in the recovery journal only, and are taken from there.
// (docs/format/09-vdo.md)
type vdo struct {
	data          mapping.Volume
	bioOffset     uint64 // blocks by which physical numbers are ahead of the device
	nonce         uint64
	state         uint32
	recoveries    uint64
	logicalBlocks uint64
	physical      uint64 // blocks
	slabBlocks    uint64 // of each slab, of which the first dataBlocks hold data
	dataBlocks    uint64
	firstSlab     uint64
	lastSlab      uint64 // the block behind the last slab
	rootOrigin    uint64
	rootCount     uint64
	journal       vdoJournal
	logicalUsed   uint64 // blocks that were mapped, and pages of the block map but for the roots, when the pool was closed
	mapPages      uint64

	openOverlay func() (map[vdoSlot]vdoEntry, error)
	countMap    func() (struct{}, error) // fails if less is mapped than was when the pool was closed; nil if nobody knows
	pages       *lru.Cache[uint64, *vdoPage]
	blocks      *lru.Cache[uint64, []byte] // with compressed fragments
}

const (
	VDOBlock        = 4096
	vdoMaxPages     = 1024 // held, 4 MiB
	vdoMaxBlocks    = 256  // held, 1 MiB
	vdoMaxFragments = 14

	vdoDirty          = 0
	vdoNew            = 1
	vdoClean          = 2
	vdoReadOnlyMode   = 3
	vdoForceRebuild   = 4
	vdoRecovering     = 5
	vdoReplaying      = 6
	vdoUpgradeRebuild = 7
)

var vdoStates = map[uint32]string{
	vdoReadOnlyMode: "read-only mode", vdoForceRebuild: "forced rebuild", vdoRecovering: "recovering",
	vdoReplaying: "replaying", vdoUpgradeRebuild: "rebuild for upgrade",
}

// VDO is the logical space of the pool on data. Pools that are clean, new, or were active when the
// power failed can be read; others are refused with errors.ErrUnsupported.
func VDO(data mapping.Volume) (mapping.Volume, error) {
	v := &vdo{data: data, pages: lru.New[uint64, *vdoPage](vdoMaxPages), blocks: lru.New[uint64, []byte](vdoMaxBlocks)}
	superBlock, err := v.readGeometry()
	if err != nil {
		return nil, err
	}
	if err := v.readSuperBlock(superBlock); err != nil {
		return nil, err
	}
	size := int64(v.logicalBlocks) * VDOBlock
	switch v.state {
	case vdoNew:
		return Zero(size), nil
	case vdoClean:
		v.openOverlay = func() (map[vdoSlot]vdoEntry, error) { return nil, nil }
		v.countMap = once(func() (struct{}, error) { return struct{}{}, v.checkMapped() })
	case vdoDirty:
		v.openOverlay = once(v.replay)
	default:
		return nil, fmt.Errorf("%w: VDO in state %d (%s)", errors.ErrUnsupported, v.state, vdoStates[v.state])
	}
	return v, nil
}

// vdoChecksum is a CRC-32 that starts with 0 where the usual one starts with all ones.
func vdoChecksum(b []byte) uint32 { return crc32.Update(0xffffffff, crc32.IEEETable, b) }

// readGeometry reads the geometry block, and returns the block number of the super block.
//
//	0 "dmvdo001"  8 u32 ID 5  12 u32 major  16 u32 minor  20 u64 size  32 u64 nonce
//	56 u64 bio offset (version 5 only)  then two regions: u32 ID  u64 first block …  u32 checksum
func (v *vdo) readGeometry() (uint64, error) {
	b := make([]byte, VDOBlock)
	if _, err := v.data.ReadAt(b, 0); err != nil {
		return 0, fmt.Errorf("VDO geometry: %w", err)
	}
	le := binary.LittleEndian
	bad := func(at int, format string, args ...any) error {
		return fmt.Errorf("%w: geometry, byte %d: %s", ErrVDO, at, fmt.Sprintf(format, args...))
	}
	if string(b[:8]) != "dmvdo001" || le.Uint32(b[8:]) != 5 {
		return 0, bad(0, "magic %q, ID %d", b[:8], le.Uint32(b[8:]))
	}
	regions, size := 64, 101
	switch major, minor := le.Uint32(b[12:]), le.Uint32(b[16:]); {
	case major == 5 && minor == 0:
		v.bioOffset = le.Uint64(b[56:])
	case major == 4 && minor == 0:
		regions, size = 56, 93
	default:
		return 0, bad(12, "version %d.%d", major, minor)
	}
	if le.Uint64(b[20:]) != uint64(size) {
		return 0, bad(20, "size %d, not %d", le.Uint64(b[20:]), size)
	}
	if sum := vdoChecksum(b[:size-4]); sum != le.Uint32(b[size-4:]) {
		return 0, bad(size-4, "checksum 0x%08x stored, 0x%08x computed", le.Uint32(b[size-4:]), sum)
	}
	if le.Uint32(b[regions:]) != 0 || le.Uint32(b[regions+12:]) != 1 {
		return 0, bad(regions, "regions %d and %d", le.Uint32(b[regions:]), le.Uint32(b[regions+12:]))
	}
	v.nonce = le.Uint64(b[32:])
	return le.Uint64(b[regions+16:]), nil
}

// vdoComponents are the fixed words of the super block: where, and what must be there. A header is
// an ID, a major and a minor version, and a size.
var vdoComponents = []struct {
	at   int
	want []uint64 // u32, u32, u32, u64; or a version of u32, u32
	name string
}{
	{0, []uint64{0, 12, 0}, "super block"},
	{24, []uint64{67, 0}, "volume version"},
	{32, []uint64{41, 0}, "component version"},
	{108, []uint64{1, 3, 0, 117}, "layout"},
	{245, []uint64{2, 7, 0, 24}, "recovery journal"},
	{289, []uint64{3, 2, 0, 73}, "slab depot"},
	{382, []uint64{4, 2, 0, 32}, "block map"},
}

const vdoSuperBlockSize = 434 // up to the checksum

// readSuperBlock reads the super block at the physical block number.
func (v *vdo) readSuperBlock(number uint64) error {
	b := make([]byte, 512)
	if err := v.readPhysical(b, number); err != nil {
		return fmt.Errorf("VDO super block: %w", err)
	}
	le := binary.LittleEndian
	bad := func(at int, format string, args ...any) error {
		return fmt.Errorf("%w: super block, byte %d: %s", ErrVDO, at, fmt.Sprintf(format, args...))
	}
	if sum := vdoChecksum(b[:vdoSuperBlockSize]); sum != le.Uint32(b[vdoSuperBlockSize:]) {
		return bad(vdoSuperBlockSize, "checksum 0x%08x stored, 0x%08x computed", le.Uint32(b[vdoSuperBlockSize:]), sum)
	}
	for _, c := range vdoComponents {
		at := c.at
		for i, want := range c.want {
			got, n := uint64(le.Uint32(b[at:])), 4
			if i == 3 {
				got, n = le.Uint64(b[at:]), 8
			}
			if got != want {
				return bad(at, "%s: %d, not %d", c.name, got, want)
			}
			at += n
		}
	}
	if nonce := le.Uint64(b[100:]); nonce != v.nonce {
		return bad(100, "nonce 0x%x, not the geometry's 0x%x", nonce, v.nonce)
	}
	v.state, v.recoveries = le.Uint32(b[40:]), le.Uint64(b[44:])
	v.logicalBlocks, v.physical = le.Uint64(b[60:]), le.Uint64(b[68:])
	v.slabBlocks, v.dataBlocks = le.Uint64(b[309:]), le.Uint64(b[317:])
	v.firstSlab, v.lastSlab = le.Uint64(b[365:]), le.Uint64(b[373:])
	v.rootOrigin, v.rootCount = le.Uint64(b[418:]), le.Uint64(b[426:])
	v.journal = vdoJournal{size: le.Uint64(b[84:]), start: le.Uint64(b[265:])}
	v.logicalUsed, v.mapPages = le.Uint64(b[273:]), le.Uint64(b[281:])
	const maxBlocks = 1 << 50
	switch {
	case v.bioOffset > maxBlocks || v.physical > maxBlocks || int64(v.physical) > v.data.Size()/VDOBlock:
		return bad(68, "%d physical blocks, the device has %d bytes", v.physical, v.data.Size())
	case v.logicalBlocks > maxBlocks:
		return bad(60, "%d logical blocks", v.logicalBlocks)
	case v.slabBlocks == 0 || v.dataBlocks > v.slabBlocks:
		return bad(309, "%d data blocks in slabs of %d", v.dataBlocks, v.slabBlocks)
	case v.firstSlab > v.lastSlab || v.lastSlab > v.physical:
		return bad(365, "slabs from block %d to %d, of %d", v.firstSlab, v.lastSlab, v.physical)
	case v.rootCount == 0 || v.rootCount > 255 || v.rootOrigin > v.physical-v.rootCount:
		return bad(418, "%d roots at block %d, of %d", v.rootCount, v.rootOrigin, v.physical)
	case b[144] != 4:
		return bad(144, "%d partitions", b[144])
	}
	for i := range 4 {
		p := b[145+25*i:]
		offset, count := le.Uint64(p[1:]), le.Uint64(p[17:])
		if offset > v.physical || count > v.physical-offset {
			return bad(145+25*i, "partition %d of %d blocks at %d, of %d", p[0], count, offset, v.physical)
		}
		if p[0] == vdoJournalPartition {
			if v.journal.size == 0 || v.journal.size&(v.journal.size-1) != 0 || v.journal.size > count {
				return bad(84, "a recovery journal of %d blocks, in %d", v.journal.size, count)
			}
			v.journal.first = offset
		}
	}
	if v.journal.first == 0 {
		return bad(145, "no recovery journal")
	}
	return nil
}

// readPhysical reads from the start of a block, by its physical number.
func (v *vdo) readPhysical(p []byte, number uint64) error {
	_, err := v.data.ReadAt(p, v.at(number))
	return err
}

// at is the byte of the device at which a block begins, by its physical number.
func (v *vdo) at(number uint64) int64 { return (int64(number) - int64(v.bioOffset)) * VDOBlock }

func (v *vdo) Size() int64 { return int64(v.logicalBlocks) * VDOBlock }

// Map looks at a bounded number of entries, so that a run may be answered in pieces.
func (v *vdo) Map(off, max int64) (mapping.Extent, error) {
	block, within := uint64(off/VDOBlock), off%VDOBlock
	c := vdoCursor{vdo: v}
	first, err := c.lookup(block)
	if err != nil {
		return mapping.Extent{}, err
	}
	room := min(max, v.Size()-off)
	if first.compressed() {
		return mapping.Extent{Kind: mapping.Computed, Length: min(room, VDOBlock-within)}, nil
	}
	most := uint64((within + room + VDOBlock - 1) / VDOBlock)
	length := func(blocks uint64) int64 { return min(room, int64(blocks)*VDOBlock-within) }
	if first.zero() {
		return mapping.Extent{Kind: mapping.Zero, Length: length(v.zeroRun(block, most))}, nil
	}
	return v.data.Map(v.at(first.block)+within, length(c.dataRun(block, first, most)))
}

func (v *vdo) ReadAt(p []byte, off int64) (int, error) {
	p, end := mapping.ClipRead("", p, off, v.Size())
	c, done := vdoCursor{vdo: v}, 0
	for done < len(p) {
		n, err := c.read(p[done:], off+int64(done))
		done += n
		if err != nil {
			return done, err
		}
	}
	return done, end
}

// read reads within one block, or of blocks that lie one behind the other as they are.
func (c *vdoCursor) read(p []byte, off int64) (int, error) {
	block, within := uint64(off/VDOBlock), off%VDOBlock
	e, err := c.lookup(block)
	if err != nil {
		return 0, err
	}
	if !e.zero() && !e.compressed() {
		run := c.dataRun(block, e, uint64(within+int64(len(p))+VDOBlock-1)/VDOBlock)
		return c.data.ReadAt(p[:min(int64(len(p)), int64(run)*VDOBlock-within)], c.at(e.block)+within)
	}
	p = p[:min(int64(len(p)), VDOBlock-within)]
	if e.zero() {
		clear(p)
		return len(p), nil
	}
	b := p
	if len(p) < VDOBlock {
		b = make([]byte, VDOBlock)
	}
	if err := c.fragment(e, b); err != nil {
		return 0, err
	}
	return copy(p, b[within:]), nil
}

// fragment decompresses a block to out:
//
//	0 u32 major 1  4 u32 minor 0  8 u16 length of each of 14 fragments  36 fragments
func (v *vdo) fragment(e vdoEntry, out []byte) error {
	b, err := v.blocks.Get(e.block, func() ([]byte, error) {
		b := make([]byte, VDOBlock)
		return b, v.readPhysical(b, e.block)
	})
	if err != nil {
		return err
	}
	le := binary.LittleEndian
	bad := func(format string, args ...any) error {
		return fmt.Errorf("%w: compressed block %d: %s", ErrVDO, e.block, fmt.Sprintf(format, args...))
	}
	if major, minor := le.Uint32(b), le.Uint32(b[4:]); major != 1 || minor != 0 {
		return bad("version %d.%d", major, minor)
	}
	const header = 8 + 2*vdoMaxFragments
	f, start := e.fragment(), header
	for i := range f {
		start += int(le.Uint16(b[8+2*i:]))
	}
	end := start + int(le.Uint16(b[8+2*f:]))
	if end > VDOBlock {
		return bad("fragment %d ends at byte %d", f, end)
	}
	if n, err := lz4.UncompressBlock(b[start:end], out); err != nil || n != VDOBlock {
		return bad("fragment %d of %d bytes gives %d: %v", f, end-start, n, err)
	}
	return nil
}
