package copyout

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// The note beside a file in the making, the map beside one that stays incomplete and the
// record beside one that is finished are one thing: a mapfile as the manual of GNU ddrescue
// describes it, so that ddrescue and its viewers can go on from there. What the bytes were
// taken from stands in comments.

// Identity is what a file in the making was taken from. It is taken up again only by
// the same.
type Identity struct {
	UUID  string
	Seqno uint64
	Size  int64 // bytes
	// Sources say, for whatever lies beneath and can tell (by a key of its own), in which
	// state it was. One that is known to both sides must not have changed; one may come
	// or go.
	Sources map[string]string
}

// continues says whether bytes taken from then go together with bytes taken from id now.
func (id Identity) continues(then Identity) bool {
	if id.UUID != then.UUID || id.Seqno != then.Seqno || id.Size != then.Size {
		return false
	}
	for key, state := range id.Sources {
		if before, known := then.Sources[key]; known && before != state {
			return false
		}
	}
	return true
}

// mapfile says which bytes of a file are good.
type mapfile struct {
	Identity
	done Ranges
	file string // of a record, the state of the file that it is of
}

// Bounds of what a mapfile may have us keep in memory.
const (
	maxHeader = 16 << 20 // bytes of lines before the blocks: a source for each PV
	maxRanges = 4 << 20  // good ranges; further ones are read from the volume again
)

// Status characters of ddrescue for what is not done.
const (
	untried = '?'
	bad     = '-'
)

const (
	mapTitle  = "# lvm2fs dump of "
	mapUUID   = "# uuid "
	mapSeqno  = "# seqno "
	mapSource = "# source "
	mapFile   = "# file "
)

// errNotOurs: the file is not a mapfile that was written here.
var errNotOurs = errors.New("not a map made by dump")

func (m mapfile) write(w io.Writer, title string, rest byte) error {
	b := bufio.NewWriter(w)
	fmt.Fprintf(b, "%s%s; in the format of GNU ddrescue\n", mapTitle, title)
	fmt.Fprintf(b, "%s%s\n%s%d\n", mapUUID, m.UUID, mapSeqno, m.Seqno)
	for _, key := range slices.Sorted(maps.Keys(m.Sources)) {
		fmt.Fprintf(b, "%s%s %s\n", mapSource, key, m.Sources[key])
	}
	if m.file != "" {
		fmt.Fprintf(b, "%s%s\n", mapFile, m.file)
	}
	pos, status := m.Size, byte('+')
	if left := m.done.Not(m.Size); len(left) > 0 && rest == untried {
		pos, status = left[0].Off, untried
	}
	fmt.Fprintf(b, "# current_pos  current_status  current_pass\n")
	fmt.Fprintf(b, "0x%08X     %c               1\n", pos, status)
	fmt.Fprintf(b, "#      pos        size  status\n")
	line := func(off, end int64, status byte) {
		if off < end {
			fmt.Fprintf(b, "0x%08X  0x%08X  %c\n", off, end-off, status)
		}
	}
	var off int64
	for _, r := range m.done {
		line(off, r.Off, rest)
		line(r.Off, r.End, '+')
		off = r.End
	}
	line(off, m.Size, rest)
	return b.Flush()
}

// readMapfile fails with errNotOurs for anything that write did not make, whole.
func readMapfile(r io.Reader) (mapfile, error) {
	lines := bufio.NewScanner(r)
	m, err := readHeader(lines)
	for err == nil && lines.Scan() {
		if line := lines.Text(); !strings.HasPrefix(line, "#") {
			err = m.addBlock(line)
		}
	}
	if err == nil {
		err = scanError(lines)
	}
	if err != nil {
		return mapfile{}, err
	}
	return m, nil
}

// readHeader reads all up to the line with the position, and fails like readMapfile.
func readHeader(lines *bufio.Scanner) (mapfile, error) {
	m := mapfile{Identity: Identity{Sources: map[string]string{}}}
	var title, uuid, seqno bool
	for length := 0; lines.Scan(); {
		line := lines.Text()
		if length += len(line); length > maxHeader {
			return mapfile{}, errNotOurs
		}
		switch {
		case strings.HasPrefix(line, mapTitle):
			title = true
		case strings.HasPrefix(line, mapUUID):
			m.UUID, uuid = line[len(mapUUID):], true
		case strings.HasPrefix(line, mapSeqno):
			n, err := strconv.ParseUint(line[len(mapSeqno):], 10, 64)
			if err != nil {
				return mapfile{}, errNotOurs
			}
			m.Seqno, seqno = n, true
		case strings.HasPrefix(line, mapSource):
			key, state, _ := strings.Cut(line[len(mapSource):], " ")
			m.Sources[key] = state
		case strings.HasPrefix(line, mapFile):
			m.file = line[len(mapFile):]
		case strings.HasPrefix(line, "#"):
		case !title || !uuid || !seqno:
			return mapfile{}, errNotOurs
		default:
			return m, nil
		}
	}
	return mapfile{}, cmp.Or(scanError(lines), errNotOurs)
}

func scanError(lines *bufio.Scanner) error {
	if err := lines.Err(); !errors.Is(err, bufio.ErrTooLong) {
		return err
	}
	return errNotOurs
}

// addBlock takes a line "pos size status". Blocks follow each other without gaps, so the
// size of the whole is the end of the last: a map that was cut off shows by it.
func (m *mapfile) addBlock(line string) error {
	f := strings.Fields(line)
	if len(f) != 3 || len(f[2]) != 1 {
		return errNotOurs
	}
	pos, err1 := strconv.ParseInt(f[0], 0, 64)
	size, err2 := strconv.ParseInt(f[1], 0, 64)
	if err1 != nil || err2 != nil || pos != m.Size || size <= 0 || pos+size < pos {
		return errNotOurs
	}
	m.Size = pos + size
	if f[2] == "+" && len(m.done) < maxRanges {
		m.done.Add(pos, pos+size)
	}
	return nil
}
