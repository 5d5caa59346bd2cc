package dm

import (
	"encoding/binary"
	"errors"
	"fmt"

	"lvm2fs/lvm2/internal/pdata"
	"lvm2fs/mapping"
)

var _ mapping.Writable = (*thin)(nil)

// thinRun is a run of chunks of a thin volume that are alike: not mapped, or mapped to chunks of the pool that follow
// each other.
type thinRun struct {
	n      uint64 // chunks
	mapped bool
	own    bool   // mapped, and no snapshot shares it
	data   uint64 // chunk of the pool, if mapped
}

// run is the run from chunk on, of at most max chunks. The caller holds tables or making.
func (t *thin) run(chunk, max uint64) (thinRun, error) {
	leaf, err := t.level2.Leaf(chunk)
	if err != nil {
		return thinRun{}, err
	}
	i := leaf.Search(chunk)
	switch {
	case i == leaf.Len() && leaf.To-chunk >= max:
		return thinRun{n: max}, nil
	case i == leaf.Len():
		return thinRun{n: leaf.To - chunk + 1}, nil
	case leaf.Key(i) != chunk:
		return thinRun{n: min(max, leaf.Key(i)-chunk)}, nil
	}
	r := thinRun{n: 1, mapped: true, own: t.owns(leaf.Value(i)), data: dataChunk(leaf.Value(i))}
	for ; r.n < max && i+int(r.n) < leaf.Len() && leaf.Key(i+int(r.n)) == chunk+r.n; r.n++ {
		v := leaf.Value(i + int(r.n))
		if dataChunk(v) != r.data+r.n || t.owns(v) != r.own {
			break
		}
	}
	if r.data+r.n > t.pool.chunks {
		return r, fmt.Errorf("%w: chunk %d lies in chunk %d of the pool, which has %d", ErrThinPool, chunk, r.data, t.pool.chunks)
	}
	return r, nil
}

// owns says whether a mapping was made since the last snapshot of the device, so that none can share it.
func (t *thin) owns(value []byte) bool {
	return uint32(binary.LittleEndian.Uint64(value)&(1<<mappingTimeBits-1)) >= t.snapshotted
}

// WriteAt implements [mapping.Writable]. It fails with ErrFull if the pool has no room. After a write or commit that left
// unknown what is on the disk it fails with the error of that.
func (t *thin) WriteAt(p []byte, off int64) (int, error) {
	if err := mapping.CheckWrite("", off, int64(len(p)), t.size); err != nil {
		return 0, err
	}
	done := 0
	for done < len(p) {
		n, err := t.writeSome(p[done:], off+int64(done))
		done += n
		if err != nil {
			return done, err
		}
	}
	return done, nil
}

// writeSome writes at least the first byte of p.
func (t *thin) writeSome(p []byte, off int64) (int, error) {
	if n, err := t.overwrite(p, off); n > 0 || err != nil {
		return n, err
	}
	t.pool.making.Lock()
	defer t.pool.making.Unlock()
	if err := t.ready(metadataReserve(t.pool.metadataMap.Total)); err != nil {
		return 0, err
	}
	size := t.pool.chunkSize
	chunk, within := uint64(off/size), off%size
	most := uint64(1)
	if within == 0 {
		most = max(1, uint64(int64(len(p))/size))
	}
	r, err := t.run(chunk, most)
	if err != nil {
		return 0, err
	}
	n := min(int64(len(p)), size-within)
	switch {
	case r.own: // by now
		w, err := writable(t.pool.data)
		if err != nil {
			return 0, err
		}
		return w.WriteAt(p[:n], int64(r.data)*size+within)
	case r.mapped:
		return t.replace(chunk, within, p[:n], func(b []byte, at int64) error {
			_, err := readFull(t.pool.data, b, int64(r.data)*size+at)
			return err
		})
	case n < size:
		return t.replace(chunk, within, p[:n], t.unmapped(chunk))
	}
	return t.provision(chunk, r.n, p)
}

// overwrite writes as much of p as it can without a change of the trees; that may be nothing.
func (t *thin) overwrite(p []byte, off int64) (int, error) {
	pool := t.pool
	if err := pool.failure(); err != nil {
		return 0, err
	}
	pool.tables.RLock()
	defer pool.tables.RUnlock()
	if pool.tx == nil {
		return 0, fmt.Errorf("%w: its thin pool is not being written", mapping.ErrNotWritable)
	}
	if !t.described {
		return 0, nil
	}
	size := pool.chunkSize
	within := off % size
	r, err := t.run(uint64(off/size), uint64((within+int64(len(p))-1)/size)+1)
	if err != nil || !r.own {
		return 0, err
	}
	w, err := writable(pool.data)
	if err != nil {
		return 0, err
	}
	return w.WriteAt(p[:min(int64(len(p)), int64(r.n)*size-within)], int64(r.data)*size+within)
}

// ready makes sure that the trees can be changed, and that spare blocks of metadata are left. The caller holds making.
func (t *thin) ready(spare uint64) error {
	p := t.pool
	if err := p.failure(); err != nil {
		return err
	}
	if p.tx == nil {
		return fmt.Errorf("%w: its thin pool is not being written", mapping.ErrNotWritable)
	}
	if err := t.describe(); err != nil {
		return err
	}
	if room := p.tx.Room(p.changedDevices()+1, spare); room && !p.tx.Large() {
		return nil
	}
	if p.tx.Pending() {
		if err := p.commit(); err != nil {
			return err
		}
	}
	if !p.tx.Room(1, spare) {
		return fmt.Errorf("%w: the metadata of the thin pool are full", ErrFull)
	}
	return nil
}

func (p *ThinPool) changedDevices() (n int) {
	p.tables.RLock()
	defer p.tables.RUnlock()
	for _, d := range p.devices {
		if d.changed {
			n++
		}
	}
	return n
}

// describe reads the details of the device, once. After that all nodes on the way to it in both trees are known to be
// good.
func (t *thin) describe() error {
	if t.described {
		return nil
	}
	b, found, err := t.pool.details.Find(t.id)
	if err == nil && !found {
		err = fmt.Errorf("%w: device %d has no details", ErrThinPool, t.id)
	}
	if err != nil {
		return err
	}
	t.pool.tables.Lock()
	defer t.pool.tables.Unlock()
	t.details = append([]byte(nil), b...)
	t.thinDetails, t.described = decodeThinDetails(b), true
	return nil
}

// allocate takes up to n free chunks of the pool that follow each other. If none is free it commits, because chunks freed
// since the last commit become free then.
func (t *thin) allocate(n uint64) (first, count uint64, err error) {
	p := t.pool
	if first, count, err = p.tx.Data.Allocate(n); errors.Is(err, pdata.ErrNoRoom) && p.tx.Pending() {
		if err := p.commit(); err != nil {
			return 0, 0, err
		}
		first, count, err = p.tx.Data.Allocate(n)
	}
	if errors.Is(err, pdata.ErrNoRoom) {
		err = fmt.Errorf("%w: the thin pool is full", ErrFull)
	}
	if err == nil {
		p.due()
	}
	return first, count, err
}

// release gives back chunks that were allocated but not used.
func (t *thin) release(first, count uint64) {
	for chunk := first; chunk < first+count; chunk++ {
		_, _ = t.pool.tx.Data.Add(chunk, -1) // it has just been read
	}
}

// unmapped gives the bytes that an unmapped chunk shows, also beyond the end of the volume.
func (t *thin) unmapped(chunk uint64) func(b []byte, at int64) error {
	from := int64(chunk) * t.pool.chunkSize
	return func(b []byte, at int64) error {
		clear(b)
		if t.external == nil || from+at >= t.external.Size() {
			return nil
		}
		_, err := readFull(t.external, b[:min(int64(len(b)), t.external.Size()-from-at)], from+at)
		return err
	}
}

// maxFill bounds the memory to fill a chunk, in bytes.
const maxFill = 1 << 20

// replace maps a chunk to a new one of the pool. The new one holds p at within, and around it the bytes of base.
func (t *thin) replace(chunk uint64, within int64, p []byte, base func(b []byte, at int64) error) (int, error) {
	data, _, err := t.allocate(1)
	if err != nil {
		return 0, err
	}
	if err := t.fill(data, within, p, base); err != nil {
		t.release(data, 1)
		return 0, err
	}
	if err := t.mapTo(chunk, data, 1); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (t *thin) fill(data uint64, within int64, p []byte, base func(b []byte, at int64) error) error {
	w, err := writable(t.pool.data)
	if err != nil {
		return err
	}
	size, end := t.pool.chunkSize, within+int64(len(p))
	buf := make([]byte, min(size, maxFill))
	for at := int64(0); at < size; at += int64(len(buf)) {
		b := buf[:min(int64(len(buf)), size-at)]
		last := at + int64(len(b))
		if at < within {
			if err := base(b[:min(last, within)-at], at); err != nil {
				return err
			}
		}
		if last > end {
			if err := base(b[max(end-at, 0):], max(end, at)); err != nil {
				return err
			}
		}
		if from, to := max(within, at), min(end, last); from < to {
			copy(b[from-at:], p[from-within:to-within])
		}
		if _, err := w.WriteAt(b, int64(data)*size+at); err != nil {
			return err
		}
	}
	return nil
}

// provision writes p to n whole unmapped chunks, or to the first of them if fewer new chunks follow each other.
func (t *thin) provision(chunk, n uint64, p []byte) (int, error) {
	data, count, err := t.allocate(n)
	if err != nil {
		return 0, err
	}
	size := t.pool.chunkSize
	w, err := writable(t.pool.data)
	if err == nil {
		_, err = w.WriteAt(p[:int64(count)*size], int64(data)*size)
	}
	if err != nil {
		t.release(data, count)
		return 0, err
	}
	if err := t.mapTo(chunk, data, count); err != nil {
		return 0, err
	}
	return int(int64(count) * size), nil
}

// mapTo maps n chunks from chunk on to new ones of the pool. The caller holds making.
func (t *thin) mapTo(chunk, data, n uint64) error {
	p := t.pool
	p.tables.Lock()
	defer p.tables.Unlock()
	t.changed = true
	time := uint64(binary.LittleEndian.Uint32(p.superblock[44:])) & (1<<mappingTimeBits - 1)
	for i := range n {
		was, err := p.tx.Put(&t.level2, p.referToChunk, chunk+i, binary.LittleEndian.AppendUint64(nil, (data+i)<<mappingTimeBits|time))
		switch {
		case err != nil:
		case was == nil:
			t.mapped++
		default:
			err = p.referToChunk(was, -1)
		}
		if err != nil {
			return p.abort(err)
		}
	}
	return nil
}

// PunchHole implements [mapping.Writable]. Whole chunks are unmapped, unless the pool ignores discards or there is something of an
// external origin beneath; the rest gets zeros.
func (t *thin) PunchHole(off, n int64) error {
	if err := mapping.CheckWrite("", off, n, t.size); err != nil {
		return err
	}
	for size := t.pool.chunkSize; n > 0; {
		chunk, within := uint64(off/size), off%size
		length := min(n, size-within)
		var err error
		if whole := length == size || within == 0 && off+length == t.size; whole && t.unmaps(chunk) {
			length, err = t.unmap(chunk, n)
		} else {
			length, err = t.zero(off, length)
		}
		if err != nil {
			return err
		}
		off, n = off+length, n-length
	}
	return nil
}

// unmaps says whether a chunk is to be unmapped to show zeros.
func (t *thin) unmaps(chunk uint64) bool {
	return (t.pool.discards == "passdown" || t.pool.discards == "nopassdown") && !t.covered(chunk)
}

// covered says whether there is something of the external origin beneath a chunk.
func (t *thin) covered(chunk uint64) bool {
	return t.external != nil && int64(chunk)*t.pool.chunkSize < t.external.Size()
}

// unmap unmaps a chunk, or passes over a run of n bytes that is not mapped. It returns how many bytes are done.
func (t *thin) unmap(chunk uint64, n int64) (int64, error) {
	p := t.pool
	p.making.Lock()
	defer p.making.Unlock()
	if err := t.ready(0); err != nil {
		return 0, err
	}
	r, err := t.run(chunk, uint64(n/p.chunkSize)+1)
	if err != nil {
		return 0, err
	}
	if !r.mapped {
		return min(n, int64(r.n)*p.chunkSize), nil
	}
	p.due()
	p.tables.Lock()
	defer p.tables.Unlock()
	t.changed = true
	was, err := p.tx.Remove(&t.level2, p.referToChunk, chunk)
	if err == nil {
		t.mapped--
		err = p.referToChunk(was, -1)
	}
	if err != nil {
		return 0, p.abort(err)
	}
	return min(n, p.chunkSize), nil
}

var zeros [maxFill]byte

// zero writes zeros to n bytes within one chunk, unless they are zeros already.
func (t *thin) zero(off, n int64) (int64, error) {
	chunk := uint64(off / t.pool.chunkSize)
	t.pool.tables.RLock()
	r, err := t.run(chunk, 1)
	t.pool.tables.RUnlock()
	if err != nil || !r.mapped && !t.covered(chunk) {
		return n, err
	}
	done, err := t.WriteAt(zeros[:min(n, maxFill)], off)
	return int64(done), err
}

// Sync implements [mapping.Writable].
func (t *thin) Sync() error { return t.pool.Sync() }
