// Package signature tells what a device looks like, by the marks that formats leave at
// known places. It reads through io.ReaderAt and knows nothing of operating systems.
//
// Its first use is to keep a PV label from being believed where it must not be: on a
// member of an MD array, on a LUKS container and the like ([Component]). Its second is
// to tell someone who named a wrong device what that device is ([Detect]).
//
// A mark at the end of a device may be the end of a disk image that lies in the last LV
// of a PV. It counts only if the PV, by its label, ends before the mark.
package signature

import (
	"fmt"
	"io"

	"lvm2fs/mapping"
)

// Kind sorts signatures by what they mean to someone who looks for a PV.
type Kind uint8

const (
	// KindComponent: the device is a member of something larger, or a container.
	// Nothing else that shows on it is to be believed.
	KindComponent Kind = iota
	// KindPV: an LVM2 physical volume.
	KindPV
	// KindTable: a partition table.
	KindTable
	// KindImage: a format of disk images, other than plain bytes.
	KindImage
	// KindFilesystem: a file system, or what else data is kept in.
	KindFilesystem
	// KindSwap: swap space.
	KindSwap
	// KindCompressed: a compressed file.
	KindCompressed
	// KindEmpty: nothing but zeros where a mark could be.
	KindEmpty
)

// Signature is one thing that a device looks like.
type Signature struct {
	Kind   Kind
	Name   string // "LUKS2 container", "ext4 file system"; fit to stand behind "it is a"
	Offset int64  // bytes from the start of the device to the mark
}

// probe looks for one thing. It returns nil if it is not there, and an error only if the
// device could not be read.
type probe func(*disk) (*Signature, error)

// Component returns the first signature which says that the device of size bytes is a
// member of something larger or a container, nil if there is none. It fails if a place
// where such a mark could be cannot be read.
func Component(r io.ReaderAt, size int64) (*Signature, error) {
	return anyComponent(newDisk(r, size))
}

// Detect returns all that the device of size bytes looks like, ordered by Kind. An error
// means that some places could not be read; what was found elsewhere is returned with it.
func Detect(r io.ReaderAt, size int64) ([]Signature, error) {
	d := newDisk(r, size)
	var found []Signature
	var failed error
	for _, p := range probes() {
		s, err := p(d)
		if failed == nil {
			failed = err
		}
		if s != nil {
			found = append(found, *s)
		}
	}
	if len(found) > 0 || failed != nil {
		return found, failed
	}
	s, err := empty(d)
	if s != nil {
		found = append(found, *s)
	}
	return found, err
}

// probes are all of them, in the order of their kinds.
func probes() []probe {
	all := []probe{anyComponent, physicalVolume, bootTable, gpt}
	for kind := KindTable; kind < KindEmpty; kind++ {
		for _, m := range magics {
			if m.kind == kind {
				all = append(all, m.probe)
			}
		}
		switch kind {
		case KindImage:
			all = append(all, vhdFooter, udifFooter)
		case KindFilesystem:
			all = append(all, ext, fat, zfs)
		}
	}
	return all
}

// disk is a device with the blocks that were read from it.
type disk struct {
	r      io.ReaderAt
	size   int64
	blocks map[int64]block

	pvRead bool
	pvEnd  int64
	pvErr  error
}

type block struct {
	bytes []byte
	err   error
}

const (
	sector    = 512
	blockSize = 4096
)

func newDisk(r io.ReaderAt, size int64) *disk {
	return &disk{r: r, size: size, blocks: map[int64]block{}}
}

// at returns n bytes at off, or nil where the device has not that many.
func (d *disk) at(off, n int64) ([]byte, error) {
	if off < 0 || n < 0 || off > d.size-n {
		return nil, nil
	}
	var joined []byte
	for start := off - off%blockSize; start < off+n; start += blockSize {
		b := d.block(start)
		if b.err != nil {
			return nil, b.err
		}
		part := b.bytes[max(off-start, 0):min(off+n-start, int64(len(b.bytes)))]
		if int64(len(part)) == n {
			return part, nil
		}
		joined = append(joined, part...)
	}
	return joined, nil
}

func (d *disk) block(off int64) block {
	if b, ok := d.blocks[off]; ok {
		return b
	}
	b := block{bytes: make([]byte, min(blockSize, d.size-off))}
	if _, err := mapping.ReadFull(d.r, b.bytes, off); err != nil {
		b.err = fmt.Errorf("looking for signatures in %d bytes at byte %d: %w", len(b.bytes), off, err)
	}
	d.blocks[off] = b
	return b
}

// has reports whether the bytes at off are those of mark.
func (d *disk) has(off int64, mark string) (bool, error) {
	b, err := d.at(off, int64(len(mark)))
	return string(b) == mark && b != nil, err
}
