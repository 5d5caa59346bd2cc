package ondisk

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"io"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"lvm2fs/mapping"
)

// Carved is what Carve finds.
type Carved struct {
	Labels []CarvedLabel
	Areas  []CarvedArea
	// Texts are in the order in which they lie; of equal ones only the first is here. Some may be of files: what
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

// pieceSize is how many bytes are searched at a time. So few stay in a processor's cache until they are looked at.
const pieceSize = 256 << 10

// carvePieces is how many pieces are searched at once. There are as many goroutines as processors, and they take
// pieces in about the order in which these lie.
const carvePieces = 64

// Carve searches size bytes of r for labels, headers of metadata areas and metadata texts at every sector. It reads
// everything once, about in order, and once more the pieces in which something shows. It keeps no more than
// maxCarved bytes. What cannot be read is passed over. progress is told now and then how many bytes have been
// searched. The error is that of ctx.
// (docs/format/01-label-and-metadata-area.md, section 8)
func Carve(ctx context.Context, r io.ReaderAt, size int64, progress func(done int64)) (*Carved, error) {
	c := carver{seen: map[[sha256.Size]byte]bool{}}
	look := newLook(r, size)
	for from := int64(0); from < size; from += carvePieces * pieceSize {
		if err := look.at(ctx, from); err != nil {
			return nil, err
		}
		for i := range look.pieces(from) {
			if look.shows[i] || c.open != nil {
				b, off, _ := look.read(look.buffers[0], from, i)
				c.search(b, off)
			}
		}
		if progress != nil {
			progress(min(size, from+carvePieces*pieceSize))
		}
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	c.endText(false)
	c.found.Unread = look.unread.Load()
	return &c.found, nil
}

// look finds out in which pieces of a device something shows. What is searched for starts where sectors do, so most
// bytes are not looked at.
type look struct {
	r       io.ReaderAt
	size    int64
	buffers [][]byte // one of each goroutine
	shows   [carvePieces]bool
	unread  atomic.Int64 // bytes that could not be read
}

func newLook(r io.ReaderAt, size int64) *look {
	l := &look{r: r, size: size}
	for range runtime.GOMAXPROCS(0) {
		l.buffers = append(l.buffers, make([]byte, pieceSize))
	}
	return l
}

// pieces is the number of those from an offset on that are looked at together.
func (l *look) pieces(from int64) int {
	return int(min(carvePieces, (l.size-from+pieceSize-1)/pieceSize))
}

// at fills in shows for the pieces from an offset on. The error is that of ctx.
func (l *look) at(ctx context.Context, from int64) error {
	var next atomic.Int32
	var wg sync.WaitGroup
	for _, buffer := range l.buffers {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < l.pieces(from) && ctx.Err() == nil; i = int(next.Add(1)) - 1 {
				b, _, unread := l.read(buffer, from, i)
				l.unread.Add(unread)
				l.shows[i] = shows(b)
			}
		})
	}
	wg.Wait()
	return ctx.Err()
}

// read reads piece i of those from an offset on. What cannot be read is zero.
func (l *look) read(buffer []byte, from int64, i int) (b []byte, off, unread int64) {
	off = from + int64(i)*pieceSize
	b = buffer[:min(l.size-off, pieceSize)]
	return b, off, readPiece(l.r, b, off)
}

// readPiece reads p, and leaves zero what cannot be read: so many bytes.
func readPiece(r io.ReaderAt, p []byte, off int64) (unread int64) {
	if _, err := mapping.ReadFull(r, p, off); err != nil {
		unread, _ = readSectors(r, p, off)
	}
	return unread
}

// shows says whether anything that Carve searches for may start in b.
func shows(b []byte) bool {
	for ; len(b) >= SectorSize; b = b[SectorSize:] {
		if showsLabel(b) || showsArea(b) || startsText(b[:SectorSize]) || startsFile(b) {
			return true
		}
	}
	return false
}

func showsLabel(sector []byte) bool { return string(sector[:len(labelMagicText)]) == labelMagicText }

func showsArea(sector []byte) bool {
	return string(sector[mdaMagic:mdaMagic+len(mdaMagicText)]) == mdaMagicText
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
		case showsLabel(sector):
			c.label(sector, where)
		case showsArea(sector):
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
