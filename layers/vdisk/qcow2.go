package vdisk

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/bits"

	"lvm2fs/mapping"
)

// qcow2, versions 2 and 3. Integers are big-endian. A table of the first level (L1) leads to
// tables of the second (L2), of one cluster each, whose entries lead to clusters of data.
//
//	header | extensions | name of the backing file
//	L1     u64 each: bits 9-55 place of an L2, 0 for none
//	L2     u64 each: bit 62 clear: bits 9-55 place of the cluster, 0 for none;
//	                 bit 0: reads as zeros whatever the place
//	                 bit 62 set: compressed; place in bytes, then sectors
//	       with extended L2 a second u64: bit n, n < 32: subcluster n is in the cluster;
//	                 bit 32+n: it reads as zeros; neither: it is beneath
const (
	qcowVersion         = 4   // u32
	qcowBackingName     = 8   // u64, bytes
	qcowBackingLength   = 16  // u32
	qcowClusterBits     = 20  // u32
	qcowSize            = 24  // u64, bytes
	qcowEncryption      = 32  // u32
	qcowL1Length        = 36  // u32, entries
	qcowL1              = 40  // u64
	qcowSnapshotCount   = 60  // u32
	qcowSnapshots       = 64  // u64
	qcowHeader2         = 72  // the length of version 2's header
	qcowIncompatible    = 72  // u64
	qcowHeaderLength    = 100 // u32
	qcowCompression     = 104 // u8, if the header is that long
	qcowHeader3         = 104
	qcowMinClusterBits  = 9
	qcowMaxClusterBits  = 21
	qcowMaxL1           = 32 << 20 / 8
	qcowMaxName         = 1023
	qcowMaxEncryption   = 2 // AES, LUKS
	qcowMaxSnapshots    = 65536
	qcowExtensionEnd    = 0
	qcowExtensionFormat = 0xe2792aca
	qcowExtensionData   = 0x44415441
)

// Incompatible features.
const (
	qcowDirty        = 1 << 0 // reference counts may be wrong, which a reader does not need
	qcowCorrupt      = 1 << 1
	qcowDataFile     = 1 << 2
	qcowCompressed   = 1 << 3
	qcowExtendedL2   = 1 << 4
	qcowKnown        = qcowDirty | qcowCorrupt | qcowDataFile | qcowCompressed | qcowExtendedL2
	qcowOffsetMask   = 1<<56 - 1<<9
	qcowCopied       = 1 << 63
	qcowIsZero       = 1 << 0
	qcowIsCompressed = 1 << 62
	qcowSubclusters  = 32
)

type qcow2 struct {
	tables   *table
	file     mapping.Device // with the clusters
	external bool           // file is not the image itself
	beneath  mapping.Volume // nil if there is none
	bytes    int64
	bits     uint // of an offset in a cluster
	extended bool
	l1       int64 // bytes from the start of the image
	inflated *inflated

	head       *qcow2Header
	opened     []byte // the header, when it was opened or as we changed it
	ofSnapshot bool   // what is read is a snapshot

	counts        int64            // bytes from the start of the image: the table of reference counts
	countClusters int64            // its length
	unused        map[int64]uint64 // by how much clusters are counted too often until the next commit
}

// qcow2Header is what the header says.
type qcow2Header struct {
	version       uint32
	backingName   int64
	backingLength int64
	bits          uint
	size          uint64
	encryption    uint32
	l1Length      int64
	l1            uint64
	snapshotCount uint32
	snapshots     uint64
	incompatible  uint64
	length        int64
	compression   byte
	autoclear     uint64
	counts        uint64 // bytes from the start of the file
	countClusters int64
	countOrder    uint32 // the logarithm of the bits of a reference count
}

func decodeQcow2Header(b []byte) (*qcow2Header, error) {
	u32 := func(off int) uint32 { return binary.BigEndian.Uint32(b[off:]) }
	u64 := func(off int) uint64 { return binary.BigEndian.Uint64(b[off:]) }
	h := &qcow2Header{
		version:       u32(qcowVersion),
		backingLength: int64(u32(qcowBackingLength)),
		bits:          uint(u32(qcowClusterBits)),
		size:          u64(qcowSize),
		encryption:    u32(qcowEncryption),
		l1Length:      int64(u32(qcowL1Length)),
		l1:            u64(qcowL1),
		snapshotCount: u32(qcowSnapshotCount),
		snapshots:     u64(qcowSnapshots),
		length:        qcowHeader2,
		counts:        u64(qcowCounts),
		countClusters: int64(u32(qcowCountClusters)),
		countOrder:    4,
	}
	if h.version == 1 {
		return nil, unsupported("qcow of version 1")
	}
	if h.version > 3 || h.version == 0 {
		return nil, unsupported("version %d", h.version)
	}
	if h.version == 3 {
		h.incompatible = u64(qcowIncompatible)
		h.length = int64(u32(qcowHeaderLength))
		h.autoclear, h.countOrder = u64(qcowAutoclear), u32(qcowCountOrder)
		if h.length > qcowCompression {
			h.compression = b[qcowCompression]
		}
	}
	backing := u64(qcowBackingName)
	h.backingName = int64(min(backing, math.MaxInt64/2))
	switch {
	case h.bits < qcowMinClusterBits || h.bits > qcowMaxClusterBits:
		return nil, damaged("clusters of 2^%d bytes", h.bits)
	case h.version == 3 && (h.length < qcowHeader3 || h.length%8 != 0 || h.length > 1<<h.bits):
		return nil, damaged("a header of %d bytes", h.length)
	case h.size > maxSize:
		return nil, damaged("a disk of %d bytes", h.size)
	case h.l1Length > qcowMaxL1:
		return nil, damaged("an L1 table of %d entries", h.l1Length)
	case backing != 0 && (h.backingLength > qcowMaxName || h.backingLength == 0 || h.backingName < h.length || h.backingName+h.backingLength > 1<<h.bits):
		return nil, damaged("the name of the backing file: %d bytes at byte %d", h.backingLength, backing)
	}
	return h, h.supported()
}

func (h *qcow2Header) supported() error {
	switch {
	case h.encryption != 0:
		return unsupported("it is encrypted (method %d); qemu-img convert with its key makes one that is not", h.encryption)
	case h.incompatible&qcowCorrupt != 0:
		return unsupported("QEMU has marked it as corrupt; qemu-img check -r all mends it")
	case h.incompatible&^uint64(qcowKnown) != 0:
		return unsupported("features %#x", h.incompatible&^uint64(qcowKnown))
	case h.incompatible&qcowExtendedL2 != 0 && h.bits < 14:
		return damaged("extended L2 entries with clusters of 2^%d bytes", h.bits)
	case (h.incompatible&qcowCompressed != 0) != (h.compression != 0):
		return damaged("compression type %d with features %#x", h.compression, h.incompatible)
	}
	return nil
}

func openQcow2(o *opening) (layout, error) {
	head := make([]byte, min(qcowHeader3+8, o.dev.Size()))
	if _, err := mapping.ReadFull(o.dev, head, 0); err != nil {
		return nil, err
	}
	// A version 2 image of one cluster of 512 bytes is longer than this, too.
	if len(head) < qcowHeader3+8 {
		return nil, damaged("it ends in its header")
	}
	h, err := decodeQcow2Header(head)
	var base mapping.Device
	var baseName string
	if h != nil {
		var failed error
		if base, baseName, failed = o.qcow2Base(h); err == nil {
			err = failed
		}
	}
	if err != nil {
		return nil, err
	}
	q := &qcow2{
		tables:   newTable(o.dev, binary.BigEndian),
		file:     o.dev,
		bytes:    int64(h.size),
		bits:     h.bits,
		extended: h.incompatible&qcowExtendedL2 != 0,

		head:          h,
		opened:        head,
		ofSnapshot:    o.opts.Snapshot != "",
		counts:        int64(min(h.counts, maxSize+1)),
		countClusters: h.countClusters,
	}
	inflate := inflateRaw
	switch h.compression {
	case 0:
	case 1:
		inflate = inflateZstd
	default:
		return nil, unsupported("compression type %d", h.compression)
	}
	q.inflated = newInflated(1<<h.bits, inflate)
	extensions, err := q.extensions(h)
	if err != nil {
		return nil, err
	}
	if h.incompatible&qcowDataFile != 0 {
		if q.file, err = o.file(extensions.dataFile); err != nil {
			return nil, err
		}
		q.external = true
	}
	if err := q.useL1(h.l1, h.l1Length); err != nil {
		return nil, err
	}
	if o.opts.Snapshot != "" {
		if err := q.useSnapshot(h, o.opts.Snapshot); err != nil {
			return nil, err
		}
	}
	if base != nil {
		if q.beneath, err = o.lay(base, baseName, qcow2FormatOf(extensions.format)); err != nil {
			return nil, err
		}
	}
	return q, nil
}

// qcow2Base opens the backing file; nil if there is none. That a header with features nobody knows names none
// may be due to damage.
func (o *opening) qcow2Base(h *qcow2Header) (mapping.Device, string, error) {
	if h.backingName == 0 {
		o.based = h.incompatible&^uint64(qcowKnown) == 0 && h.encryption <= qcowMaxEncryption && !errors.Is(h.supported(), ErrDamaged)
		return nil, "", nil
	}
	name := make([]byte, h.backingLength)
	if _, err := mapping.ReadFull(o.dev, name, h.backingName); err != nil {
		return nil, "", err
	}
	dev, err := o.base(string(name))
	return dev, string(name), err
}

// qcow2FormatOf is the format that QEMU's name of one stands for.
func qcow2FormatOf(name string) string {
	known := map[string]string{"raw": formatRaw, "vmdk": "VMDK", "vpc": "VHD", "vhdx": "VHDX", "vdi": "VDI"}
	if format := known[name]; format != "" {
		return format
	}
	return name
}

type qcow2Extensions struct {
	format   string // of the backing file; "" if it is not said
	dataFile string
}

// extensions reads what stands between the header and the end of its cluster.
func (q *qcow2) extensions(h *qcow2Header) (found qcow2Extensions, err error) {
	end := int64(1) << h.bits
	if h.backingName != 0 {
		end = min(end, h.backingName)
	}
	for off := h.length; off+8 <= end; {
		head, err := q.tables.at(off, 8)
		if err != nil {
			return found, err
		}
		kind, length := binary.BigEndian.Uint32(head), int64(binary.BigEndian.Uint32(head[4:]))
		off += 8
		if kind == qcowExtensionEnd {
			break
		}
		if length > end-off {
			return found, damaged("a header extension of %d bytes at byte %d", length, off)
		}
		if kind == qcowExtensionFormat || kind == qcowExtensionData {
			if length > qcowMaxName {
				return found, damaged("a name of %d bytes at byte %d", length, off)
			}
			b, err := q.tables.at(off, length)
			if err != nil {
				return found, err
			}
			if kind == qcowExtensionFormat {
				found.format = string(b)
			} else {
				found.dataFile = string(b)
			}
		}
		off += (length + 7) / 8 * 8
	}
	return found, nil
}

// useL1 makes a table the one to read by.
func (q *qcow2) useL1(place uint64, length int64) error {
	span := q.spanOfL2()
	if need := (q.bytes + span - 1) / span; length < need {
		return damaged("an L1 table of %d entries, for a disk of %d bytes", length, q.bytes)
	}
	if place%(1<<q.bits) != 0 || place > math.MaxInt64/2 {
		return damaged("an L1 table at byte %d", place)
	}
	q.l1 = int64(place)
	return nil
}

// useSnapshot makes the snapshot of that name, or else of that id, the one to read.
//
//	each: u64 L1 | u32 its entries | u16 length of the id | u16 of the name | 16 times
//	      | u32 state of the machine | u32 length of extra data | extra: u64 | u64 size of the disk
//	      | id | name | padding to 8
func (q *qcow2) useSnapshot(h *qcow2Header, wanted string) error {
	const fixed = 40
	if h.snapshotCount > qcowMaxSnapshots || h.snapshots > math.MaxInt64/2 {
		return damaged("%d snapshots at byte %d", h.snapshotCount, h.snapshots)
	}
	type snapshot struct {
		l1      uint64
		length  int64
		size    uint64
		matches int
	}
	var best snapshot
	off := int64(h.snapshots)
	for range h.snapshotCount {
		b, err := q.tables.at(off, fixed)
		if err != nil {
			return err
		}
		s := snapshot{l1: binary.BigEndian.Uint64(b), length: int64(binary.BigEndian.Uint32(b[8:])), size: uint64(q.bytes)}
		idLength, nameLength := int64(binary.BigEndian.Uint16(b[12:])), int64(binary.BigEndian.Uint16(b[14:]))
		extra := int64(binary.BigEndian.Uint32(b[36:]))
		if idLength > pageSize || nameLength > pageSize || extra > pageSize {
			return damaged("a snapshot at byte %d", off)
		}
		if extra >= 16 {
			if s.size, err = q.tables.u64(off + fixed + 8); err != nil {
				return err
			}
		}
		id, err := q.tables.at(off+fixed+extra, idLength)
		if err != nil {
			return err
		}
		name, err := q.tables.at(off+fixed+extra+idLength, nameLength)
		if err != nil {
			return err
		}
		switch wanted {
		case string(name):
			s.matches = 2
		case string(id):
			s.matches = 1
		}
		if s.matches == 2 && best.matches == 2 {
			return fmt.Errorf("%w: more than one is called %q", ErrNoSnapshot, wanted)
		}
		if s.matches > best.matches {
			best = s
		}
		off = (off + fixed + extra + idLength + nameLength + 7) / 8 * 8
	}
	switch {
	case best.matches == 0:
		return fmt.Errorf("%w: %q", ErrNoSnapshot, wanted)
	case best.size > maxSize || best.length > qcowMaxL1:
		return damaged("a snapshot of %d bytes with %d L1 entries", best.size, best.length)
	}
	q.bytes = int64(best.size)
	return q.useL1(best.l1, best.length)
}

func (q *qcow2) size() int64   { return q.bytes }
func (q *qcow2) sector() int64 { return 512 }

func (q *qcow2) entrySize() int64 {
	if q.extended {
		return 16
	}
	return 8
}

// spanOfL2 is how much of the disk one L2 table tells of, in bytes.
func (q *qcow2) spanOfL2() int64 { return 1 << q.bits / q.entrySize() << q.bits }

// qcow2Entry is what the tables say of a cluster.
type qcow2Entry struct {
	word   uint64
	bitmap uint64
	rest   int64 // bytes from the offset asked for to the end of what this holds for
}

func (q *qcow2) entry(off int64) (e qcow2Entry, err error) {
	span := q.spanOfL2()
	l1, err := q.tables.u64(q.l1 + off/span*8)
	if err != nil {
		return e, err
	}
	l2 := int64(l1 & qcowOffsetMask)
	if l2 == 0 {
		e.rest = span - off%span
		return e, nil
	}
	if l2%(1<<q.bits) != 0 {
		return e, damaged("an L2 table at byte %d", l2)
	}
	at := l2 + off%span>>q.bits*q.entrySize()
	if e.word, err = q.tables.u64(at); err != nil {
		return e, err
	}
	if q.extended {
		if e.bitmap, err = q.tables.u64(at + 8); err != nil {
			return e, err
		}
	}
	e.rest = 1<<q.bits - off%(1<<q.bits)
	return e, nil
}

func (q *qcow2) Map(off, max int64) (mapping.Extent, error) {
	max = min(max, q.bytes-off)
	e, err := q.entry(off)
	if err != nil {
		return mapping.Extent{}, err
	}
	n := min(max, e.rest)
	place := int64(e.word & qcowOffsetMask)
	switch {
	case e.word&qcowIsCompressed != 0:
		return mapping.Extent{Kind: mapping.Computed, Length: n}, nil
	case q.extended:
		return q.mapSubclusters(e, off, n)
	case e.word&qcowIsZero != 0:
		return mapping.Extent{Kind: mapping.Zero, Length: n}, nil
	case place == 0 && !(q.external && e.word&qcowCopied != 0):
		return mapBeneath(q.beneath, off, n)
	}
	return q.data(place, off, n)
}

// data is n bytes at off, in the cluster at place.
func (q *qcow2) data(place, off, n int64) (mapping.Extent, error) {
	if place%(1<<q.bits) != 0 {
		return mapping.Extent{}, damaged("a cluster at byte %d", place)
	}
	return mapping.Extent{Kind: mapping.Data, Length: n, Device: q.file, Offset: place + off%(1<<q.bits)}, nil
}

func (q *qcow2) mapSubclusters(e qcow2Entry, off, n int64) (mapping.Extent, error) {
	present, zero := uint32(e.bitmap), uint32(e.bitmap>>32)
	switch {
	case e.word&qcowIsZero != 0:
		return mapping.Extent{}, damaged("an extended L2 entry with the zero bit")
	case present&zero != 0:
		return mapping.Extent{}, damaged("subclusters that are there and read as zeros: %#x", e.bitmap)
	}
	subBits := q.bits - 5
	sub := off % (1 << q.bits) >> subBits
	same := func(bitmap uint32) int64 { return int64(bits.TrailingZeros32(^(bitmap >> sub))) }
	// The run of subclusters that are as this one is, up to the end of the cluster.
	run, kind := same(present), mapping.Data
	if run == 0 {
		run, kind = same(zero), mapping.Zero
	}
	if run == 0 {
		run, kind = same(^(present | zero)), mapping.Missing
	}
	run = min(run, qcowSubclusters-sub)
	n = min(n, run<<subBits-off%(1<<subBits))
	switch kind {
	case mapping.Zero:
		return mapping.Extent{Kind: mapping.Zero, Length: n}, nil
	case mapping.Data:
		place := int64(e.word & qcowOffsetMask)
		if place == 0 && !q.external {
			return mapping.Extent{}, damaged("subclusters without a cluster")
		}
		return q.data(place, off, n)
	}
	return mapBeneath(q.beneath, off, n)
}

func (q *qcow2) compute(p []byte, off int64) error {
	for len(p) > 0 {
		e, err := q.entry(off)
		if err != nil {
			return err
		}
		n := min(int64(len(p)), e.rest)
		if e.word&qcowIsCompressed == 0 {
			// What is beneath is computed, for all that Map was asked about.
			x, err := q.Map(off, n)
			if err != nil {
				return err
			}
			n = x.Length
			if _, err := mapping.ReadFull(q.beneath, p[:n], off); err != nil {
				return err
			}
		} else {
			cluster, err := q.inflated.get(off>>q.bits, func() ([]byte, error) { return q.packed(e.word) })
			if err != nil {
				return err
			}
			copy(p[:n], cluster[off%(1<<q.bits):])
		}
		p, off = p[n:], off+n
	}
	return nil
}

// packed returns the bytes of a compressed cluster: they begin anywhere and end, at the
// latest, with the last of so many sectors.
func (q *qcow2) packed(word uint64) ([]byte, error) {
	place, n := q.packedAt(word)
	n = min(n, q.tables.dev.Size()-place)
	if n <= 0 {
		return nil, beyond(q.tables.dev, place)
	}
	b := make([]byte, n)
	if _, err := mapping.ReadFull(q.tables.dev, b, place); err != nil {
		return nil, fmt.Errorf("a compressed cluster of %d bytes at byte %d: %w", n, place, err)
	}
	return b, nil
}

// packedAt is where a compressed cluster begins, and how many bytes it has at most.
func (q *qcow2) packedAt(word uint64) (place, n int64) {
	split := 62 - (q.bits - 8)
	word &^= qcowCopied | qcowIsCompressed
	place, sectors := int64(word&(1<<split-1)), int64(word>>split)
	return place, (sectors+1)*512 - place%512
}
