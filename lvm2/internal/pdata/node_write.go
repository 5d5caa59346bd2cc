package pdata

import "encoding/binary"

// The functions here change a node that was made in the transaction under way.

func (n *node) setKey(i int, key uint64) {
	binary.LittleEndian.PutUint64(n.b[nodeHeaderSize+i*keySize:], key)
}

func (n *node) setChild(i int, number uint64) { binary.LittleEndian.PutUint64(n.value(i), number) }

func (n *node) child(i int) uint64 { return binary.LittleEndian.Uint64(n.value(i)) }

// childOf is the entry beneath which key is, or would be.
func (n *node) childOf(key uint64) int {
	i := n.search(key)
	if i == n.entries || n.key(i) > key {
		i--
	}
	return max(i, 0)
}

func (n *node) setEntries(entries int) {
	n.entries = entries
	binary.LittleEndian.PutUint32(n.b[16:], uint32(entries))
}

// keys and values are the bytes of entries i to j-1.
func (n *node) keys(i, j int) []byte { return n.b[nodeHeaderSize+i*keySize : nodeHeaderSize+j*keySize] }

func (n *node) values(i, j int) []byte {
	at := nodeHeaderSize + n.room*keySize
	return n.b[at+i*n.valueSize : at+j*n.valueSize]
}

// insert makes room for an entry at i. There must be some.
func (n *node) insert(i int, key uint64, value []byte) {
	n.shift(i, 1)
	n.setKey(i, key)
	copy(n.value(i), value)
}

func (n *node) remove(i int) { n.shift(i+1, -1) }

// shift moves the entries from i on by d places, so that there are d more.
func (n *node) shift(i, d int) {
	copy(n.keys(i+d, n.entries+d), n.keys(i, n.entries))
	copy(n.values(i+d, n.entries+d), n.values(i, n.entries))
	n.setEntries(n.entries + d)
}

// take moves count entries from the end of left to the front of n. If count is negative, as many go from the front
// of n to the end of left.
func (n *node) take(left *node, count int) {
	if count >= 0 {
		n.shift(0, count)
		copy(n.keys(0, count), left.keys(left.entries-count, left.entries))
		copy(n.values(0, count), left.values(left.entries-count, left.entries))
		left.setEntries(left.entries - count)
		return
	}
	count = -count
	left.setEntries(left.entries + count)
	copy(left.keys(left.entries-count, left.entries), n.keys(0, count))
	copy(left.values(left.entries-count, left.entries), n.values(0, count))
	n.shift(count, -count)
}
