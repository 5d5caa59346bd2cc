package raid

import (
	"bytes"
	"context"
	"slices"
	"sync"

	"lvm2fs/mapping"
)

// Finding is a place where an array contradicts itself, or where a leg cannot be read.
type Finding struct {
	Problem Problem
	Length  int64 // bytes, of each of Places
	// Places are where the bytes are that were compared: copies in the order of the layout; data in
	// the order of the array, then P, then Q. Of Unreadable it is the one place.
	Places []Place
	// Blamed is the number in Places of what is wrong, or for Unreadable lost; Unknown where nothing
	// tells which it is.
	Blamed int
	// Against is, of CopiesDiffer, the number in Places of the copy that Blamed differs from: the
	// first of those that have the most others on their side.
	Against int
	// P and Q say, of ParityDiffers, which parity does not fit the data.
	P, Q bool
	Err  error // of Unreadable
}

// Problem says what is wrong.
type Problem uint8

const (
	// CopiesDiffer: a copy in a RAID1 or RAID10 is not equal to another.
	CopiesDiffer Problem = iota
	// ParityDiffers: P or Q of a row is not that of its data.
	ParityDiffers
	// Unreadable: a leg fails to read. Its bytes may be had from the others.
	Unreadable
)

// Unknown is the Blamed of a Finding that cannot tell.
const Unknown = -1

// Place is where some bytes of an array are.
type Place struct {
	Leg       int
	LegOffset int64 // bytes from the start of the leg's Volume
	Role      Role
	Offset    int64 // bytes of the array; for parity, where its row begins
}

// Role says what a place holds.
type Role uint8

// The roles.
const (
	Data Role = iota
	P
	Q
)

// Verification is how Verify tells what it does. Its functions are called one at a time.
type Verification struct {
	// Found is called for each finding; its error ends Verify.
	Found func(Finding) error
	// Progress, which may be nil, is told how many bytes of the array are done.
	Progress func(done int64)
}

// Verify reads all legs once, as far as they can be used, and compares the copies, or the parity with
// the data, where the array is in sync, nothing was being written, and no leg is lost, stale or still to
// be rebuilt. It returns the number of bytes of the array that were compared; of copies, two are
// enough. The faults of legs that it finds have no influence on reading, and OnError is not told.
// It fails with the error of Found or ctx.
func (a *Array) Verify(ctx context.Context, how Verification) (compared int64, err error) {
	v := &verifier{ctx: ctx, how: how, open: map[findingKey]Finding{}}
	for _, p := range a.parts {
		v.origin = p.origin
		batches := p.body.batches(v, p.start-p.origin, p.end-p.origin)
		if err := v.run(batches); err != nil {
			return v.compared, err
		}
	}
	return v.compared, v.flush()
}

// verifier is one run of Verify.
type verifier struct {
	ctx      context.Context
	how      Verification
	origin   int64 // of the part
	compared int64
	surveys  []*mapping.Survey // by leg
	open     map[findingKey]Finding
	slabs    [2][]byte
	turn     int
}

// batch is what is read at a time, and compared while the next is read.
type batch struct {
	legs    legs
	pieces  []*verified
	compare func() error
	end     int64 // of the array
}

// verified is a piece of a leg with what of it could not be read.
type verified struct {
	piece
	lost []lostSpan // of x
}

type lostSpan struct {
	span
	err error
}

// badAt says whether x could not be read, and for how many of max bytes that holds.
func (p *verified) badAt(x, max int64) (*lostSpan, int64) {
	for i := range p.lost {
		if l := &p.lost[i]; l.start > x {
			return nil, min(max, l.start-x)
		} else if l.end > x {
			return l, min(max, l.end-x)
		}
	}
	return nil, max
}

// The bytes of one batch: of a leg, and of all.
const (
	verifyMost  = 1 << 20
	verifyLeast = 64 << 10
	verifyAll   = 16 << 20
)

// window is how many bytes of each of n legs are read at a time.
func verifyWindow(n int) int64 { return min(max(verifyAll/int64(n), verifyLeast), verifyMost) }

// slab is memory for a batch; it is that of the last but one.
func (v *verifier) slab(n int64) []byte {
	v.turn ^= 1
	if int64(len(v.slabs[v.turn])) < n {
		v.slabs[v.turn] = make([]byte, n)
	}
	return v.slabs[v.turn]
}

func (v *verifier) run(batches func(yield func(*batch) bool)) error {
	var before *batch
	var err error
	v.surveys = nil
	for b := range batches {
		var reading sync.WaitGroup
		reading.Go(func() { v.read(b) })
		if err = v.ctx.Err(); err == nil {
			err = v.finish(before)
		}
		reading.Wait()
		before = b
		if err != nil {
			return err
		}
	}
	return v.finish(before)
}

func (v *verifier) finish(b *batch) error {
	if b == nil {
		return nil
	}
	if err := b.compare(); err != nil {
		return err
	}
	if v.how.Progress != nil {
		v.how.Progress(v.origin + b.end)
	}
	return nil
}

// read reads all pieces of a batch, from all legs at once.
func (v *verifier) read(b *batch) {
	if v.surveys == nil {
		v.surveys = make([]*mapping.Survey, len(b.legs.all))
		for i, leg := range b.legs.all {
			v.surveys[i] = mapping.NewSurvey(leg.Volume)
		}
	}
	byLeg := make([][]*verified, len(b.legs.all))
	for _, p := range b.pieces {
		byLeg[p.leg] = append(byLeg[p.leg], p)
	}
	b.legs.faults = newFaults(len(b.legs.all), nil)
	var reading sync.WaitGroup
	for leg, pieces := range byLeg {
		if pieces != nil {
			reading.Go(func() { b.legs.survey(v.surveys[leg], pieces) })
		}
	}
	reading.Wait()
}

// survey reads pieces of one leg.
func (l legs) survey(s *mapping.Survey, pieces []*verified) {
	plain := make([]piece, len(pieces))
	for i, p := range pieces {
		plain[i] = p.piece
	}
	l.gather(plain)
	for i, p := range pieces {
		if !plain[i].failed {
			continue
		}
		s.Read(p.buf, l.base+p.x, func(off, n int64, err error) {
			p.lost = append(p.lost, lostSpan{span{off - l.base, off - l.base + n}, err})
		})
	}
}

// findingKey is what findings have in common that may be one run.
type findingKey struct {
	problem         Problem
	blamed, against int
	leg             int // the first
	p, q            bool
}

// found takes a finding, and joins it with the one that it goes on from.
func (v *verifier) found(f Finding) error {
	for i := range f.Places {
		f.Places[i].Offset += v.origin
	}
	key := findingKey{f.Problem, f.Blamed, f.Against, f.Places[0].Leg, f.P, f.Q}
	before, ok := v.open[key]
	if ok && before.goesOn(f) {
		before.Length += f.Length
		v.open[key] = before
		return nil
	}
	v.open[key] = f
	if ok {
		return v.how.Found(before)
	}
	return nil
}

func (f Finding) goesOn(next Finding) bool {
	return slices.EqualFunc(f.Places, next.Places, func(a, b Place) bool {
		sameRow := a.Role != Data && a.Offset == b.Offset
		return a.Leg == b.Leg && a.Role == b.Role && a.LegOffset+f.Length == b.LegOffset && (sameRow || a.Role == Data && a.Offset+f.Length == b.Offset)
	})
}

// flush tells of all findings that are still open.
func (v *verifier) flush() error {
	var rest []Finding
	for _, f := range v.open {
		rest = append(rest, f)
	}
	slices.SortFunc(rest, func(a, b Finding) int {
		if a.Places[0].Offset != b.Places[0].Offset {
			return int(min(max(a.Places[0].Offset-b.Places[0].Offset, -1), 1))
		}
		return a.Blamed - b.Blamed
	})
	for _, f := range rest {
		if err := v.how.Found(f); err != nil {
			return err
		}
	}
	return nil
}

// unreadable tells what of a piece could not be read. place says where x is, and for how many bytes.
func (v *verifier) unreadable(p *verified, place func(x int64) (Place, int64)) error {
	for _, l := range p.lost {
		for x := l.start; x < l.end; {
			at, n := place(x)
			n = min(n, l.end-x)
			if err := v.found(Finding{Problem: Unreadable, Length: n, Places: []Place{at}, Err: l.err}); err != nil {
				return err
			}
			x += n
		}
	}
	return nil
}

// equal says whether all of bufs are.
func equal(bufs [][]byte) bool {
	for _, b := range bufs[1:] {
		if !bytes.Equal(bufs[0], b) {
			return false
		}
	}
	return true
}
