package vdisk

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"

	"lvm2fs/mapping"
)

// qcow2 is written where a cluster is used once, and else at the end of the file: a cluster that is shared with a
// snapshot, compressed, or not there, is written to a new one. Counts come before what they count:
//
//	stage 0  data, counts, new tables of any kind, to which nothing leads yet
//	stage 1  the table of counts, or the header with the place of a new one
//	stage 2  entries of L1 and L2
//	then     counts of what is no longer used
//
// A power cut costs clusters that are counted and not used, which qemu-img check calls leaks.
const (
	qcowStageNew = iota
	qcowStageCounts
	qcowStageEntries
)

const (
	qcowCounts        = 48 // u64, bytes: the table of counts
	qcowCountClusters = 56 // u32, its length
	qcowAutoclear     = 88 // u64
	qcowCountOrder    = 96 // u32, the logarithm of the bits of a count
	qcowMaxCountOrder = 6
	qcowHasBitmaps    = 1 << 0 // of autoclear: extensions tell what was changed since
	qcowMaxCountTable = 64 << 20
	qcowMaxSkipped    = 1 << 20 // clusters behind the end of the file
	qcowMaxUncounted  = 1 << 26 // clusters behind the last that is counted, on a device
)

// readOnly is why the image is not to be written.
func (q *qcow2) readOnly() error {
	switch {
	case q.ofSnapshot:
		return unsupported("writing to a snapshot inside of a qcow2 image")
	case q.head.incompatible&qcowDirty != 0:
		return unsupported("writing to a qcow2 image that was not closed properly (dirty); qemu-img check -r all mends it")
	case q.external:
		return unsupported("writing to a qcow2 image whose data are in another file")
	case q.extended:
		return unsupported("writing to a qcow2 image with extended L2 entries")
	case q.head.autoclear&qcowHasBitmaps != 0:
		return unsupported("writing to a qcow2 image with dirty bitmaps, which would be wrong afterwards; qemu-img bitmap --remove removes them")
	case q.head.countOrder > qcowMaxCountOrder:
		return damaged("reference counts of 2^%d bits", q.head.countOrder)
	case q.counts%(1<<q.bits) != 0 || q.counts <= 0 || q.counts > maxSize || q.countClusters<<q.bits > qcowMaxCountTable || q.countClusters == 0:
		return damaged("a table of reference counts in %d clusters at byte %d", q.countClusters, q.counts)
	}
	return nil
}

func (q *qcow2) files() []mapping.Device { return []mapping.Device{q.tables.dev} }
func (q *qcow2) finish() error           { return nil }
func (q *qcow2) pending() int            { return len(q.tables.changed) + len(q.unused) }

func (q *qcow2) clusterSize() int64 { return 1 << q.bits }

// start finds the end of the file.
func (q *qcow2) start() error {
	q.tables.forget()
	q.inflated.clusters.Clear()
	q.unused = map[int64]uint64{}
	now := make([]byte, len(q.opened))
	if _, err := mapping.ReadFull(q.tables.dev, now, 0); err != nil {
		return err
	}
	if !bytes.Equal(now, q.opened) {
		return ErrChanged
	}
	q.tables.end = roundUp(q.tables.dev.Size(), q.clusterSize())
	if !q.tables.grows() {
		var err error
		q.tables.end, err = q.lastCounted()
		return err
	}
	return nil
}

// lastCounted is the end of the last cluster that is counted.
func (q *qcow2) lastCounted() (int64, error) {
	looked := 0
	for i := q.countEntries() - 1; i >= 0; i-- {
		block, err := q.tables.u64(q.counts + i*8)
		if err != nil {
			return 0, err
		}
		if block&qcowOffsetMask == 0 {
			continue
		}
		for c := (i+1)*q.perBlock() - 1; c >= i*q.perBlock(); c-- {
			if n, err := q.count(c); n > 0 || err != nil {
				return (c + 1) << q.bits, err
			}
			if looked++; looked > qcowMaxUncounted {
				return 0, damaged("no cluster is counted for long")
			}
		}
	}
	return 0, damaged("no cluster is counted")
}

// begin takes back what the image says of itself that is no longer known to hold once it is written.
func (q *qcow2) begin() error {
	if q.head.autoclear == 0 {
		return nil
	}
	head := bytes.Clone(q.opened)
	clear(head[qcowAutoclear:][:8])
	if err := q.tables.write(head[qcowAutoclear:][:8], qcowAutoclear); err != nil {
		return err
	}
	if err := q.tables.sync(); err != nil {
		return err
	}
	q.tables.pages.Delete(0)
	q.opened, q.head.autoclear = head, 0
	return nil
}

// inPlace wants a cluster that nothing else uses, by its mark and by its count.
func (q *qcow2) inPlace(off, max int64) (mapping.Extent, bool, error) {
	e, err := q.entry(off)
	place := int64(e.word & qcowOffsetMask)
	if err != nil || e.word&(qcowIsCompressed|qcowIsZero) != 0 || e.word&qcowCopied == 0 || place == 0 {
		return mapping.Extent{}, false, err
	}
	if err := q.usedOnce(place); err != nil {
		return mapping.Extent{}, false, err
	}
	return inOwnFile(q, q.file, off, min(max, e.rest))
}

// usedOnce fails if the cluster at place, which is marked as used once, is not counted so.
func (q *qcow2) usedOnce(place int64) error {
	n, err := q.count(place >> q.bits)
	if err == nil && n != 1 {
		err = damaged("the cluster at byte %d is marked as used once, and its reference count is %d; qemu-img check -r all mends it", place, n)
	}
	return err
}

// assign writes bytes of one cluster to a new one.
func (q *qcow2) assign(p []byte, off int64) (int64, error) {
	in := off % q.clusterSize()
	n := min(int64(len(p)), q.clusterSize()-in)
	at, old, err := q.entryFor(off)
	if err != nil {
		return 0, err
	}
	place, zeros, kept, err := q.placeFor(old)
	if err != nil {
		return 0, err
	}
	if err := fill(q, q.tables, place, off-in, q.clusterSize(), p[:n], off, zeros); err != nil {
		return 0, err
	}
	if !kept {
		if err := q.drop(old); err != nil {
			return 0, err
		}
	}
	return n, q.tables.putU64(at, uint64(place)|qcowCopied, qcowStageEntries)
}

// placeFor is a cluster for what an entry leads to: the one that it keeps for zeros, if that is used once, or a new one.
func (q *qcow2) placeFor(old uint64) (place int64, zeros, kept bool, err error) {
	place = int64(old & qcowOffsetMask)
	if old&qcowIsCompressed == 0 && old&qcowIsZero != 0 && old&qcowCopied != 0 && place != 0 && place%q.clusterSize() == 0 && place+q.clusterSize() <= q.tables.dev.Size() {
		return place, false, true, q.usedOnce(place)
	}
	place, zeros, err = q.newCluster()
	return place, zeros, false, err
}

// unmap makes a whole cluster read as zeros.
func (q *qcow2) unmap(off, n int64) (int64, error) {
	n = min(n, q.clusterSize(), q.bytes-off)
	if off%q.clusterSize() != 0 || n < min(q.clusterSize(), q.bytes-off) || q.head.version < 3 && q.beneath != nil {
		return 0, nil
	}
	at, old, err := q.entryFor(off)
	if err != nil {
		return 0, err
	}
	if err := q.drop(old); err != nil {
		return 0, err
	}
	zero := uint64(0)
	if q.head.version >= 3 {
		zero = qcowIsZero
	}
	return n, q.tables.putU64(at, zero, qcowStageEntries)
}

// entryFor is the L2 entry for a byte of the disk, and its place.
func (q *qcow2) entryFor(off int64) (place int64, entry uint64, err error) {
	if place, err = q.entryPlace(off); err != nil {
		return 0, 0, err
	}
	entry, err = q.tables.u64(place)
	return place, entry, err
}

// entryPlace is where the L2 entry for a byte of the disk is, in a table that nothing else uses: a new one if need be.
func (q *qcow2) entryPlace(off int64) (int64, error) {
	span := q.spanOfL2()
	at := q.l1 + off/span*8
	word, err := q.tables.u64(at)
	if err != nil {
		return 0, err
	}
	in := off % span >> q.bits * q.entrySize()
	old := int64(word & qcowOffsetMask)
	if old%q.clusterSize() != 0 {
		return 0, damaged("an L2 table at byte %d", old)
	}
	if old != 0 && word&qcowCopied != 0 {
		return old + in, q.usedOnce(old)
	}
	place, _, err := q.newCluster()
	if err != nil {
		return 0, err
	}
	if err := q.copyTable(place, old, q.clusterSize()); err != nil {
		return 0, err
	}
	if old != 0 {
		if err := q.uses(old>>q.bits, 1); err != nil {
			return 0, err
		}
	}
	return place + in, q.tables.putU64(at, uint64(place)|qcowCopied, qcowStageEntries)
}

// copyTable has a new table of n bytes hold what another one does, or zeros if that is at 0.
func (q *qcow2) copyTable(place, old, n int64) error {
	for at := int64(0); at < n; at += sectorSize {
		b := make([]byte, sectorSize)
		if old != 0 {
			var err error
			if b, err = q.tables.at(old+at, sectorSize); err != nil {
				return err
			}
		}
		if err := q.tables.put(place+at, b, qcowStageNew); err != nil {
			return err
		}
	}
	return nil
}

// drop notes that what an entry of L2 leads to is used once less.
func (q *qcow2) drop(word uint64) error {
	place, n := int64(word&qcowOffsetMask), q.clusterSize()
	if word&qcowIsCompressed != 0 {
		place, n = q.packedAt(word)
	} else if place == 0 {
		return nil
	}
	return q.uses(place>>q.bits, (place+n-1)>>q.bits-place>>q.bits+1)
}

// uses notes that n clusters are used once less, from the next commit on.
func (q *qcow2) uses(first, n int64) error {
	for c := first; c < first+n; c++ {
		now, err := q.count(c)
		if err != nil {
			return err
		}
		if now <= q.unused[c] {
			return damaged("the cluster at byte %d is used, and its reference count is %d; qemu-img check -r all mends it", c<<q.bits, now)
		}
	}
	for c := first; c < first+n; c++ {
		q.unused[c]++
	}
	return nil
}

// commit counts what is no longer used once nothing leads to it any more.
func (q *qcow2) commit() error {
	if err := q.tables.commit(); err != nil || len(q.unused) == 0 {
		return err
	}
	for c, less := range q.unused {
		n, err := q.count(c)
		if err != nil {
			return err
		}
		if err := q.setCount(c, n-less); err != nil {
			return err
		}
	}
	clear(q.unused)
	return q.tables.commit()
}

// room makes room for clusters at the end of the file. zeros says that the file has zeros there.
func (q *qcow2) room(n int64) (place int64, zeros bool, err error) {
	skipped := 0
	// What is counted there was lost by a power cut, or by who made the file shorter: it may be used.
	for c := q.tables.end >> q.bits; c < q.tables.end>>q.bits+n; c++ {
		used, err := q.count(c)
		if err != nil {
			return 0, false, err
		}
		if used == 0 {
			continue
		}
		if skipped++; skipped > qcowMaxSkipped {
			return 0, false, damaged("too many clusters are counted that the file, of %d bytes, does not have", q.tables.dev.Size())
		}
		q.tables.end = (c + 1) << q.bits
	}
	return q.tables.grow(n<<q.bits, q.clusterSize(), 0)
}

// newCluster gives a cluster at the end of the file, counted once.
func (q *qcow2) newCluster() (place int64, zeros bool, err error) {
	if place, zeros, err = q.room(1); err != nil {
		return 0, false, err
	}
	return place, zeros, q.countOnce(place >> q.bits)
}

// countOnce makes the count of a new cluster 1. There may have to be a new block of counts first, and for that a new table of blocks.
func (q *qcow2) countOnce(c int64) error {
	i := c / q.perBlock()
	if i >= q.countEntries() {
		if err := q.growCounts(i); err != nil {
			return err
		}
	}
	at := q.counts + i*8
	block, err := q.tables.u64(at)
	if err != nil {
		return err
	}
	if block&qcowOffsetMask == 0 {
		place, _, err := q.room(1)
		if err != nil {
			return err
		}
		if err := q.copyTable(place, 0, q.clusterSize()); err != nil {
			return err
		}
		if err := q.tables.putU64(at, uint64(place), qcowStageCounts); err != nil {
			return err
		}
		// It counts itself, or another new one does.
		if err := q.countOnce(place >> q.bits); err != nil {
			return err
		}
	}
	return q.setCount(c, 1)
}

// growCounts makes a table of blocks of counts that has an entry i, and some more.
func (q *qcow2) growCounts(i int64) error {
	old, oldClusters := q.counts, q.countClusters
	clusters := max(oldClusters+oldClusters/2+1, (i*8+8)/q.clusterSize()+2)
	if clusters<<q.bits > qcowMaxCountTable {
		return fmt.Errorf("a table of reference counts of %d bytes: %w", clusters<<q.bits, ErrNoSpace)
	}
	place, _, err := q.room(clusters)
	if err != nil {
		return err
	}
	if err := q.copyTable(place, old, oldClusters<<q.bits); err != nil {
		return err
	}
	if err := q.copyTable(place+oldClusters<<q.bits, 0, (clusters-oldClusters)<<q.bits); err != nil {
		return err
	}
	head := bytes.Clone(q.opened)
	binary.BigEndian.PutUint64(head[qcowCounts:], uint64(place))
	binary.BigEndian.PutUint32(head[qcowCountClusters:], uint32(clusters))
	if err := q.tables.put(qcowCounts, head[qcowCounts:qcowCountClusters+4], qcowStageCounts); err != nil {
		return err
	}
	q.opened, q.counts, q.countClusters = head, place, clusters
	for c := place >> q.bits; c < place>>q.bits+clusters; c++ {
		if err := q.countOnce(c); err != nil {
			return err
		}
	}
	return q.uses(old>>q.bits, oldClusters)
}

// countBytes is how many bytes hold a count.
func (q *qcow2) countBytes() int64 { return max(1, int64(1)<<q.head.countOrder/8) }

// countEntries is how many blocks of counts there can be.
func (q *qcow2) countEntries() int64 { return q.countClusters << q.bits / 8 }

// perBlock is how many counts a block has.
func (q *qcow2) perBlock() int64 { return q.clusterSize() * 8 >> q.head.countOrder }

// countPlace is where the count of a cluster is: its first byte, and its first bit there if it is shorter than a byte. 0: nowhere.
func (q *qcow2) countPlace(c int64) (at int64, bit uint, err error) {
	i := c / q.perBlock()
	if i >= q.countEntries() {
		return 0, 0, nil
	}
	word, err := q.tables.u64(q.counts + i*8)
	block := int64(word & qcowOffsetMask)
	if err != nil || block == 0 {
		return 0, 0, err
	}
	if block%q.clusterSize() != 0 || block > math.MaxInt64/2 {
		return 0, 0, damaged("a block of reference counts at byte %d", block)
	}
	bits := c % q.perBlock() << q.head.countOrder
	return block + bits/8, uint(bits % 8), nil
}

// count is how often a cluster is used.
func (q *qcow2) count(c int64) (uint64, error) {
	at, bit, err := q.countPlace(c)
	if err != nil || at == 0 {
		return 0, err
	}
	b, err := q.tables.at(at, q.countBytes())
	if err != nil {
		return 0, err
	}
	var n uint64
	for _, c := range b {
		n = n<<8 | uint64(c)
	}
	if q.head.countOrder < 3 {
		n = n >> bit & (1<<(1<<q.head.countOrder) - 1)
	}
	return n, nil
}

// setCount changes the count of a cluster.
func (q *qcow2) setCount(c int64, n uint64) error {
	at, bit, err := q.countPlace(c)
	if err != nil {
		return err
	}
	if at == 0 {
		return damaged("no block counts the cluster at byte %d", c<<q.bits)
	}
	if q.head.countOrder < 3 {
		old, err := q.tables.at(at, 1)
		if err != nil {
			return err
		}
		mask := byte(1<<(1<<q.head.countOrder)-1) << bit
		n = uint64(old[0]&^mask | byte(n)<<bit)
	}
	b := binary.BigEndian.AppendUint64(nil, n)
	return q.tables.put(at, b[8-q.countBytes():], qcowStageNew)
}
