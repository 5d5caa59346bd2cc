package dm

import (
	"encoding/binary"
	"fmt"
	"sync"

	"lvm2fs/mapping"
)

// storeWriter adds exceptions to a COW store, in an order in which a power cut at any point leaves the table as it was
// before or with some of the new exceptions more, each with its data:
//
//  1. the data of the new chunks, and zeros over each area that follows one that will be full;
//  2. a flush;
//  3. the new entries, a flush behind each sector of them. Only what lies in one sector is written as a whole; and were a
//     later sector written without an earlier one, entries would lie behind the end of the table, and come back
//     when it has grown up to them.
//
// What lies behind the end of the table in its last area, from whoever wrote before, is cleared for the same reason.
//
// It is used by one goroutine at a time.
// (docs/format/05-snapshot.md, section 7)
type storeWriter struct {
	*ExceptionStore
	ready  bool  // an exception can be added behind the others
	broken error // the error of a write after which nobody knows which entries are on disk
}

// entriesPerSector is how many entries are written as a whole.
const entriesPerSector = 512 / exceptionSize

// copyPiece bounds what is copied at once, in bytes.
const copyPiece = 1 << 20

var copyBuffers = sync.Pool{New: func() any { b := make([]byte, copyPiece); return &b }}

var zeroPiece [64 << 10]byte

// add makes the exceptions of batch durable, which were planned for the end of t. fill writes their data. After an error
// t is as it was. If the disk may be otherwise, all later calls fail.
func (s *storeWriter) add(t *exceptions, batch []redirection, fill func(cow mapping.Writable) error) error {
	if s.broken != nil {
		return fmt.Errorf("the COW store takes no more since a write failed: %w", s.broken)
	}
	cow, err := writable(s.cow)
	if err != nil {
		return err
	}
	if err := s.prepare(cow, t); err != nil {
		return err
	}
	if err := fill(cow); err != nil {
		return err
	}
	for i := range batch {
		if n := t.end.count + uint64(i) + 1; n%t.perArea == 0 {
			if err := writeZeros(cow, int64(t.area(n/t.perArea))*s.chunkSize, s.chunkSize); err != nil {
				return err
			}
		}
	}
	if err := cow.Sync(); err != nil {
		return err
	}
	s.broken = s.commit(cow, t, batch)
	return s.broken
}

// prepare makes the store ready for new entries.
func (s *storeWriter) prepare(cow mapping.Writable, t *exceptions) error {
	if s.ready {
		return nil
	}
	var err error
	if s.fresh {
		err = s.format(cow)
	} else {
		err = s.clearBehind(cow, t)
	}
	s.ready = err == nil
	return err
}

// format makes an empty store of one that was never activated. It writes the header last.
func (s *storeWriter) format(cow mapping.Writable) error {
	if err := writeZeros(cow, 512, 2*s.chunkSize-512); err != nil {
		return err
	}
	if err := cow.Sync(); err != nil {
		return err
	}
	if err := s.writeHeader(cow, 1); err != nil {
		return err
	}
	s.fresh = false
	return nil
}

// writeHeader writes and flushes the first sector.
func (s *storeWriter) writeHeader(cow mapping.Writable, valid uint32) error {
	var h [512]byte
	for i, v := range []uint32{storeMagic, valid, storeVersion, uint32(s.chunkSize / 512)} {
		binary.LittleEndian.PutUint32(h[4*i:], v)
	}
	if _, err := cow.WriteAt(h[:], 0); err != nil {
		return err
	}
	return cow.Sync()
}

// invalidate gives the snapshot up, for ever.
func (s *storeWriter) invalidate() error {
	cow, err := writable(s.cow)
	if err != nil {
		return err
	}
	return s.writeHeader(cow, 0)
}

// clearBehind clears what lies behind the end of the table in its last area.
func (s *storeWriter) clearBehind(cow mapping.Writable, t *exceptions) error {
	at := s.entryAt(t, t.end.count)
	end := (int64(t.area(t.end.count/t.perArea)) + 1) * s.chunkSize
	b := make([]byte, min(end-at, int64(len(zeroPiece))))
	for ; at < end; at += int64(len(b)) {
		b = b[:min(end-at, int64(len(b)))]
		if _, err := cow.ReadAt(b, at); err != nil {
			return err
		}
		if allZero(b) {
			continue
		}
		if err := writeZeros(cow, at, end-at); err != nil {
			return err
		}
		return cow.Sync()
	}
	return nil
}

// commit writes the entries of batch behind the end of t.
func (s *storeWriter) commit(cow mapping.Writable, t *exceptions, batch []redirection) error {
	var b [512]byte
	for i := 0; i < len(batch); {
		number := t.end.count + uint64(i)
		n := min(entriesPerSector-int(number%entriesPerSector), len(batch)-i)
		for k, e := range batch[i : i+n] {
			binary.LittleEndian.PutUint64(b[k*exceptionSize:], e.origin)
			binary.LittleEndian.PutUint64(b[k*exceptionSize+8:], e.store)
		}
		if _, err := cow.WriteAt(b[:n*exceptionSize], s.entryAt(t, number)); err != nil {
			return err
		}
		if err := cow.Sync(); err != nil {
			return err
		}
		i += n
	}
	return nil
}

// entryAt is the byte of the store where the entry of that number lies.
func (s *storeWriter) entryAt(t *exceptions, number uint64) int64 {
	return int64(t.area(number/t.perArea))*s.chunkSize + int64(number%t.perArea)*exceptionSize
}

func writeZeros(w mapping.Writable, off, n int64) error {
	for n > 0 {
		k, err := w.WriteAt(zeroPiece[:min(n, int64(len(zeroPiece)))], off)
		if err != nil {
			return err
		}
		off, n = off+int64(k), n-int64(k)
	}
	return nil
}

// copyBytes copies n bytes of src at off to dst at to.
func copyBytes(dst mapping.Writable, to int64, src mapping.Volume, off, n int64) error {
	buffer := copyBuffers.Get().(*[]byte)
	defer copyBuffers.Put(buffer)
	b := (*buffer)[:min(n, copyPiece)]
	for ; n > 0; off, to, n = off+int64(len(b)), to+int64(len(b)), n-int64(len(b)) {
		b = b[:min(n, int64(len(b)))]
		if _, err := src.ReadAt(b, off); err != nil {
			return err
		}
		if _, err := dst.WriteAt(b, to); err != nil {
			return err
		}
	}
	return nil
}
