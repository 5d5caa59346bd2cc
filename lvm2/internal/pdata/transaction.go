package pdata

import (
	"encoding/binary"
	"fmt"
	"io"
	"maps"
	"slices"
)

// Transaction is a set of changes to the metadata of a thin pool. Blocks that the disk leads to are never changed.
// Changes go to blocks that were free, of which nobody knows before the superblock names them.
//
// Nobody may read trees through the same Blocks while a method runs, except Write.
// (docs/format/06-thin.md, section 10)
type Transaction struct {
	Metadata, Data *SpaceMapWriter

	blocks  *Blocks
	written map[uint64]block // by number
	changes int              // of trees
}

type block struct {
	kind Kind
	b    []byte
}

// Begin is a transaction without changes, of a pool with these space maps.
func Begin(metadata, data SpaceMap) (*Transaction, error) {
	tx := &Transaction{blocks: metadata.Blocks, written: map[uint64]block{}}
	tx.blocks.fresh = map[uint64]*node{}
	var err error
	if tx.Metadata, err = newSpaceMapWriter(tx, metadata); err != nil {
		return nil, err
	}
	tx.Data, err = newSpaceMapWriter(tx, data)
	return tx, err
}

// Put sets the value of a key in a tree. Its values are references that refer counts. was is the former value, nil
// for none; it has still to be counted as gone.
func (tx *Transaction) Put(tree *Tree, refer func(value []byte, by int) error, key uint64, value []byte) (was []byte, err error) {
	tx.changes++
	tree.Root, was, err = treeWriter{tx, tree.ValueSize, refer}.put(tree.Root, key, value)
	return was, err
}

// Remove is like Put, and takes the key out.
func (tx *Transaction) Remove(tree *Tree, refer func(value []byte, by int) error, key uint64) (was []byte, err error) {
	tx.changes++
	tree.Root, was, err = treeWriter{tx, tree.ValueSize, refer}.remove(tree.Root, key)
	return was, err
}

// Pending says whether anything has been changed.
func (tx *Transaction) Pending() bool { return tx.changes > 0 || len(tx.Data.changed) > 0 }

// maxWritten bounds the memory of a transaction, in blocks of metadata: 16 MiB.
const maxWritten = 4096

// Large says that it is time to commit.
func (tx *Transaction) Large() bool {
	return len(tx.written) > maxWritten || len(tx.Data.changed) > 16*maxWritten
}

// changeNodes is the most nodes that one change takes: a path in a tree, each node of which may be split, or joined
// with its neighbour.
const changeNodes = 32

// Room says whether enough blocks are free for one more change and for the commit. Then neither fails for the lack
// of them. devices is the number of devices whose trees have changed; spare blocks are to be left over.
func (tx *Transaction) Room(devices int, spare uint64) bool {
	// The details of a device and its entry in level 1 have a path each.
	need := changeNodes * (1 + uint64(devices))
	return tx.Metadata.available >= need+tx.Data.mostToStore()+tx.Metadata.mostToStore()+spare
}

// newNode is an empty node in a block that was free.
func (tx *Transaction) newNode(leaf bool, valueSize int) (*node, error) {
	number, b, err := tx.take(Node)
	if err != nil {
		return nil, err
	}
	n := &node{number: number, leaf: leaf, room: roomFor(valueSize), valueSize: valueSize, b: b}
	le := binary.LittleEndian
	le.PutUint32(b[4:], flagInternal)
	if leaf {
		le.PutUint32(b[4:], flagLeaf)
	}
	le.PutUint32(b[20:], uint32(n.room))
	le.PutUint32(b[24:], uint32(valueSize))
	tx.blocks.fresh[number] = n
	return n, nil
}

// take is a block that was free, with its number.
func (tx *Transaction) take(kind Kind) (uint64, []byte, error) {
	number, _, err := tx.Metadata.Allocate(1)
	if err != nil {
		return 0, nil, fmt.Errorf("metadata: %w", err)
	}
	b := make([]byte, BlockSize)
	binary.LittleEndian.PutUint64(b[kind.numberAt:], number)
	tx.written[number] = block{kind, b}
	return number, b, nil
}

// replace is a block in place of an old one.
func (tx *Transaction) replace(old uint64, kind Kind) (uint64, []byte, error) {
	number, b, err := tx.take(kind)
	if err == nil {
		_, err = tx.Metadata.Add(old, -1)
	}
	return number, b, err
}

// drop is for a node of this transaction that nothing leads to any more.
func (tx *Transaction) drop(n *node) error {
	delete(tx.written, n.number)
	delete(tx.blocks.fresh, n.number)
	_, err := tx.Metadata.Add(n.number, -1)
	return err
}

// Finish brings the space maps up to date, and gives their roots. Then comes Write.
func (tx *Transaction) Finish(dataRoot, metadataRoot []byte) error {
	if err := tx.Data.store(); err != nil {
		return err
	}
	if err := tx.Data.storeIndex(); err != nil {
		return err
	}
	m := tx.Metadata
	number, b, err := tx.replace(m.now.bitmapRoot, SpaceMapIndex)
	if err != nil {
		return err
	}
	if err := m.store(); err != nil {
		return err
	}
	old, err := tx.blocks.Read(m.now.bitmapRoot, SpaceMapIndex)
	if err != nil {
		return err
	}
	copy(b[bitmapHeaderSize:], old[bitmapHeaderSize:])
	for i, e := range m.index {
		e.encode(b[bitmapHeaderSize+i*indexEntrySize:])
	}
	m.now.bitmapRoot = number
	tx.Data.now.encode(dataRoot)
	m.now.encode(metadataRoot)
	for _, written := range tx.written {
		written.kind.Seal(written.b)
	}
	return nil
}

// maxWrite bounds one write, in blocks.
const maxWrite = 256

// Write writes the blocks of the transaction, all of which were free.
func (tx *Transaction) Write(w io.WriterAt) error {
	var run []byte
	numbers := slices.Sorted(maps.Keys(tx.written))
	for i, number := range numbers {
		run = append(run, tx.written[number].b...)
		if i+1 < len(numbers) && numbers[i+1] == number+1 && len(run) < maxWrite*BlockSize {
			continue
		}
		if _, err := w.WriteAt(run, int64(number+1)*BlockSize-int64(len(run))); err != nil {
			return err
		}
		run = run[:0]
	}
	return nil
}

// Committed is for when the disk leads to what was written. It gives the data blocks that are free since.
func (tx *Transaction) Committed() (freed []uint64, err error) {
	if freed, err = tx.Data.committed(); err != nil {
		return nil, err
	}
	if _, err := tx.Metadata.committed(); err != nil {
		return nil, err
	}
	for number, n := range tx.blocks.fresh {
		tx.blocks.nodes.Put(number, n)
	}
	tx.clear()
	return freed, nil
}

func (tx *Transaction) clear() {
	tx.changes = 0
	tx.written = map[uint64]block{}
	tx.blocks.fresh = map[uint64]*node{}
}

// End forgets all changes. The transaction is of no use any more.
func (tx *Transaction) End() { tx.clear() }
