package dm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"lvm2fs/lvm2/internal/pdata"
	"lvm2fs/mapping"
)

// ErrThinPool: the metadata of a thin pool does not make sense, or not with the VG's.
var ErrThinPool = errors.New("damaged thin pool")

// ThinPool is a pool of chunks, and the trees that say which chunk of which thin volume lies
// where:
//
//	superblock ─┬─ device details: device ID → what it is
//	            └─ level 1: device ID → root of
//	                        level 2: chunk of the thin volume → chunk of the pool's data LV
//
// The space maps say which chunks are free, and are of no concern to a reader. A thin
// snapshot is a device whose level 2 shares nodes with its origin's. Everything that the
// superblock on disk leads to is immutable until the next superblock is written, so a
// crash leaves the last one and its trees whole.
// (docs/format/06-thin.md, sections 2 to 5)
type ThinPool struct {
	// TransactionID is the pool's count of changes by LVM2.
	TransactionID uint64
	// NeedsCheck: the kernel gave up writing the metadata.
	NeedsCheck bool

	blocks    *pdata.Blocks
	data      mapping.Volume
	chunkSize int64 // bytes
	chunks    uint64
	level1    pdata.Tree
	details   pdata.Tree
	usage     ThinUsage
	since     *thinSince // of a pool from an older root; nil if nothing is known
	rebuilt   *ThinPlan  // nil if the trees are read as they are

	incomplete bool // mappings may be lost, so what is not mapped is missing

	dataMap     pdata.SpaceMap
	metadataMap pdata.SpaceMap
	heldRoot    uint64 // block of a superblock that is kept for somebody; 0 for none

	thinWriting
}

// thinDetails is what a pool knows of a device: 0 u64 mappings, 8 u64 transaction ID and 16 u32 time when it was made,
// 20 u32 time of its latest snapshot.
type thinDetails struct {
	mapped      uint64
	snapshotted uint32
}

func decodeThinDetails(b []byte) thinDetails {
	return thinDetails{binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint32(b[20:])}
}

// eachDevice calls visit with the details of each device, in order of their IDs.
func (p *ThinPool) eachDevice(visit func(device uint64, d thinDetails) error) error {
	for next := uint64(0); ; {
		leaf, err := p.details.Leaf(next)
		if err != nil {
			return err
		}
		for i := leaf.Search(next); i < leaf.Len(); i++ {
			if err := visit(leaf.Key(i), decodeThinDetails(leaf.Value(i))); err != nil {
				return err
			}
		}
		if leaf.To == math.MaxUint64 {
			return nil
		}
		next = leaf.To + 1
	}
}

// ThinUsage tells how full a pool is, by what its space maps say of themselves.
type ThinUsage struct {
	Data, Metadata Usage // in chunks, and in blocks of 4096 bytes
}

// Usage counts what there is, and what of it is in use.
type Usage struct{ Total, Used uint64 }

// usageOf decodes the root of a space map.
func usageOf(b []byte) Usage {
	return Usage{Total: binary.LittleEndian.Uint64(b), Used: binary.LittleEndian.Uint64(b[8:])}
}

// Counted says whether the superblock was read. Usage and Mapped count by it.
func (p *ThinPool) Counted() bool { return p.details.Blocks != nil }

// metadataReserve is what of that many blocks of metadata the kernel keeps, so that chunks can still be unmapped and devices
// deleted when the rest is full.
// (docs/format/06-thin.md, section 6)
func metadataReserve(blocks uint64) uint64 { return min(blocks/10, 4096) }

// Reserve is the number of blocks of metadata that are not for mappings.
func (u ThinUsage) Reserve() uint64 { return metadataReserve(u.Metadata.Total) }

// Usage of the pool, by its superblock.
func (p *ThinPool) Usage() ThinUsage {
	p.tables.RLock()
	defer p.tables.RUnlock()
	return p.usage
}

// Mapped is the number of chunks that a thin device of the pool has, by its details.
func (p *ThinPool) Mapped(device uint64) (uint64, error) {
	p.tables.RLock()
	defer p.tables.RUnlock()
	return p.mappedBy(device)
}

func (p *ThinPool) mappedBy(device uint64) (uint64, error) {
	if d := p.devices[device]; d != nil && d.described {
		return d.mapped, nil
	}
	details, found, err := p.details.Find(device)
	if err != nil || !found {
		return 0, err
	}
	return decodeThinDetails(details).mapped, nil
}

const (
	thinMagic       = 27022010
	flagNeedsCheck  = 1
	mappingSize     = 8  // bytes of a value in levels 1 and 2
	detailsSize     = 24 // bytes of a value in the device details
	maxThinDevice   = 1<<24 - 1
	mappingTimeBits = 24
)

// OpenThinPool reads the superblock of a pool. chunkSize, in bytes, is what the VG's metadata
// says. It returns nil without an error for a pool that was never activated: with a superblock of zeros and
// nothing behind it.
func OpenThinPool(metadata, data mapping.Volume, chunkSize int64) (*ThinPool, error) {
	blocks := pdata.NewBlocks(metadata, metadata.Size())
	b, err := blocks.Read(0, pdata.ThinSuperblock)
	if errors.Is(err, pdata.ErrDamaged) && allZero(b) {
		return nil, blocks.Unformatted()
	}
	if err != nil {
		return nil, err
	}
	p, err := decodeThinSuperblock(b, blocks, data, chunkSize)
	if err == nil {
		p.metadata = metadata
	}
	return p, err
}

// ThinPoolAt is a pool whose superblock is not to be used: level1 is the block where its mappings
// begin, one of those that [FindThinRoots] found. chunkSize is in bytes.
func ThinPoolAt(metadata, data mapping.Volume, chunkSize int64, level1 uint64) *ThinPool {
	blocks := pdata.NewBlocks(metadata, metadata.Size())
	return &ThinPool{
		blocks:    blocks,
		data:      data,
		chunkSize: chunkSize,
		chunks:    uint64(data.Size() / chunkSize),
		level1:    pdata.Tree{Blocks: blocks, Root: level1, ValueSize: mappingSize},

		thinWriting: thinWriting{refused: "its thin pool is read from another root than that of its superblock", devices: map[uint64]*thinDevice{}},
	}
}

// decodeThinSuperblock makes a pool of a superblock:
//
//	  4 u32 flags    32 u64 magic   40 u32 version    48 u64 transaction ID
//	 56 u64 superblock held         64 root of the data space map  192 root of the metadata space map
//	320 u64 root of level 1        328 u64 root of the device details
//	336 u32 chunk size, sectors    340 u32 metadata block size, sectors   360 u32 incompatible flags
func decodeThinSuperblock(b []byte, blocks *pdata.Blocks, data mapping.Volume, chunkSize int64) (*ThinPool, error) {
	le := binary.LittleEndian
	bad := func(at int, format string, args ...any) error {
		return fmt.Errorf("%w: superblock, byte %d: %s", ErrThinPool, at, fmt.Sprintf(format, args...))
	}
	if magic := le.Uint64(b[32:]); magic != thinMagic {
		return nil, bad(32, "magic %d", magic)
	}
	if version := le.Uint32(b[40:]); version != 1 && version != 2 {
		return nil, bad(40, "version %d", version)
	}
	if flags := le.Uint32(b[360:]); flags != 0 {
		return nil, bad(360, "incompatible flags 0x%x", flags)
	}
	if size := int64(le.Uint32(b[336:])) * 512; size != chunkSize || size <= 0 {
		return nil, bad(336, "chunks of %d bytes, the VG says %d", size, chunkSize)
	}
	if sectors := le.Uint32(b[340:]); sectors != pdata.BlockSize/512 {
		return nil, bad(340, "metadata blocks of %d sectors", sectors)
	}
	return &ThinPool{
		TransactionID: le.Uint64(b[48:]),
		NeedsCheck:    le.Uint32(b[4:])&flagNeedsCheck != 0,
		blocks:        blocks,
		data:          data,
		chunkSize:     chunkSize,
		chunks:        min(le.Uint64(b[64:]), uint64(data.Size()/chunkSize)),
		level1:        pdata.Tree{Blocks: blocks, Root: le.Uint64(b[320:]), ValueSize: mappingSize},
		details:       pdata.Tree{Blocks: blocks, Root: le.Uint64(b[328:]), ValueSize: detailsSize},
		usage:         ThinUsage{Data: usageOf(b[64:]), Metadata: usageOf(b[192:])},
		dataMap:       pdata.DataSpaceMap(blocks, b[64:]),
		metadataMap:   pdata.MetadataSpaceMap(blocks, b[192:]),
		heldRoot:      le.Uint64(b[56:]),
		thinWriting:   thinWriting{superblock: b, devices: map[uint64]*thinDevice{}, within: commitInterval},
	}, nil
}

func allZero(b []byte) bool {
	for _, x := range b {
		if x != 0 {
			return false
		}
	}
	return len(b) > 0
}

// Has says whether the pool has a thin device of that ID.
func (p *ThinPool) Has(device uint64) (bool, error) {
	if p.rebuilt != nil {
		return p.rebuilt.plan.Device(device) != nil, nil
	}
	p.tables.RLock()
	defer p.tables.RUnlock()
	_, found, err := p.level1.Find(device)
	return found, err
}

// Thin is size bytes of a thin device of the pool. Chunks that are not provisioned are those
// of external, where it has them, or zeros; external may be nil.
func (p *ThinPool) Thin(device uint64, size int64, external mapping.Volume) (mapping.Volume, error) {
	p.tables.Lock()
	defer p.tables.Unlock()
	d := p.devices[device]
	if d == nil {
		var err error
		if d, err = p.open(device); err != nil {
			return nil, err
		}
		p.devices[device] = d
	}
	unprovisioned := Unprovisioned(size, external)
	if p.incomplete {
		unprovisioned = Missing(size, errThinHole)
	}
	return &thin{pool: p, thinDevice: d, size: size, external: external, unprovisioned: unprovisioned}, nil
}

// open is a device of the pool. The caller holds tables.
func (p *ThinPool) open(device uint64) (*thinDevice, error) {
	leaves, err := p.leaves(device)
	if tree, ok := leaves.(pdata.Tree); ok {
		return &thinDevice{id: device, level2: tree}, err
	}
	return &thinDevice{id: device, rebuilt: leaves}, err
}

// leaves says where the chunks of a device are, on disk.
func (p *ThinPool) leaves(device uint64) (leafFinder, error) {
	if p.rebuilt != nil {
		return p.rebuilt.leaves(device)
	}
	root, found, err := p.level1.Find(device)
	if err != nil {
		return nil, fmt.Errorf("thin device %d: %w", device, err)
	}
	if !found {
		return nil, fmt.Errorf("%w: no thin device %d", ErrThinPool, device)
	}
	return p.tree(binary.LittleEndian.Uint64(root)), nil
}

// leafFinder is a level 2: it says where the chunks of a device are, or fails with *pdata.Damage.
type leafFinder interface {
	Leaf(chunk uint64) (pdata.Leaf, error)
}

// tree is the level 2 of a device.
func (p *ThinPool) tree(root uint64) pdata.Tree {
	return pdata.Tree{Blocks: p.blocks, Root: root, ValueSize: mappingSize}
}

// Unprovisioned is a thin device without any chunk: size bytes of external, where it has
// them, or zeros; external may be nil.
func Unprovisioned(size int64, external mapping.Volume) mapping.Volume {
	if external == nil || external.Size() == 0 {
		return Zero(size)
	}
	if external.Size() >= size {
		return Linear(external, 0, size)
	}
	return Concat([]mapping.Volume{Linear(external, 0, external.Size()), Zero(size - external.Size())})
}

type thin struct {
	pool *ThinPool
	*thinDevice
	size          int64
	external      mapping.Volume // nil for none
	unprovisioned mapping.Volume
}

func (t *thin) Size() int64 { return t.size }

// Map implements [mapping.Volume]. While the pool is being written it gives no places, because another volume may have a
// chunk by the time that somebody reads it.
func (t *thin) Map(off, max int64) (mapping.Extent, error) {
	var e mapping.Extent
	err := t.at(off, max, func(beneath mapping.Volume, at, length int64) (err error) {
		e, err = beneath.Map(at, length)
		if beneath == t.pool.data && t.pool.tx != nil && e.Kind == mapping.Data {
			e = mapping.Extent{Kind: mapping.Computed, Length: e.Length}
		}
		return err
	})
	return e, err
}

func (t *thin) ReadAt(p []byte, off int64) (int, error) {
	p, end := mapping.ClipRead("", p, off, t.size)
	done := 0
	for done < len(p) {
		n := 0
		err := t.at(off+int64(done), int64(len(p)-done), func(beneath mapping.Volume, at, length int64) (err error) {
			n, err = readFull(beneath, p[done:done+int(length)], at)
			return err
		})
		done += n
		if err != nil {
			return done, err
		}
	}
	return done, end
}

// at calls do with where the bytes from off lie, at most max. Chunks of the pool stay there meanwhile. The external
// origin does not change, and may be a volume of the same pool.
func (t *thin) at(off, max int64, do func(beneath mapping.Volume, at, length int64) error) error {
	t.pool.tables.RLock()
	beneath, at, length := t.locate(off)
	length = min(length, max)
	if beneath != t.pool.data {
		t.pool.tables.RUnlock()
		return do(beneath, at, length)
	}
	defer t.pool.tables.RUnlock()
	return do(beneath, at, length)
}

// locate finds the run of bytes from off that lie together. Where the metadata are damaged that is a volume of missing
// bytes: just those that the damage makes unknown.
func (t *thin) locate(off int64) (mapping.Volume, int64, int64) {
	size := uint64(t.pool.chunkSize)
	chunk, within := uint64(off)/size, off%t.pool.chunkSize
	// until is the number of bytes from off to the start of a later chunk.
	until := func(next uint64) int64 {
		if last := uint64(t.size) / size; next > last {
			return t.size - off
		}
		return min(int64(next*size), t.size) - off
	}
	leaf, err := t.Leaf(chunk)
	if err != nil {
		to := chunk
		var damage *pdata.Damage
		if errors.As(err, &damage) {
			to = damage.To
		}
		length := until(addOne(to))
		return &missing{off + length, fmt.Errorf("%w: %w", mapping.ErrMissing, err)}, off, length
	}
	i := leaf.Search(chunk)
	if i == leaf.Len() || leaf.Key(i) != chunk {
		next := addOne(leaf.To)
		if i < leaf.Len() {
			next = leaf.Key(i)
		}
		return t.unprovisioned, off, until(next)
	}
	first := dataChunk(leaf.Value(i))
	if first >= t.pool.chunks {
		length := until(chunk + 1)
		return &missing{off + length, fmt.Errorf("%w: %w: chunk %d lies in chunk %d of the pool, which has %d", mapping.ErrMissing, ErrThinPool, chunk, first, t.pool.chunks)}, off, length
	}
	reused := func(n uint64) bool {
		return t.pool.since != nil && t.pool.since.reused(t.id, chunk+n, first+n, leaf.Block())
	}
	if reused(0) {
		length := until(chunk + 1)
		return &missing{off + length, fmt.Errorf("%w: chunk %d of the pool belongs to something else now", ErrChunkReused, first)}, off, length
	}
	n := uint64(1)
	for i+int(n) < leaf.Len() && leaf.Key(i+int(n)) == chunk+n && dataChunk(leaf.Value(i+int(n))) == first+n && first+n < t.pool.chunks && !reused(n) {
		n++
	}
	return t.pool.data, int64(first*size) + within, until(chunk + n)
}

// dataChunk is the chunk of the pool that a mapping leads to; its lowest bits are the time at
// which it was made.
func dataChunk(value []byte) uint64 {
	return binary.LittleEndian.Uint64(value) >> mappingTimeBits
}

func addOne(key uint64) uint64 {
	if key+1 == 0 {
		return key
	}
	return key + 1
}
