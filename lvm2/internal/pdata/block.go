// Package pdata reads the structures that the kernel's thin and cache targets keep on their
// metadata devices: blocks with checksums, and b-trees of them. It reads what it is
// asked for and no more, through a bounded cache, and trusts no byte.
// (docs/format/06-thin.md, sections 1 and 3)
package pdata

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"lvm2fs/internal/lru"
)

// BlockSize of every metadata block, in bytes.
const BlockSize = 4096

// ErrDamaged is wrapped by the error for a block that is not what it should be.
var ErrDamaged = errors.New("damaged metadata block")

// Kind of a block. Blocks carry no tag: the kind is part of the checksum.
type Kind struct {
	name     string
	salt     uint32
	numberAt int // byte at which the block's own number is
}

var (
	ThinSuperblock  = Kind{"thin superblock", 160774, 8}
	Node            = Kind{"b-tree node", 121107, 8}
	Bitmap          = Kind{"space map bitmap", 240779, 8}
	SpaceMapIndex   = Kind{"space map index", 160478, 8}
	Array           = Kind{"array block", 595846735, 16}
	CacheSuperblock = Kind{"cache superblock", 9031977, 8}
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Check says whether b, which is block number of its device, is of the kind.
func (k Kind) Check(b []byte, number uint64) error {
	stored := binary.LittleEndian.Uint32(b)
	if sum := k.sum(b); sum != stored {
		return fmt.Errorf("%w: %s %d at byte %d: checksum 0x%08x stored, 0x%08x computed", ErrDamaged, k.name, number, number*BlockSize, stored, sum)
	}
	if own := binary.LittleEndian.Uint64(b[k.numberAt:]); own != number {
		return fmt.Errorf("%w: %s %d at byte %d: says that it is block %d", ErrDamaged, k.name, number, number*BlockSize, own)
	}
	return nil
}

// Seal sets the checksum of b.
func (k Kind) Seal(b []byte) { binary.LittleEndian.PutUint32(b, k.sum(b)) }

func (k Kind) sum(b []byte) uint32 { return ^crc32.Checksum(b[4:], castagnoli) ^ k.salt }

// cachedBlocks bounds the memory of a Blocks, to 4 MiB.
const cachedBlocks = 1024

// Blocks are the blocks of a metadata device. It is safe for concurrent use, but for that of a [Transaction].
type Blocks struct {
	r     io.ReaderAt
	count uint64
	nodes *lru.Cache[uint64, *node]
	fresh map[uint64]*node // of a [Transaction]; they may not be on the device yet
}

// NewBlocks is the blocks of r, which has size bytes.
func NewBlocks(r io.ReaderAt, size int64) *Blocks {
	return &Blocks{r: r, count: uint64(size / BlockSize), nodes: lru.New[uint64, *node](cachedBlocks)}
}

// Forget has all be read anew. Nobody may read meanwhile.
func (s *Blocks) Forget() { s.nodes = lru.New[uint64, *node](cachedBlocks) }

// Count is the number of blocks.
func (s *Blocks) Count() uint64 { return s.count }

// Read reads a block of the kind. It fails with ErrDamaged or the error of the device.
func (s *Blocks) Read(number uint64, kind Kind) ([]byte, error) {
	if number >= s.count {
		return nil, fmt.Errorf("%w: %s %d: the device has %d blocks", ErrDamaged, kind.name, number, s.count)
	}
	b := make([]byte, BlockSize)
	if _, err := s.r.ReadAt(b, int64(number)*BlockSize); err != nil {
		return nil, fmt.Errorf("%s %d at byte %d: %w", kind.name, number, number*BlockSize, err)
	}
	return b, kind.Check(b, number)
}

// node reads a b-tree node, from the cache where it is there.
func (s *Blocks) node(number uint64) (*node, error) {
	if n := s.fresh[number]; n != nil {
		return n, nil
	}
	return s.nodes.Get(number, func() (*node, error) {
		b, err := s.Read(number, Node)
		if err != nil {
			return nil, err
		}
		return decodeNode(b, number)
	})
}

// formattedBlocks bounds the work of Unformatted. Whoever formats a device uses its first blocks.
const formattedBlocks = 256

// Unformatted fails with ErrDamaged if one of the first blocks behind the superblock is of a kind that is kept here.
// Then a superblock of zeros is not that of a device still to be formatted. The blocks may be left over from an
// earlier use of the place; nothing tells these apart.
func (s *Blocks) Unformatted() error {
	b := make([]byte, BlockSize)
	for number := uint64(1); number < min(s.count, formattedBlocks); number++ {
		if _, err := s.r.ReadAt(b, int64(number)*BlockSize); err != nil {
			return fmt.Errorf("metadata block %d at byte %d: %w", number, number*BlockSize, err)
		}
		for _, kind := range []Kind{Node, Bitmap, SpaceMapIndex, Array} {
			if kind.Check(b, number) == nil {
				return fmt.Errorf("%w: the superblock is zeros, but there is a %s at byte %d", ErrDamaged, kind.name, number*BlockSize)
			}
		}
	}
	return nil
}
