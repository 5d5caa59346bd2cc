package pdata

import (
	"bytes"
	"encoding/binary"
)

// treeWriter changes trees. What the disk leads to must stay as it is. So each node on the way to a change is
// replaced by a copy, once in a transaction.
type treeWriter struct {
	tx        *Transaction
	valueSize int
	// refer counts the reference that a value in a leaf is; nil if values are none.
	refer func(value []byte, by int) error
}

// put sets the value of a key. was is the value that it had, nil if none. The caller counts what was and value refer
// to.
func (t treeWriter) put(root, key uint64, value []byte) (newRoot uint64, was []byte, err error) {
	n, right, was, err := t.putBeneath(root, key, value)
	if err != nil || right == nil {
		return numberOf(n), was, err
	}
	top, err := t.tx.newNode(false, 8)
	if err != nil {
		return 0, nil, err
	}
	for i, half := range []*node{n, right} {
		top.insert(i, half.key(0), binary.LittleEndian.AppendUint64(nil, half.number))
	}
	return top.number, was, nil
}

func numberOf(n *node) uint64 {
	if n == nil {
		return 0
	}
	return n.number
}

// putBeneath is put for a node. right is what does not fit in it.
func (t treeWriter) putBeneath(number, key uint64, value []byte) (n, right *node, was []byte, err error) {
	if n, err = t.shadow(number); err != nil {
		return nil, nil, nil, err
	}
	if n.leaf {
		i := n.search(key)
		if i < n.entries && n.key(i) == key {
			was = bytes.Clone(n.value(i))
			copy(n.value(i), value)
			return n, nil, was, nil
		}
		right, err = t.insert(n, i, key, value)
		return n, right, nil, err
	}
	i := n.childOf(key)
	if key < n.key(i) {
		n.setKey(i, key)
	}
	child, beside, was, err := t.putBeneath(n.child(i), key, value)
	if err != nil {
		return nil, nil, nil, err
	}
	n.setChild(i, child.number)
	if beside != nil {
		right, err = t.insert(n, i+1, beside.key(0), binary.LittleEndian.AppendUint64(nil, beside.number))
	}
	return n, right, was, err
}

// insert adds an entry at i. A full node is split; at its end unevenly, as keys are mostly added in order.
func (t treeWriter) insert(n *node, i int, key uint64, value []byte) (right *node, err error) {
	if n.entries < n.room {
		n.insert(i, key, value)
		return nil, nil
	}
	if right, err = t.tx.newNode(n.leaf, n.valueSize); err != nil {
		return nil, err
	}
	moved := n.entries / 2
	if i == n.entries {
		moved = leastIn(n.room)
	}
	right.take(n, moved)
	if i <= n.entries {
		n.insert(i, key, value)
	} else {
		right.insert(i-n.entries, key, value)
	}
	return right, nil
}

// remove takes a key out. was is its value, nil if it was not there.
func (t treeWriter) remove(root, key uint64) (newRoot uint64, was []byte, err error) {
	n, was, err := t.removeBeneath(root, key)
	if err != nil {
		return 0, nil, err
	}
	for !n.leaf && n.entries == 1 {
		only, err := t.shadow(n.child(0))
		if err != nil {
			return 0, nil, err
		}
		if err := t.tx.drop(n); err != nil {
			return 0, nil, err
		}
		n = only
	}
	return n.number, was, nil
}

func (t treeWriter) removeBeneath(number, key uint64) (n *node, was []byte, err error) {
	if n, err = t.shadow(number); err != nil {
		return nil, nil, err
	}
	if n.leaf {
		if i := n.search(key); i < n.entries && n.key(i) == key {
			was = bytes.Clone(n.value(i))
			n.remove(i)
		}
		return n, was, nil
	}
	i := n.childOf(key)
	child, was, err := t.removeBeneath(n.child(i), key)
	if err != nil {
		return nil, nil, err
	}
	n.setChild(i, child.number)
	if child.entries < leastIn(child.room) && n.entries > 1 {
		err = t.fillUp(n, max(i-1, 0))
	}
	return n, was, err
}

// fillUp makes children i and i+1 of n one node, if they fit in one; else it gives each half.
func (t treeWriter) fillUp(n *node, i int) error {
	left, err := t.shadow(n.child(i))
	if err != nil {
		return err
	}
	n.setChild(i, left.number)
	right, err := t.shadow(n.child(i + 1))
	if err != nil {
		return err
	}
	n.setChild(i+1, right.number)
	if left.entries+right.entries <= left.room {
		right.take(left, -right.entries)
		n.remove(i + 1)
		return t.tx.drop(right)
	}
	right.take(left, left.entries-(left.entries+right.entries)/2)
	n.setKey(i+1, right.key(0))
	return nil
}

// shadow is a node of this transaction in place of the one at number: that node if it is one already, or a copy. The
// reference to number moves to the copy. If number has other references left, whatever the node refers to gets one
// more.
func (t treeWriter) shadow(number uint64) (*node, error) {
	if n := t.tx.blocks.fresh[number]; n != nil {
		return n, nil
	}
	old, err := t.tx.blocks.node(number)
	if err != nil {
		return nil, err
	}
	if old.room != roomFor(old.valueSize) || old.leaf && old.valueSize != t.valueSize {
		return nil, old.damaged("room for %d values of %d bytes", old.room, old.valueSize)
	}
	n, err := t.tx.newNode(old.leaf, old.valueSize)
	if err != nil {
		return nil, err
	}
	copy(n.b[nodeHeaderSize:], old.b[nodeHeaderSize:])
	n.setEntries(old.entries)
	left, err := t.tx.Metadata.Add(number, -1)
	if err != nil || left == 0 {
		return n, err
	}
	for i := range n.entries {
		switch {
		case !n.leaf:
			_, err = t.tx.Metadata.Add(n.child(i), 1)
		case t.refer != nil:
			err = t.refer(n.value(i), 1)
		}
		if err != nil {
			return nil, err
		}
	}
	return n, nil
}
