package dm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"lvm2fs/lvm2/internal/pdata"
	"lvm2fs/mapping"
)

// ErrThinPoolChanged: the metadata of a pool are not what they were when it was opened.
var ErrThinPoolChanged = errors.New("the metadata of the thin pool have changed")

// thinWriting is what a pool has to be written. Changes of the trees are kept in memory, and become durable together:
//
//  1. new chunks are filled, and flushed;
//  2. all nodes and bitmaps that have changed are written to blocks of metadata that were free, and flushed;
//  3. the superblock, one sector, is written, and flushed.
//
// A power cut before 3 leaves the pool as the last commit left it, but for what was written to chunks that no snapshot shares. That
// is done in place, and is as durable as on a disk. There is a commit when a volume is flushed, and once a second.
// (docs/format/06-thin.md, section 10)
type thinWriting struct {
	refused    string // why the pool cannot be written, as a phrase
	metadata   mapping.Volume
	superblock []byte // as it was read; as it was written, once it was
	discards   string

	// making is held to change trees and space maps, and to commit. It is taken before tables.
	making sync.Mutex
	// tables is held for reading while the bytes are read or written that a tree gives the place of, and for writing
	// while a tree changes.
	tables  sync.RWMutex
	devices map[uint64]*thinDevice // those that are open

	tx     *pdata.Transaction // under making; nil if nobody writes
	failed atomic.Pointer[error]
	timer  *time.Timer   // under making; nil if no commit is due
	within time.Duration // how soon one is

	rounds atomic.Uint64 // flushes begun
	done   uint64        // under making: the last flush that succeeded, counted by rounds
}

// thinDevice is a device of a pool.
type thinDevice struct {
	id        uint64
	level2    pdata.Tree // under tables
	rebuilt   leafFinder // in the place of level2; nil if that is read as it is
	described bool       // the details have been read
	thinDetails
	details []byte // as they were read
	changed bool   // under making: since the last commit
}

// Leaf says where chunks of the device are. The caller holds tables.
func (d *thinDevice) Leaf(chunk uint64) (pdata.Leaf, error) {
	if d.rebuilt != nil {
		return d.rebuilt.Leaf(chunk)
	}
	return d.level2.Leaf(chunk)
}

// commitInterval is how long a change may wait to become durable, as in the kernel.
const commitInterval = time.Second

// Restrict says why the pool must not be written, as a phrase; "" if it may be. discards is what the VG's metadata say:
// "passdown", "nopassdown" or "ignore". Call it before the pool is used.
func (p *ThinPool) Restrict(reason, discards string) { p.refused, p.discards = reason, discards }

// ReadOnlyReason is why the pool cannot be written, as a phrase; "" if it can be.
func (p *ThinPool) ReadOnlyReason() string {
	p.tables.RLock()
	defer p.tables.RUnlock()
	switch {
	case p.refused != "":
		return p.refused
	case p.rebuilt != nil:
		return "the mappings of its thin pool are damaged, and put together again"
	case p.NeedsCheck:
		return "the metadata of its thin pool need a check"
	case p.heldRoot != 0:
		return "a tool has the metadata of its thin pool held"
	case binary.LittleEndian.Uint32(p.superblock[4:])&^flagNeedsCheck != 0, binary.LittleEndian.Uint32(p.superblock[356:]) != 0:
		return "the metadata of its thin pool have unknown flags"
	case p.chunks < p.dataMap.Total:
		return "the data of its thin pool are smaller than its metadata say"
	}
	return ""
}

// StartWriting reads the superblock again, and goes through all of the metadata. It fails with ErrThinPoolChanged if the
// superblock is not what it was, or an earlier writer failed, and with ErrThinPool if anything is wrong.
//
// Nothing that was read before is believed: since then others may have written the pool twice, and the second time what is free
// now was free again, so that the superblock is what it was and the nodes are not.
func (p *ThinPool) StartWriting() error {
	p.making.Lock()
	defer p.making.Unlock()
	if err := p.asItWas(); err != nil {
		return err
	}
	if err := p.verify(); err != nil {
		return err
	}
	// A host that died may have left in its cache what was read here, and not on the disk. So flush first: nothing may be
	// written over what an older superblock leads to.
	for _, v := range []mapping.Volume{p.metadata, p.data} {
		w, err := writable(v)
		if err != nil {
			return err
		}
		if err := w.Sync(); err != nil {
			return err
		}
	}
	p.tables.Lock()
	defer p.tables.Unlock()
	tx, err := pdata.Begin(p.metadataMap, p.dataMap)
	if err != nil {
		return err
	}
	p.tx = tx
	return nil
}

// asItWas forgets and reads again what is kept of the metadata. The pool must not be being written. The caller holds
// making.
func (p *ThinPool) asItWas() error {
	b := make([]byte, pdata.BlockSize)
	if _, err := readFull(p.metadata, b, 0); err != nil {
		return fmt.Errorf("thin superblock: %w", err)
	}
	if !bytes.Equal(b, p.superblock) {
		return fmt.Errorf("thin superblock: %w", ErrThinPoolChanged)
	}
	p.tables.Lock()
	defer p.tables.Unlock()
	if p.refused != "" {
		return fmt.Errorf("%w: %s", ErrThinPoolChanged, p.refused)
	}
	p.blocks.Forget()
	for _, d := range p.devices {
		root, found, err := p.level1.Find(d.id)
		if err == nil && !found {
			err = fmt.Errorf("%w: device %d is gone", ErrThinPoolChanged, d.id)
		}
		if err != nil {
			return err
		}
		d.level2.Root, d.described = binary.LittleEndian.Uint64(root), false
	}
	return nil
}

// verify goes through all of the metadata. The caller holds making.
func (p *ThinPool) verify() error {
	_, err := p.check(func(err error) error { return err })
	if err == nil {
		return nil
	}
	p.tables.Lock()
	defer p.tables.Unlock()
	p.refused = "something is wrong with the metadata of its thin pool, which check tells"
	return fmt.Errorf("%w: %w", ErrThinPool, err)
}

// StopWriting commits what has changed.
func (p *ThinPool) StopWriting() error {
	p.making.Lock()
	defer p.making.Unlock()
	err := p.commit()
	p.stopTimer()
	p.tables.Lock()
	defer p.tables.Unlock()
	if err != nil {
		// Memory and disk differ. Nobody may build on either before it is read anew.
		p.refused = "writing to its thin pool failed"
	}
	p.tx = nil
	return err
}

// Sync returns once all that was written to volumes of the pool is on stable storage. One flush serves all who were
// waiting when it began.
func (p *ThinPool) Sync() error { return p.syncFor(p.rounds.Load()) }

// syncFor is Sync for a caller that came when that many flushes had begun.
func (p *ThinPool) syncFor(came uint64) error {
	p.making.Lock()
	defer p.making.Unlock()
	if p.done > came {
		return nil
	}
	round := p.rounds.Add(1)
	if err := p.commit(); err != nil {
		return err
	}
	p.done = round
	return nil
}

// due has a commit made soon, unless one is due already. The caller holds making.
func (p *ThinPool) due() {
	if p.timer != nil {
		return
	}
	p.timer = time.AfterFunc(p.within, func() {
		p.making.Lock()
		defer p.making.Unlock()
		if p.timer == nil {
			return
		}
		p.timer = nil
		if p.tx != nil && p.tx.Pending() {
			_ = p.commit() // whoever writes or flushes next is told
		}
	})
}

func (p *ThinPool) stopTimer() {
	if p.timer != nil {
		p.timer.Stop()
		p.timer = nil
	}
}

// failure is why nothing can be written any more; nil if it can be.
func (p *ThinPool) failure() error {
	if err := p.failed.Load(); err != nil {
		return *err
	}
	return nil
}

func (p *ThinPool) fail(err error) error {
	err = fmt.Errorf("thin pool: it is not written any more: %w", err)
	p.failed.Store(&err)
	return err
}

// abort gives up a change of the trees that failed half way, and with it all that has changed since the last commit. The
// caller holds making and tables.
func (p *ThinPool) abort(err error) error {
	p.tx.End()
	le := binary.LittleEndian
	p.level1.Root, p.details.Root = le.Uint64(p.superblock[320:]), le.Uint64(p.superblock[328:])
	for _, d := range p.devices {
		if !d.changed {
			continue
		}
		root, found, rerr := p.level1.Find(d.id)
		if rerr != nil || !found {
			err = errors.Join(err, rerr)
			continue
		}
		d.level2.Root = le.Uint64(root)
		d.thinDetails = decodeThinDetails(d.details)
		d.changed = false
	}
	return p.fail(err)
}

// commit makes all durable that was written. The caller holds making.
func (p *ThinPool) commit() error {
	if err := p.failure(); err != nil {
		return err
	}
	if p.tx == nil {
		return nil
	}
	data, err := writable(p.data)
	if err != nil {
		return err
	}
	if !p.tx.Pending() {
		return data.Sync()
	}
	p.stopTimer()
	next, err := p.finish()
	if err != nil {
		return err
	}
	metadata, err := writable(p.metadata)
	if err != nil {
		return p.fail(err)
	}
	for _, step := range []func() error{
		data.Sync,
		func() error { return p.tx.Write(metadata) },
		metadata.Sync,
		func() error { _, err := metadata.WriteAt(next[:sectorSize], 0); return err },
		metadata.Sync,
	} {
		if err := step(); err != nil {
			return p.fail(err)
		}
	}
	freed, err := p.committed(next)
	if err == nil && p.discards == "passdown" {
		p.passDown(freed)
	}
	return err
}

// sectorSize is what a disk writes as a whole. All that changes in a superblock lies in the first.
const sectorSize = 512

// finish completes the transaction in memory, and gives the superblock for it.
func (p *ThinPool) finish() (next []byte, err error) {
	p.tables.Lock()
	defer p.tables.Unlock()
	le := binary.LittleEndian
	next = bytes.Clone(p.superblock)
	for _, id := range slices.Sorted(maps.Keys(p.devices)) {
		d := p.devices[id]
		if !d.changed {
			continue
		}
		if _, err := p.tx.Put(&p.level1, p.referToNode, id, le.AppendUint64(nil, d.level2.Root)); err != nil {
			return nil, p.abort(err)
		}
		details := bytes.Clone(d.details)
		le.PutUint64(details, d.mapped)
		if _, err := p.tx.Put(&p.details, nil, id, details); err != nil {
			return nil, p.abort(err)
		}
	}
	if err := p.tx.Finish(next[64:], next[192:]); err != nil {
		return nil, p.abort(err)
	}
	le.PutUint64(next[320:], p.level1.Root)
	le.PutUint64(next[328:], p.details.Root)
	pdata.ThinSuperblock.Seal(next)
	return next, nil
}

// committed is called when next is on the disk. It gives back the chunks that are free since.
func (p *ThinPool) committed(next []byte) (freed []uint64, err error) {
	p.tables.Lock()
	defer p.tables.Unlock()
	if freed, err = p.tx.Committed(); err != nil {
		return nil, p.fail(err)
	}
	p.superblock = next
	p.usage = ThinUsage{Data: usageOf(next[64:]), Metadata: usageOf(next[192:])}
	p.dataMap, p.metadataMap = pdata.DataSpaceMap(p.blocks, next[64:]), pdata.MetadataSpaceMap(p.blocks, next[192:])
	for _, d := range p.devices {
		if d.changed {
			binary.LittleEndian.PutUint64(d.details, d.mapped)
			d.changed = false
		}
	}
	return freed, nil
}

// passDown tells the data device which chunks are free. It does no harm if that fails.
func (p *ThinPool) passDown(freed []uint64) {
	w, err := writable(p.data)
	for i := 0; i < len(freed) && err == nil; {
		n := 1
		for i+n < len(freed) && freed[i+n] == freed[i]+uint64(n) {
			n++
		}
		err = w.PunchHole(int64(freed[i])*p.chunkSize, int64(n)*p.chunkSize)
		i += n
	}
}

// referToNode and referToChunk count what the values of the mappings' trees refer to.
func (p *ThinPool) referToNode(value []byte, by int) error {
	_, err := p.tx.Metadata.Add(binary.LittleEndian.Uint64(value), by)
	return err
}

func (p *ThinPool) referToChunk(value []byte, by int) error {
	_, err := p.tx.Data.Add(dataChunk(value), by)
	return err
}
