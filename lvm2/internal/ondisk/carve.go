package ondisk

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"io"
	"slices"

	"lvm2fs/mapping"
)

// Carved is what Carve finds.
type Carved struct {
	Labels []CarvedLabel
	Areas  []CarvedArea
	// Texts are in the order in which they lie; of equal ones only the first is here. They may be of files too: what
	// vgcfgbackup writes starts with its header.
	Texts []FoundText
	// Dropped is the number of texts that are not in Texts because there are too many.
	Dropped int
	// Unread is the number of bytes that could not be read.
	Unread int64
}

// CarvedLabel is a PV label with all checksums right.
type CarvedLabel struct {
	Start  int64 // of the PV, bytes from the start of the device
	Header *Header
}

// CarvedArea is the header of a metadata area with its checksum right.
type CarvedArea struct {
	Start int64 // of the PV, by what the header says, bytes from the start of the device
	Area  Area  // from the start of the PV
}

// maxCarved bounds the bytes of all texts that Carve keeps.
const maxCarved = 64 << 20

// carveStep is how much is read at a time: little enough to stay in the processor's cache until it is looked at. carveAhead is how
// many such pieces there are.
const (
	carveStep  = 256 << 10
	carveAhead = 4
)

// Carve searches size bytes of r for labels, headers of metadata areas and metadata texts at every sector. It reads
// everything once, in order, and keeps no more than maxCarved bytes; what cannot be read is passed over. progress is told now and then how many bytes have
// been searched. The error is that of ctx.
// (docs/format/01-label-and-metadata-area.md, section 8)
func Carve(ctx context.Context, r io.ReaderAt, size int64, progress func(done int64)) (*Carved, error) {
	c := carver{seen: map[[sha256.Size]byte]bool{}}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	free, full := make(chan []byte, carveAhead), make(chan piece, carveAhead)
	for range carveAhead {
		free <- make([]byte, carveStep)
	}
	go readPieces(ctx, r, size, free, full)
	for p := range full {
		c.found.Unread += p.unread
		c.search(p.bytes, p.off)
		if progress != nil {
			progress(p.off + int64(len(p.bytes)))
		}
		free <- p.bytes[:carveStep]
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	c.endText(false)
	return &c.found, nil
}

// piece is what was read at an offset.
type piece struct {
	bytes  []byte
	off    int64
	unread int64 // bytes that could not be read, and are zeros
}

// readPieces reads all of r, into buffers that are free, while what was read before is searched.
func readPieces(ctx context.Context, r io.ReaderAt, size int64, free <-chan []byte, full chan<- piece) {
	defer close(full)
	for off := int64(0); off < size; off += carveStep {
		select {
		case <-ctx.Done():
			return
		case b := <-free:
			p := piece{bytes: b[:min(size-off, carveStep)], off: off}
			if _, err := mapping.ReadFull(r, p.bytes, off); err != nil {
				p.unread, _ = readSectors(r, p.bytes, off)
			}
			full <- p
		}
	}
}

type carver struct {
	found Carved
	kept  int
	seen  map[[sha256.Size]byte]bool
	open  *FoundText // that goes on
}

func (c *carver) search(b []byte, off int64) {
	for at := 0; at < len(b); at += SectorSize {
		sector := b[at:min(len(b), at+SectorSize)]
		where := off + int64(at)
		switch {
		case len(sector) < SectorSize:
			c.goOn(sector)
		case string(sector[:len(labelMagicText)]) == labelMagicText:
			c.label(sector, where)
		case string(sector[mdaMagic:mdaMagic+len(mdaMagicText)]) == mdaMagicText:
			c.area(sector, where)
		case startsText(sector), c.open == nil && startsFile(sector):
			c.endText(false)
			c.open = &FoundText{Offset: where}
			c.goOn(sector)
		default:
			c.goOn(sector)
		}
	}
}

func (c *carver) label(sector structure, where int64) {
	c.endText(false)
	number := binary.LittleEndian.Uint64(sector[labelSector:])
	if number >= labelSectors || where < int64(number)*SectorSize {
		return
	}
	start, err := decodeLabel(sector, int(number))
	if err != nil {
		return
	}
	h, err := decodeHeader(sector[start:])
	if err != nil {
		return
	}
	h.LabelSector = int(number)
	c.found.Labels = append(c.found.Labels, CarvedLabel{where - int64(number)*SectorSize, h})
}

func (c *carver) area(sector structure, where int64) {
	c.endText(false)
	m, err := decodeMetadataArea(sector)
	if err != nil || m.Offset > where {
		return
	}
	c.found.Areas = append(c.found.Areas, CarvedArea{where - m.Offset, m.Area})
}

// goOn adds a sector to the open text, if there is one.
func (c *carver) goOn(sector []byte) {
	if c.open == nil {
		return
	}
	text, ended := cutAtNUL(sector)
	c.open.Bytes = append(c.open.Bytes, text...)
	if ended || len(c.open.Bytes) > maxTextSize {
		c.endText(ended)
	}
}

func (c *carver) endText(ended bool) {
	t := c.open
	if t == nil {
		return
	}
	c.open = nil
	t.Ended = ended
	key := sha256.Sum256(t.Bytes)
	switch {
	case c.seen[key]:
	case c.kept+len(t.Bytes) > maxCarved:
		c.found.Dropped++
	default:
		c.seen[key] = true
		c.kept += len(t.Bytes)
		t.Bytes = slices.Clip(t.Bytes)
		c.found.Texts = append(c.found.Texts, *t)
	}
}

// startsFile says whether b starts as a file of vgcfgbackup does.
func startsFile(b []byte) bool {
	return b[0] == '#' && bytes.HasPrefix(b, []byte("# Generated by LVM2 ")) ||
		b[0] == 'c' && bytes.HasPrefix(b, []byte(`contents = "Text Format Volume Group"`))
}
