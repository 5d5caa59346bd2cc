package ondisk

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"slices"

	"lvm2fs/mapping"
)

// maxRingSize bounds what is read of one metadata area. lvm2 makes areas of 1 MiB unless it is told otherwise.
const maxRingSize = 256 << 20

// SlotName says which slot of an area's header points to a text.
type SlotName string

// Slots that point to a text: none for one that was left in the ring.
const (
	NoSlot           SlotName = ""
	CommittedSlot    SlotName = "committed"
	PrecommittedSlot SlotName = "precommitted"
)

// FoundText is a metadata text that was found by what it looks like. No checksum vouches for one that no slot
// points to.
type FoundText struct {
	Offset int64    // bytes from the start of the device
	Slot   SlotName // that points to it, in a header that is whole
	Bytes  []byte   // without the NUL at the end
	Ended  bool     // a NUL follows; otherwise another text or the end of the area cut it off
	Err    error    // why it is not what it was: the checksum in its slot
}

// FindTexts finds the texts in the ring of a metadata area, wherever they lie: what the header points to, and what
// was written before. They are in the order in which they lie. The header may be damaged, and the area cut off by
// the end of the device of deviceSize bytes. Bytes that cannot be read cut texts off; the error of the first such
// place comes with the texts.
// (docs/format/01-label-and-metadata-area.md, sections 6 and 8)
func FindTexts(r io.ReaderAt, a Area, deviceSize int64) ([]FoundText, error) {
	if a.Offset < 0 || a.Size <= mdaHeaderSize || a.Offset > deviceSize-mdaHeaderSize {
		return nil, fmt.Errorf("metadata area at byte %d: %w: %d bytes, on a device of %d", a.Offset, ErrFormat, a.Size, deviceSize)
	}
	whole := min(a.Size, deviceSize-a.Offset) == a.Size && a.Size <= maxRingSize
	b := make([]byte, min(a.Size, deviceSize-a.Offset, maxRingSize))
	err := readAround(r, b, a.Offset)
	if err != nil {
		err = fmt.Errorf("metadata area at byte %d: %w", a.Offset, err)
	}
	ring := ring{area: a, bytes: b, whole: whole}
	if m, headerErr := decodeMetadataArea(b[:mdaHeaderSize]); headerErr == nil && m.Offset == a.Offset && m.Size == a.Size {
		ring.header = m
	}
	return ring.texts(), err
}

// ring is a metadata area in memory:
//
//	0        512                                    size
//	| header | rest of C | free | A |  B  |    C     |
//
// A text starts at a multiple of 512, and goes on behind the header where it reaches the end.
type ring struct {
	area   Area
	bytes  []byte        // the area, from its header on
	whole  bool          // bytes are all of the area, so that what reaches the end goes on
	header *MetadataArea // nil if it is damaged
}

func (r *ring) texts() []FoundText {
	starts := r.starts()
	found := make([]FoundText, 0, len(starts))
	for i, start := range starts {
		limit := starts[(i+1)%len(starts)]
		t := FoundText{Offset: r.area.Offset + int64(start)}
		t.Bytes, t.Ended = r.from(start, limit)
		r.nameSlot(&t, start)
		found = append(found, t)
	}
	return found
}

// starts are the offsets in the area at which texts start.
func (r *ring) starts() []int {
	var starts []int
	for off := mdaHeaderSize; off < len(r.bytes); off += SectorSize {
		if startsText(r.bytes[off:]) {
			starts = append(starts, off)
		}
	}
	for _, slot := range r.slots() {
		if slot.Offset >= mdaHeaderSize && slot.Offset < int64(len(r.bytes)) {
			starts = append(starts, int(slot.Offset))
		}
	}
	slices.Sort(starts)
	return slices.Compact(starts)
}

func (r *ring) slots() map[SlotName]Slot {
	if r.header == nil {
		return nil
	}
	return map[SlotName]Slot{CommittedSlot: r.header.Committed, PrecommittedSlot: r.header.Precommitted}
}

// from is the text at start, which ends at a NUL or at the start of the next text at limit.
func (r *ring) from(start, limit int) (text []byte, ended bool) {
	end := len(r.bytes)
	if limit > start {
		end = limit
	}
	text, ended = cutAtNUL(r.bytes[start:end])
	if ended || limit > start || !r.whole {
		return text, ended
	}
	rest, ended := cutAtNUL(r.bytes[mdaHeaderSize:limit])
	return slices.Concat(text, rest), ended
}

// nameSlot says which slot points to the text, and whether its checksum agrees.
func (r *ring) nameSlot(t *FoundText, start int) {
	for name, slot := range r.slots() {
		if slot.Offset != int64(start) || slot.Size == 0 || t.Slot == CommittedSlot {
			continue
		}
		t.Slot, t.Err = name, nil
		stored := append(slices.Clone(t.Bytes), 0)
		if int64(len(stored)) != slot.Size || CRC(stored) != slot.Checksum {
			t.Err = fmt.Errorf("metadata text at byte %d: %w", t.Offset, ErrChecksum)
		}
	}
}

func cutAtNUL(b []byte) (text []byte, ended bool) {
	text, _, ended = bytes.Cut(b, []byte{0})
	return text, ended
}

// startsText says whether b starts as a text in a metadata area does:
//
//	NAME {
//	id = "..."
//	seqno = 1
//
// The seqno tells it from an LV's section, which can start anywhere in a text.
// (docs/format/01-label-and-metadata-area.md, section 8)
func startsText(b []byte) bool {
	name := 0
	for name < len(b) && name <= maxNameSize && isNameByte(b[name]) {
		name++
	}
	if name == 0 || name > maxNameSize || name == len(b) || !isSpace(b[name]) && b[name] != '{' {
		return false
	}
	rest := b[name:]
	var ok bool
	for _, word := range []string{"{", "id", "=", `"`} {
		if rest, ok = cutWord(rest, word); !ok {
			return false
		}
	}
	const longestUUID = 2 * uuidSize
	end := bytes.IndexByte(rest[:min(len(rest), longestUUID)], '"')
	if end < 0 {
		return false
	}
	rest, ok = cutWord(rest[end+1:], "seqno")
	if !ok {
		return false
	}
	_, ok = cutWord(rest, "=")
	return ok
}

// maxNameSize is the length in bytes of the longest name of a VG.
const maxNameSize = 127

func isNameByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_' || c == '+' || c == '.' || c == '-'
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }

// cutWord takes white space and a word from the start of b.
func cutWord(b []byte, word string) ([]byte, bool) {
	b = b[:min(len(b), SectorSize)]
	for len(b) > 0 && isSpace(b[0]) {
		b = b[1:]
	}
	return bytes.CutPrefix(b, []byte(word))
}

// readAround reads len(p) bytes at off. Sectors that cannot be read are left zero, and the first error is returned.
// If many cannot be read, what follows is left zero too.
func readAround(r io.ReaderAt, p []byte, off int64) error {
	const piece = 1 << 20
	var first error
	for unread := int64(0); len(p) > 0 && unread < piece; {
		part := p[:min(len(p), piece)]
		if _, err := mapping.ReadFull(r, part, off); err != nil {
			n, err := readSectors(r, part, off)
			unread += n
			first = cmp.Or(first, err)
		}
		p, off = p[len(part):], off+int64(len(part))
	}
	return first
}

// readSectors reads p, of which a part could not be read, sector by sector. Where many sectors fail it gives up, and
// leaves the rest zero. It returns how many bytes it did not read, and the first error.
func readSectors(r io.ReaderAt, p []byte, off int64) (unread int64, first error) {
	const maxFailures = 16
	clear(p)
	for failures := 0; len(p) > 0; p, off = p[min(len(p), SectorSize):], off+SectorSize {
		if failures == maxFailures {
			return unread + int64(len(p)), first
		}
		sector := p[:min(len(p), SectorSize)]
		if _, err := mapping.ReadFull(r, sector, off); err != nil {
			clear(sector)
			failures++
			unread += int64(len(sector))
			first = cmp.Or(first, fmt.Errorf("sector at byte %d: %w", off, err))
		}
	}
	return unread, first
}
