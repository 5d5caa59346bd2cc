package dm

import (
	"bytes"
	"cmp"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"runtime"
	"sync"

	"lvm2fs/mapping"
)

// ErrIntegrity: data do not match their checksum.
var ErrIntegrity = errors.New("integrity checksum mismatch")

// ErrIntegrityMetadata: the metadata of an integrity layer do not make sense.
var ErrIntegrityMetadata = errors.New("damaged integrity metadata")

// IntegrityConfig is what the VG's metadata says of an integrity layer. Sizes are in bytes.
type IntegrityConfig struct {
	Size      int64
	BlockSize int64 // that one checksum covers
	TagSize   int64 // of a stored checksum
	Hash      string
	// Discards: a checksum of 0xF6 bytes marks a discarded block.
	Discards bool
	// Recalculate: LVM2 has asked the kernel to compute the checksums, and has not noted yet that it activated the layer.
	Recalculate bool
	// Mode is how data and checksums are kept together while they are written. Readers go by what is on disk.
	Mode string
}

// Checked is data in place, with a checksum of each block, its tag, in meta:
//
//	meta  | superblock | journal or bitmap                | tag 0 | tag 1 | …
//	      0            4096                               initial
//	data  | block 0 | block 1 | …
//
//	superblock: 0 "integrt\0"  8 u8 version  9 u8 log2 of interleave  10 u16 tag size
//	            12 u32 journal sections  16 u64 data sectors  24 u32 flags
//	            28 u8 log2 of sectors in a block  29 u8 log2 of blocks to a bit
//	            32 u64 recalculated sectors  48 salt
//
// A read checks every block it touches. What the journal still holds is newer than data, and
// is read from there.
// (docs/format/08-integrity.md)
type Checked struct {
	config     IntegrityConfig
	data, meta mapping.Volume
	newHash    func() hash.Hash // nil: crc32c
	writing    integrityWriting

	// mu is held by readers of blocks, and in full by whoever changes blocks in place or what is beneath.
	mu         sync.RWMutex
	superblock []byte
	pending    *pendingBlocks // newer than in place; nil: none
	left       []byte         // while it is written: the bitmap as a crash has left it
	replayed   bool           // the journal holds nothing that is newer than in place

	flags       uint32
	salt        []byte
	saltSum     uint32 // crc32c of salt
	journal     journal
	tags        int64 // byte of meta at which tags begin
	trusted     int64 // bytes of data whose tags are valid
	bitmap      bool  // the bitmap says which regions have no valid tags
	bytesPerBit int64 // of data
	readJournal func() (*journalState, error)
}

const (
	integrityMagic         = "integrt\x00"
	integrityMaxVersion    = 7
	integrityVersionAt     = 8
	integrityFlagsAt       = 24
	integrityBitmapVersion = 3 // the first with a bitmap
	integritySector        = 512
	integritySuperblock    = 8 * integritySector
	integrityJournalMAC    = 1
	integrityRecalculate   = 2
	integrityDirtyBitmap   = 4
	integrityFixedPadding  = 8
	integrityFixedHMAC     = 0x10
	integrityFiller        = 0xf6
)

// Integrity is data, checked against the tags in meta. Bytes that fail the check cannot be read here; a layer above may
// have them elsewhere.
func Integrity(data, meta mapping.Volume, c IntegrityConfig) (mapping.Volume, error) {
	v := &Checked{config: c, data: data, meta: meta}
	switch c.Hash {
	case "crc32c":
	case "md5":
		v.newHash = md5.New
	case "sha1":
		v.newHash = sha1.New
	case "sha256":
		v.newHash = sha256.New
	case "sha512":
		v.newHash = sha512.New
	default:
		return nil, fmt.Errorf("%w: hash %q: %w", ErrIntegrityMetadata, c.Hash, errors.ErrUnsupported)
	}
	if c.Size < 0 || c.Size > data.Size() || c.TagSize <= 0 || c.TagSize > 64 {
		return nil, fmt.Errorf("%w: %d bytes with tags of %d, over %d bytes", ErrIntegrityMetadata, c.Size, c.TagSize, data.Size())
	}
	b := make([]byte, integritySuperblock)
	if _, err := meta.ReadAt(b, 0); err != nil {
		return nil, fmt.Errorf("superblock of the integrity metadata: %w", err)
	}
	if allZero(b) {
		if err := v.neverActivated(); err != nil {
			return nil, err
		}
		return Linear(data, 0, c.Size), nil
	}
	return v, v.decodeSuperblock(b)
}

// neverActivated fails unless a superblock of zeros is one that the kernel has still to write. It writes the
// journal before anything else, so that a commit ID shows that it has been there.
func (v *Checked) neverActivated() error {
	const zeros = "superblock, byte 0: zeros"
	if !v.config.Recalculate {
		return fmt.Errorf("%w: %s, but the VG's metadata say that it has been activated", ErrIntegrityMetadata, zeros)
	}
	j := newJournal(1, v.config.BlockSize/integritySector, v.config.TagSize)
	b := make([]byte, journalEntrySectors*integritySector)
	if _, err := v.meta.ReadAt(b, j.at(0, 0)); err != nil {
		return fmt.Errorf("integrity journal: %w", err)
	}
	for sector := range int64(journalEntrySectors) {
		if _, err := j.round(b[sector*integritySector:], 0, sector); err == nil {
			return fmt.Errorf("%w: %s, but there is a journal at byte %d", ErrIntegrityMetadata, zeros, j.at(0, sector))
		}
	}
	return nil
}

func (v *Checked) decodeSuperblock(b []byte) error {
	le := binary.LittleEndian
	bad := func(at int, format string, args ...any) error {
		return fmt.Errorf("%w: superblock, byte %d: %s", ErrIntegrityMetadata, at, fmt.Sprintf(format, args...))
	}
	sections := le.Uint32(b[12:])
	v.superblock = bytes.Clone(b[:integritySector])
	v.flags = le.Uint32(b[integrityFlagsAt:])
	const known = integrityRecalculate | integrityDirtyBitmap | integrityFixedPadding | integrityFixedHMAC
	switch {
	case string(b[:8]) != integrityMagic:
		return bad(0, "magic %q", b[:8])
	case b[8] == 0 || b[8] > integrityMaxVersion:
		return bad(8, "version %d", b[8])
	case b[9] != 0: // this flag is for tags among the data; the VG says that they are on a device of their own
		return bad(9, "tags interleaved with 2^%d sectors of data", b[9])
	case int64(le.Uint16(b[10:])) != v.config.TagSize:
		return bad(10, "tags of %d bytes, the VG says %d", le.Uint16(b[10:]), v.config.TagSize)
	case sections == 0:
		return bad(12, "no journal sections")
	case v.flags&^known != 0:
		return bad(24, "flags 0x%x", v.flags)
	case b[28] > 3 || integritySector<<b[28] != v.config.BlockSize:
		return bad(28, "blocks of %d sectors, the VG says %d bytes", 1<<b[28], v.config.BlockSize)
	case b[29] > 40:
		return bad(29, "2^%d blocks to a bit", b[29])
	}
	if v.flags&integrityFixedHMAC != 0 {
		v.salt = bytes.Clone(b[48:64])
		v.saltSum = crc32.Checksum(v.salt, castagnoli)
	}
	v.journal = newJournal(int64(sections), v.config.BlockSize/integritySector, v.config.TagSize)
	v.tags = integritySuperblock + v.journal.size()
	blocks := (v.config.Size + v.config.BlockSize - 1) / v.config.BlockSize
	if room := v.meta.Size() - v.tags; room < 0 || blocks > room/v.config.TagSize {
		return bad(12, "%d journal sections leave no room for the tags of %d blocks", sections, blocks)
	}
	// The number of data sectors in the superblock is no limit, because the kernel checks what lies beyond too. After an
	// LV was extended it is the recalculated sectors that end earlier.
	v.trusted = v.config.Size
	if recalculated := le.Uint64(b[32:]); v.flags&integrityRecalculate != 0 && recalculated < uint64(v.trusted/integritySector) {
		v.trusted = int64(recalculated) * integritySector
	}
	v.bitmap = v.flags&integrityDirtyBitmap != 0
	v.bytesPerBit = v.config.BlockSize << b[29]
	v.readJournal = once(func() (*journalState, error) { return v.journal.read(v.meta, v.config.Size) })
	return nil
}

// overlay is what the journal holds that is newer than in place. The caller holds v.mu.
func (v *Checked) overlay() (map[int64]journalEntry, error) {
	if v.bitmap || v.replayed { // what would be the journal is the bitmap, or it is in place
		return nil, nil
	}
	state, err := v.readJournal()
	if err != nil {
		return nil, err
	}
	return state.overlay, nil
}

// Checksummed is of how many bytes of a volume from [Integrity] the checksums have been computed; false for a volume
// that was never activated.
func Checksummed(v mapping.Volume) (bytes int64, ok bool) {
	i, ok := v.(*Checked)
	if !ok {
		return 0, false
	}
	return i.trusted, true
}

func (v *Checked) Size() int64 { return v.config.Size }

// Map calls everything computed that can be read, for only ReadAt checks it.
func (v *Checked) Map(off, max int64) (mapping.Extent, error) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	overlay, err := v.overlay()
	if err != nil {
		return mapping.Extent{}, err
	}
	e, err := v.data.Map(off, min(max, v.Size()-off))
	// The journal may have what is missing.
	if err == nil && (e.Kind != mapping.Missing || len(overlay) > 0) {
		e = mapping.Extent{Kind: mapping.Computed, Length: e.Length}
	}
	return e, err
}

func (v *Checked) ReadAt(p []byte, off int64) (int, error) {
	p, end := mapping.ClipRead("", p, off, v.Size())
	n, err := v.read(p, off)
	return n, cmp.Or(err, end)
}

// read checks whole blocks where they are to be, and others in a buffer.
func (v *Checked) read(p []byte, off int64) (int, error) {
	s := scratches.Get().(*scratch)
	defer scratches.Put(s)
	done := 0
	for done < len(p) {
		at, rest := off+int64(done), p[done:]
		start := at / v.config.BlockSize * v.config.BlockSize
		if whole := min(v.wholeBlocks(at, len(rest)), pieceSize); start == at && whole > 0 {
			n, err := v.readBlocks(s, rest[:whole], at)
			if done += n; err != nil {
				return done, err
			}
			continue
		}
		block := grown(&s.block, min(v.config.BlockSize, v.Size()-start))
		n, err := v.readBlocks(s, block, start)
		if inside := int(at - start); n > inside {
			done += copy(rest, block[inside:n])
		}
		if err != nil {
			return done, err
		}
	}
	return done, nil
}

// wholeBlocks is how many of n bytes at byte at, where a block begins, are whole blocks. The last of the volume may
// be short.
func (v *Checked) wholeBlocks(at int64, n int) int {
	if at+int64(n) == v.Size() {
		return n
	}
	return n - n%int(v.config.BlockSize)
}

// pieceSize bounds what is read and checked at a time, in bytes.
const pieceSize = 1 << 20

// scratch are the buffers of one read.
type scratch struct{ block, tags, bits []byte }

var scratches = sync.Pool{New: func() any { return new(scratch) }}

// grown is a buffer of n bytes with any contents.
func grown(b *[]byte, n int64) []byte {
	if int64(cap(*b)) < n {
		*b = make([]byte, n)
	}
	return (*b)[:n]
}

// readBlocks reads the blocks from byte start on into data, and checks them. It returns how many bytes are good
// before the first block that is not.
func (v *Checked) readBlocks(s *scratch, data []byte, start int64) (int, error) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	overlay, err := v.overlay()
	if err != nil {
		return 0, err
	}
	r := blockRun{v: v, overlay: overlay, start: start, data: data}
	r.present, r.readErr = v.data.ReadAt(data, start)
	first, count := start/v.config.BlockSize, (int64(len(data))+v.config.BlockSize-1)/v.config.BlockSize
	r.tags = grown(&s.tags, count*v.config.TagSize)
	if _, err := v.meta.ReadAt(r.tags, v.tags+first*v.config.TagSize); err != nil {
		return 0, fmt.Errorf("integrity tags: %w", err)
	}
	if v.bitmap && start < v.trusted {
		if err := r.readBits(s); err != nil {
			return 0, err
		}
	}
	return r.checkAll(int(count))
}

// blockRun is a run of blocks that have been read, with what tells whether they are good.
type blockRun struct {
	v       *Checked
	overlay map[int64]journalEntry
	start   int64 // of the first block, in bytes
	data    []byte
	present int   // bytes of data that could be read in place
	readErr error // why not all
	tags    []byte
	bits    []byte // of the bitmap
	bit     int64  // that bits begin with
}

// checkShare is how many bytes are worth another goroutine.
const checkShare = 128 << 10

// checkAll checks count blocks and returns what check does of all. It does so on all processors for a hash that takes
// longer than the reading; crc32c does not.
func (r *blockRun) checkAll(count int) (int, error) {
	shares := min(runtime.GOMAXPROCS(0), len(r.data)/checkShare)
	if r.v.newHash == nil || shares < 2 {
		return r.check(0, count)
	}
	goods, errs := make([]int, shares), make([]error, shares)
	var wg sync.WaitGroup
	for i := range shares {
		wg.Go(func() { goods[i], errs[i] = r.check(count*i/shares, count*(i+1)/shares) })
	}
	wg.Wait()
	for i, err := range errs {
		if err != nil {
			return goods[i], err
		}
	}
	return len(r.data), nil
}

// check checks the blocks from one number up to another. It returns the bytes of the run before the first that is
// not good.
func (r *blockRun) check(from, to int) (int, error) {
	sector := make([]byte, 8) // it is the same for all blocks
	for i := from; i < to; i++ {
		if err := r.checkBlock(i, sector); err != nil {
			return i * int(r.v.config.BlockSize), err
		}
	}
	return len(r.data), nil
}

func (r *blockRun) checkBlock(i int, sector []byte) (err error) {
	size, tagSize := int(r.v.config.BlockSize), int(r.v.config.TagSize)
	end := min((i+1)*size, len(r.data))
	block, tag := r.data[i*size:end], r.tags[i*tagSize:(i+1)*tagSize]
	at := r.start + int64(i*size)
	if r.v.pending.read(block, at/r.v.config.BlockSize) {
		return nil
	}
	if e, ok := r.inJournal(at); ok {
		if tag, err = r.v.journal.block(r.v.meta, e, block); err != nil {
			return err
		}
	} else {
		if r.present < end {
			return r.readErr
		}
		if trusted, err := r.trusts(at); err != nil || !trusted {
			return err
		}
	}
	binary.LittleEndian.PutUint64(sector, uint64(at/integritySector))
	if !r.v.matches(tag, sector, block) {
		return fmt.Errorf("%w: block at byte %d", ErrIntegrity, at)
	}
	return nil
}

func (r *blockRun) inJournal(at int64) (journalEntry, bool) {
	if len(r.overlay) == 0 {
		return journalEntry{}, false
	}
	e, ok := r.overlay[at/r.v.config.BlockSize]
	return e, ok
}

// readBits reads the part of the bitmap that tells of the run. What lies beyond the bitmap is not in bits.
func (r *blockRun) readBits(s *scratch) error {
	v := r.v
	first, end := r.start/v.bytesPerBit/8, (r.start+int64(len(r.data))-1)/v.bytesPerBit/8+1
	r.bit = first * 8
	r.bits = grown(&s.bits, max(0, min(end, v.tags-integritySuperblock)-first))
	if len(r.bits) == 0 {
		return nil
	}
	if v.left != nil {
		clear(r.bits[copy(r.bits, v.left[min(first, int64(len(v.left))):]):])
		return nil
	}
	if _, err := v.meta.ReadAt(r.bits, integritySuperblock+first); err != nil {
		return fmt.Errorf("integrity bitmap: %w", err)
	}
	return nil
}

// trusts says whether the tag of the block at byte at is known to be valid.
func (r *blockRun) trusts(at int64) (bool, error) {
	if at >= r.v.trusted {
		return false, nil
	}
	if !r.v.bitmap {
		return true, nil
	}
	bit := at/r.v.bytesPerBit - r.bit
	if bit/8 >= int64(len(r.bits)) {
		return false, fmt.Errorf("%w: bit %d is beyond the bitmap", ErrIntegrityMetadata, r.bit+bit)
	}
	return r.bits[bit/8]>>(bit%8)&1 == 0, nil
}

// matches says whether tag is that of a block.
func (v *Checked) matches(tag, sector, block []byte) bool {
	var store [sha512.Size]byte
	return v.isTag(tag, v.appendSum(store[:0], sector, block))
}

// appendSum appends the checksum of the salt, the number of a block's sector and its bytes.
func (v *Checked) appendSum(b, sector, block []byte) []byte {
	if v.newHash == nil {
		crc := crc32.Update(crc32.Update(v.saltSum, castagnoli, sector), castagnoli, block)
		return binary.LittleEndian.AppendUint32(b, crc)
	}
	h := v.newHash()
	h.Write(v.salt)
	h.Write(sector)
	h.Write(block)
	return h.Sum(b)
}

// appendTag appends the tag of a block: of a checksum that is shorter the rest is zeros; of one that is longer it has the
// first bytes.
func (v *Checked) appendTag(b, sector, block []byte) []byte {
	start, n := len(b), int(v.config.TagSize)
	b = v.appendSum(b, sector, block)
	if len(b) < start+n {
		b = append(b, make([]byte, start+n-len(b))...)
	}
	return b[:start+n]
}

// sectorOf is the number of the sector at byte at, as checksums have it.
func (v *Checked) sectorOf(at int64) []byte {
	return binary.LittleEndian.AppendUint64(nil, uint64(at/integritySector))
}

func (v *Checked) isTag(tag, sum []byte) bool {
	n := min(len(tag), len(sum))
	if bytes.Equal(tag[:n], sum[:n]) && (n == len(tag) || allZero(tag[n:])) {
		return true
	}
	return v.config.Discards && bytes.Count(tag, []byte{integrityFiller}) == len(tag)
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)
