package vdisk

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"math"
	"slices"

	"lvm2fs/mapping"
)

// The log of a VHDX image is a ring of entries. An image that was not closed properly is what its file holds
// with the entries of the active sequence written over it. Every entry is of whole pages:
//
//	u32 "loge" | u32 CRC-32C | u32 length | u32 tail | u64 sequence number | u32 descriptors | u32
//	| 16 GUID of the log | u64 size of the file, for certain | u64 size that it is to have
//	| descriptors, 32 bytes each, up to the end of a page | a page for each of those with data
//
//	descriptor  u32 "desc" | u32 last 4 bytes | u64 first 8 bytes | u64 place | u64 sequence number
//	            u32 "zero" | u32              | u64 length        | u64 place | u64 sequence number
//	page        u32 "data" | u32 sequence number, high | the 4084 bytes between | u32 low
const (
	vhdxLogVersion = 64 // u16, of the header
	vhdxLogLength  = 68 // u32
	vhdxLogPlace   = 72 // u64

	vhdxEntryLength      = 8
	vhdxEntryTail        = 12
	vhdxEntrySequence    = 16
	vhdxEntryDescriptors = 24
	vhdxEntryGUID        = 32
	vhdxEntryFlushed     = 48
	vhdxEntryLast        = 56
	vhdxEntryHeader      = 64
	vhdxDescriptor       = 32

	vhdxMaxLog   = 64 << 20
	vhdxMaxPages = 1 << 16 // that a log may change
)

// vhdxEntry is an entry whose checksum and parts are right.
type vhdxEntry struct {
	log           vhdxLog
	place, length int64 // bytes, in the log
	tail          int64
	sequence      uint64
	flushed, last uint64
	descriptors   int64
}

// vhdxLog is a log, wholly in memory.
type vhdxLog struct {
	ring []byte
	guid []byte
}

// replayVHDX is dev with what its log has to be written to it.
func replayVHDX(dev mapping.Device, header []byte) (*replayed, error) {
	place, length, err := vhdxLogRegion(header)
	if err != nil {
		return nil, err
	}
	l := vhdxLog{make([]byte, length), header[vhdxLogGUID:][:16]}
	if _, err := mapping.ReadFull(dev, l.ring, place); err != nil {
		return nil, err
	}
	entries, newest := l.active()
	switch {
	case newest == 0:
		return nil, damaged("it was not closed properly, and its log at byte %d has no entry that is whole", place)
	case len(entries) == 0 || entries[len(entries)-1].sequence != newest:
		return nil, damaged("entry %d of its log at byte %d belongs behind others, which are not all there", newest, place)
	}
	head := entries[len(entries)-1]
	if uint64(dev.Size()) < head.flushed {
		return nil, damaged("the file has %d bytes, and had %d when its log was written", dev.Size(), head.flushed)
	}
	r := &replayed{Device: dev, changed: map[int64][]byte{}}
	for _, e := range entries {
		if err := r.apply(e); err != nil {
			return nil, err
		}
	}
	for i := range r.changed {
		r.pages = append(r.pages, i)
	}
	slices.Sort(r.pages)
	return r, nil
}

// vhdxLogRegion is where the log is that a header names.
func vhdxLogRegion(header []byte) (place, length int64, err error) {
	length = int64(binary.LittleEndian.Uint32(header[vhdxLogLength:]))
	at := binary.LittleEndian.Uint64(header[vhdxLogPlace:])
	switch {
	case binary.LittleEndian.Uint16(header[vhdxLogVersion:]) != 0:
		return 0, 0, unsupported("a log of version %d", binary.LittleEndian.Uint16(header[vhdxLogVersion:]))
	case length > vhdxMaxLog:
		return 0, 0, unsupported("a log of %d bytes, which is to be replayed", length)
	case length == 0 || length%vhdxMiB != 0 || at == 0 || at%vhdxMiB != 0 || at > math.MaxInt64/4:
		return 0, 0, damaged("a log of %d bytes at byte %d", length, at)
	}
	return int64(at), length, nil
}

// entry is the one at a place of the log; nil if there is none that is whole.
func (l vhdxLog) entry(place int64) *vhdxEntry {
	b := l.ring[place:][:pageSize]
	e := &vhdxEntry{
		log: l, place: place,
		length:      int64(binary.LittleEndian.Uint32(b[vhdxEntryLength:])),
		tail:        int64(binary.LittleEndian.Uint32(b[vhdxEntryTail:])),
		sequence:    binary.LittleEndian.Uint64(b[vhdxEntrySequence:]),
		flushed:     binary.LittleEndian.Uint64(b[vhdxEntryFlushed:]),
		last:        binary.LittleEndian.Uint64(b[vhdxEntryLast:]),
		descriptors: int64(binary.LittleEndian.Uint32(b[vhdxEntryDescriptors:])),
	}
	switch {
	case string(b[:4]) != "loge" || !bytes.Equal(b[vhdxEntryGUID:][:16], l.guid),
		e.length == 0 || e.length%pageSize != 0 || e.length > int64(len(l.ring)),
		e.sequence == 0,
		// Within a whole entry no page begins another one, so a log of any size is summed only once.
		!e.whole(),
		e.sum() != binary.LittleEndian.Uint32(b[vhdxSum:]):
		return nil
	}
	return e
}

// page is the one at a byte of the entry.
func (e *vhdxEntry) page(off int64) []byte {
	return e.log.ring[(e.place+off)%int64(len(e.log.ring)):][:pageSize]
}

// sum is the entry's checksum, in which the place of the checksum counts as zeros.
func (e *vhdxEntry) sum() uint32 {
	sum := crc32.New(crc32.MakeTable(crc32.Castagnoli))
	head := e.page(0)
	_, _ = sum.Write(head[:vhdxSum])
	_, _ = sum.Write(make([]byte, 4))
	_, _ = sum.Write(head[vhdxSum+4:])
	for off := int64(pageSize); off < e.length; off += pageSize {
		_, _ = sum.Write(e.page(off))
	}
	return sum.Sum32()
}

// dataStart is the byte of the entry at which its pages begin.
func (e *vhdxEntry) dataStart() int64 {
	return (vhdxEntryHeader + e.descriptors*vhdxDescriptor + pageSize - 1) / pageSize * pageSize
}

// whole says whether every part of the entry is there and of one age.
func (e *vhdxEntry) whole() bool {
	page := e.dataStart()
	if page > e.length {
		return false
	}
	for i := range e.descriptors {
		d := e.descriptor(i)
		if binary.LittleEndian.Uint64(d[24:]) != e.sequence || binary.LittleEndian.Uint64(d[16:])%pageSize != 0 {
			return false
		}
		switch string(d[:4]) {
		case "zero":
			if binary.LittleEndian.Uint64(d[8:])%pageSize != 0 {
				return false
			}
		case "desc":
			if page+pageSize > e.length {
				return false
			}
			b := e.page(page)
			high, low := binary.LittleEndian.Uint32(b[4:]), binary.LittleEndian.Uint32(b[pageSize-4:])
			if string(b[:4]) != "data" || uint64(high)<<32|uint64(low) != e.sequence {
				return false
			}
			page += pageSize
		default:
			return false
		}
	}
	return page == e.length
}

func (e *vhdxEntry) descriptor(i int64) []byte {
	off := vhdxEntryHeader + i*vhdxDescriptor
	return e.page(off - off%pageSize)[off%pageSize:][:vhdxDescriptor]
}

// active are the entries to be replayed, in order. A complete sequence is a run of entries whose last one names
// the place of one of them as its tail. Among complete sequences take the highest; replay it from its tail.
// newest is the highest sequence number of all entries, 0 if there are none.
func (l vhdxLog) active() (best []*vhdxEntry, newest uint64) {
	size := int64(len(l.ring))
	for tail := int64(0); tail < size; {
		var run []*vhdxEntry
		length := int64(0)
		for length < size {
			e := l.entry((tail + length) % size)
			if e == nil || len(run) > 0 && e.sequence != run[len(run)-1].sequence+1 || length+e.length > size {
				break
			}
			run = append(run, e)
			newest = max(newest, e.sequence)
			length += e.length
		}
		if len(run) == 0 {
			tail += pageSize
			continue
		}
		tail += length
		head := run[len(run)-1]
		first := slices.IndexFunc(run, func(e *vhdxEntry) bool { return e.place == head.tail })
		if first >= 0 && (len(best) == 0 || head.sequence > best[len(best)-1].sequence) {
			best = run[first:]
		}
	}
	return best, newest
}

// replayed is the file of an image with pages that are only in its log. It is longer than the file if the
// last of them lie behind it.
type replayed struct {
	mapping.Device
	changed map[int64][]byte // nil for zeros
	pages   []int64          // the keys, in order
	size    int64
}

// apply takes over what an entry changes.
func (r *replayed) apply(e *vhdxEntry) error {
	page := e.dataStart()
	for i := range e.descriptors {
		d := e.descriptor(i)
		place, length := binary.LittleEndian.Uint64(d[16:]), uint64(pageSize)
		isZero := string(d[:4]) == "zero"
		if isZero {
			length = binary.LittleEndian.Uint64(d[8:])
		}
		if place > maxSize || length > maxSize {
			return damaged("the log changes %d bytes at byte %d", length, place)
		}
		if uint64(len(r.changed))+length/pageSize > vhdxMaxPages {
			return unsupported("a log that changes more than %d pages, which is to be replayed", vhdxMaxPages)
		}
		r.size = max(r.size, int64(place+length))
		if isZero {
			for at := uint64(0); at < length; at += pageSize {
				r.changed[int64(place+at)/pageSize] = nil
			}
			continue
		}
		b := e.page(page)
		r.changed[int64(place)/pageSize] = slices.Concat(d[8:16], b[8:pageSize-4], d[4:8])
		page += pageSize
	}
	r.size = max(r.size, int64(min(e.last, maxSize)))
	return nil
}

// Size is at least that of the file.
func (r *replayed) Size() int64 { return max(r.size, r.Device.Size()) }

// ReadAt reads the file, zeros behind its end, and the pages of the log.
func (r *replayed) ReadAt(p []byte, off int64) (int, error) {
	p, end := mapping.ClipRead(r.Name(), p, off, r.Size())
	if len(p) == 0 {
		return 0, end
	}
	clear(p)
	if file := min(int64(len(p)), r.Device.Size()-off); file > 0 {
		if n, err := mapping.ReadFull(r.Device, p[:file], off); err != nil {
			return n, err
		}
	}
	first, _ := slices.BinarySearch(r.pages, off/pageSize)
	for _, i := range r.pages[first:] {
		at := i*pageSize - off
		if at >= int64(len(p)) {
			break
		}
		b := r.changed[i]
		if b == nil {
			b = make([]byte, pageSize)
		}
		copy(p[max(at, 0):], b[max(-at, 0):])
	}
	return len(p), end
}

// run says whether the byte at off is in the log, and for how many of n bytes that holds.
func (r *replayed) run(off, n int64) (logged bool, length int64) {
	page := off / pageSize
	i, logged := slices.BinarySearch(r.pages, page)
	end := page
	switch {
	case logged:
		for ; i < len(r.pages) && r.pages[i] == end; i++ {
			end++
		}
	case i == len(r.pages):
		return false, n
	default:
		end = r.pages[i]
	}
	return logged, min(n, end*pageSize-off)
}
