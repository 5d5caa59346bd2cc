package pdata

import (
	"encoding/binary"
	"fmt"
)

const arrayHeaderSize = 24

// ReadArray calls visit for each of the first count elements of the array at root, in order.
// It fails if one of them is missing: an array has no gaps.
//
// An array is a b-tree whose keys count its blocks from 0:
//
//	0 u32 checksum   4 u32 room for entries   8 u32 entries   12 u32 bytes of a value
//	16 u64 own block number   24 values
//
// (docs/format/07-cache.md, section 2)
func ReadArray(blocks *Blocks, root uint64, valueSize int, count uint64, visit func(i uint64, value []byte) error) error {
	tree := Tree{Blocks: blocks, Root: root, ValueSize: 8}
	room := uint64((BlockSize - arrayHeaderSize) / valueSize)
	for i := uint64(0); i < count; {
		number, found, err := tree.Find(i / room)
		if err != nil {
			return err
		}
		if !found {
			return fmt.Errorf("%w: array at block %d: block %d of it is missing", ErrDamaged, root, i/room)
		}
		at := binary.LittleEndian.Uint64(number)
		b, err := blocks.Read(at, Array)
		if err != nil {
			return err
		}
		le := binary.LittleEndian
		entries := uint64(le.Uint32(b[8:]))
		if uint64(le.Uint32(b[4:])) != room || int(le.Uint32(b[12:])) != valueSize || entries > room || entries < min(room, count-i) {
			return fmt.Errorf("%w: array block %d at byte %d: %d entries of %d bytes, room for %d", ErrDamaged, at, at*BlockSize, entries, le.Uint32(b[12:]), le.Uint32(b[4:]))
		}
		for n := range min(room, count-i) {
			if err := visit(i, b[arrayHeaderSize+int(n)*valueSize:][:valueSize]); err != nil {
				return err
			}
			i++
		}
	}
	return nil
}

// ReadBitset is like ReadArray for the bits of a bitset, 64 to an element.
func ReadBitset(blocks *Blocks, root, count uint64, visit func(i uint64, set bool) error) error {
	return ReadArray(blocks, root, 8, count/64+min(count%64, 1), func(i uint64, value []byte) error {
		word := binary.LittleEndian.Uint64(value)
		for bit := range min(64, count-i*64) {
			if err := visit(i*64+bit, word>>bit&1 != 0); err != nil {
				return err
			}
		}
		return nil
	})
}
