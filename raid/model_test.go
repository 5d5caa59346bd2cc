package raid

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"lvm2fs/mapping"
)

// The model is slow and obvious. It draws the table of an array cell by cell, moving cells about as the layouts are
// described in words. It knows no formula for where a byte is.

// cell is one chunk of a leg.
type cell struct {
	kind   byte // D, P, Q, or 0 for unused
	number int  // of D: chunk of the array
	power  int  // of D in a row with Q: its exponent
}

func (c cell) String() string {
	switch c.kind {
	case 'D':
		return fmt.Sprintf("D%d", c.number)
	case 0:
		return "-"
	}
	return string(c.kind)
}

// drawing is a table of an array: rows of one cell for each leg.
type drawing [][]cell

// String has one line a row, cells apart by one blank.
func (d drawing) String() string {
	var b strings.Builder
	for _, row := range d {
		for i, c := range row {
			if i > 0 {
				b.WriteByte(' ')
			}
			b.WriteString(c.String())
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// draw draws the first rows of each leg.
func draw(g Geometry, rows int) drawing {
	switch g.Level {
	case RAID1:
		out := make(drawing, rows)
		for r := range out {
			for range g.Legs {
				out[r] = append(out[r], cell{kind: 'D', number: r})
			}
		}
		return out
	case RAID10:
		return draw10(g, rows)
	}
	var out drawing
	next := 0
	for r := range rows {
		var data []cell
		for range g.Legs - g.ParityLegs() {
			data = append(data, cell{kind: 'D', number: next})
			next++
		}
		switch {
		case g.Level == RAID0:
			out = append(out, data)
		case g.Level == RAID4:
			out = append(out, append(data, cell{kind: 'P'}))
		case g.Level == RAID5:
			out = append(out, draw5(g.Layout, data, r))
		default:
			out = append(out, draw6(g.Layout, data, r))
		}
	}
	return out
}

// walking is where a thing is in row r that starts at leg first and moves by one leg a
// row, left or right, round and round.
func walking(n, first, step, r int) int {
	at := first
	for range r {
		at += step
		if at < 0 {
			at = n - 1
		}
		if at == n {
			at = 0
		}
	}
	return at
}

func rotated(cells []cell, first int) []cell {
	out := slices.Clone(cells)
	for range first {
		last := out[len(out)-1]
		copy(out[1:], out[:len(out)-1])
		out[0] = last
	}
	return out
}

func draw5(layout uint32, data []cell, r int) []cell {
	n := len(data) + 1
	p := cell{kind: 'P'}
	left, right := walking(n, n-1, -1, r), walking(n, 0, 1, r)
	switch layout {
	case LeftAsymmetric:
		return slices.Insert(data, left, p)
	case RightAsymmetric:
		return slices.Insert(data, right, p)
	case LeftSymmetric:
		return rotated(append([]cell{p}, data...), left)
	case RightSymmetric:
		return rotated(append([]cell{p}, data...), right)
	case ParityFirst:
		return append([]cell{p}, data...)
	case ParityLast:
		return append(data, p)
	}
	panic("no such layout")
}

func draw6(layout uint32, data []cell, r int) []cell {
	n := len(data) + 2
	p, q := cell{kind: 'P'}, cell{kind: 'Q'}
	pair := func(at int) []cell {
		if at == n-1 {
			return append(append([]cell{q}, data...), p)
		}
		return slices.Insert(data, at, p, q)
	}
	var out []cell
	switch layout {
	case ZeroRestart, RightAsymmetric:
		out = pair(walking(n, 0, 1, r))
	case NRestart:
		out = pair(walking(n, n-2, -1, r))
	case LeftAsymmetric:
		out = pair(walking(n, n-1, -1, r))
	case NContinue:
		out = rotated(append(append([]cell{p}, data...), q), walking(n, n-1, -1, r))
	case LeftSymmetric:
		out = rotated(append([]cell{p, q}, data...), walking(n, n-1, -1, r))
	case RightSymmetric:
		out = rotated(append([]cell{p, q}, data...), walking(n, 0, 1, r))
	case ParityFirst:
		out = append([]cell{p, q}, data...)
	case ParityLast:
		out = append(data, p, q)
	default:
		out = append(draw5(layout-16, data, r), q)
	}
	switch layout {
	case ZeroRestart, NRestart, NContinue:
		for i := range out {
			out[i].power = i
		}
	default:
		at := slices.IndexFunc(out, func(c cell) bool { return c.kind == 'Q' })
		power := 0
		for range n {
			if at++; at == n {
				at = 0
			}
			if out[at].kind == 'D' {
				out[at].power = power
				power++
			}
		}
	}
	return out
}

func draw10(g Geometry, rows int) drawing {
	near, far, offset, sets := int(g.Layout&0xff), int(g.Layout>>8&0xff), g.Layout>>16&1 != 0, g.Layout>>17
	size := g.Legs
	switch sets {
	case 1:
		size = g.Legs / far
	case 2:
		size = far * near
	}
	// moved is the cells of a row moved to the right by near legs, within each set.
	moved := func(row []cell) []cell {
		var out []cell
		for len(row) > 0 {
			n := size
			if len(row) < 2*size {
				n = len(row)
			}
			out = append(out, rotated(row[:n], near)...)
			row = row[n:]
		}
		return out
	}
	section := rows / far
	base := make(drawing, section)
	next := 0
	for i := range section * g.Legs {
		base[i/g.Legs] = append(base[i/g.Legs], cell{kind: 'D', number: next})
		if i%near == near-1 {
			next++
		}
	}
	// A chunk that has not all of its near copies is not there.
	for _, row := range base {
		for i := range row {
			if row[i].number == next {
				row[i] = cell{}
			}
		}
	}
	out := drawing{}
	if offset {
		for _, row := range base {
			for range far {
				out = append(out, row)
				row = moved(row)
			}
		}
		return out
	}
	// Far sections lie as close as the chunks in use let them.
	for len(base) > 0 && !slices.ContainsFunc(base[len(base)-1], func(c cell) bool { return c.kind != 0 }) {
		base = base[:len(base)-1]
	}
	for range far {
		out = append(out, base...)
		for r := range base {
			base[r] = moved(base[r])
		}
		base = slices.Clone(base)
	}
	return out
}

// chunkOf is the chunk that the model works with.
func chunkOf(g Geometry) int64 {
	if g.Level == RAID1 {
		return 4096
	}
	return g.Chunk
}

// encode writes an array's data to the legs of a geometry.
func (d drawing) encode(g Geometry, data []byte, legs []*disk) {
	chunk := int(chunkOf(g))
	for r, row := range d {
		at := int(g.DataOffset) + r*chunk
		p, q := make([]byte, chunk), make([]byte, chunk)
		for i, c := range row {
			if c.kind != 'D' {
				continue
			}
			for j := range chunk {
				var b byte
				if from := c.number*chunk + j; from < len(data) {
					b = data[from]
				} else {
					b = legs[i].bytes[at+j]
				}
				legs[i].bytes[at+j] = b
				p[j] ^= b
				q[j] ^= powers[c.power][b]
			}
		}
		for i, c := range row {
			switch c.kind {
			case 'P':
				copy(legs[i].bytes[at:], p)
			case 'Q':
				copy(legs[i].bytes[at:], q)
			}
		}
	}
}

// powers is slowPower of everything.
var powers = func() (out [32][256]byte) {
	for e := range out {
		for b := range out[e] {
			out[e][b] = slowPower(byte(b), e)
		}
	}
	return
}()

// slowPower is b times 2 to the e in the field of RAID 6.
func slowPower(b byte, e int) byte {
	for range e {
		carry := b >= 0x80
		b += b
		if carry {
			b ^= 0x1d
		}
	}
	return b
}

// disk is a leg in memory, with all the ways to go wrong.
type disk struct {
	name   string
	bytes  []byte
	gone   []span // missing, and Map says so
	broken []span // fail to read, but Map does not know
	grain  int64  // Map's answers end at multiples of it
	reads  atomic.Int64

	mu         sync.RWMutex // of bytes, against writers
	writeFails atomic.Bool
	holeless   bool          // cannot punch holes
	lag        time.Duration // at most, before a read or write
}

func (d *disk) Name() string { return d.name }
func (d *disk) Size() int64  { return int64(len(d.bytes)) }

func (d *disk) wait() {
	if d.lag > 0 {
		time.Sleep(rand.N(d.lag))
	}
}

var errBroken = errors.New("input/output error")

func (d *disk) ReadAt(p []byte, off int64) (int, error) {
	d.reads.Add(1)
	end, err := off+int64(len(p)), error(nil)
	stop := func(at int64, why error) {
		if at < end {
			end, err = at, why
		}
	}
	stop(d.Size(), errors.New("read beyond the end"))
	for _, s := range d.gone {
		if s.end > off {
			stop(max(off, s.start), errGone)
		}
	}
	for _, s := range d.broken {
		if s.end > off {
			stop(max(off, s.start), errBroken)
		}
	}
	d.wait()
	d.mu.RLock()
	defer d.mu.RUnlock()
	return copy(p[:end-off], d.bytes[off:end]), err
}

func (d *disk) Map(off, max int64) (mapping.Extent, error) {
	if off < 0 || off >= d.Size() || max <= 0 {
		panic(fmt.Sprintf("Map(%d, %d) of %d bytes", off, max, d.Size()))
	}
	n := min(max, d.Size()-off)
	if d.grain > 0 {
		n = min(n, (off/d.grain+1)*d.grain-off)
	}
	for _, s := range d.gone {
		if s.start > off {
			n = min(n, s.start-off)
		} else if s.end > off {
			return mapping.Extent{Kind: mapping.Missing, Length: min(n, s.end-off), Err: errGone}, nil
		}
	}
	return mapping.Extent{Kind: mapping.Data, Device: d, Offset: off, Length: n}, nil
}

var errGone = fmt.Errorf("gone: %w", mapping.ErrMissing)

func covers(spans []span, at int64) bool {
	for _, s := range spans {
		if s.start <= at && at < s.end {
			return true
		}
	}
	return false
}

// world is an array with known contents.
type world struct {
	g     Geometry
	table drawing
	data  []byte
	disks []*disk
}

func newWorld(rng *rand.Rand, g Geometry) *world {
	w := &world{g: g, table: draw(g, int(g.LegSize/chunkOf(g)))}
	w.data = noise(rng, g.Size())
	for i := range g.Legs {
		w.disks = append(w.disks, &disk{name: fmt.Sprint("disk", i), bytes: noise(rng, g.DataOffset+g.LegSize)})
	}
	w.table.encode(g, w.data, w.disks)
	return w
}

func noise(rng *rand.Rand, n int64) []byte {
	out := make([]byte, 0, n+8)
	for int64(len(out)) < n {
		out = binary.LittleEndian.AppendUint64(out, rng.Uint64())
	}
	return out[:n]
}

// legs is the world's disks as legs in perfect order.
func (w *world) legs() []Leg {
	var out []Leg
	for _, d := range w.disks {
		out = append(out, Leg{Volume: d, InSync: All})
	}
	return out
}

// readable says which bytes of the world's array can be read. usable says of each leg and
// x whether it can be used, inSync whether parity is true there.
func (w *world) readable(usable func(leg int, x int64) bool, inSync func(x int64) bool) []bool {
	chunk := chunkOf(w.g)
	out := make([]bool, len(w.data))
	for r, row := range w.table {
		for j := int64(0); j < chunk; j += sector { // all that is lost is lost by the sector
			x := int64(r)*chunk + j
			lost := 0
			for i, c := range row {
				if c.kind != 0 && !usable(i, x) {
					lost++
				}
			}
			for i, c := range row {
				at := int64(c.number)*chunk + j
				if c.kind != 'D' || at >= int64(len(out)) {
					continue
				}
				if usable(i, x) || w.g.ParityLegs() > 0 && inSync(x) && lost <= w.g.ParityLegs() {
					for k := range int64(sector) {
						out[at+k] = true
					}
				}
			}
		}
	}
	return out
}
