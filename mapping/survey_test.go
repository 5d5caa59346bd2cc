package mapping

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
)

// patchy is a volume with sectors that cannot be read.
type patchy struct {
	data  []byte
	bad   map[int64]bool // by sector
	reads int
	mute  bool // does not say how far it came
}

var errPatch = errors.New("bad sector")

func (p *patchy) ReadAt(b []byte, off int64) (int, error) {
	p.reads++
	n := 0
	for n < len(b) {
		at := off + int64(n)
		if p.bad[at/512] {
			if p.mute {
				n = 0
			}
			return n, errPatch
		}
		n += copy(b[n:], p.data[at:min((at/512+1)*512, int64(len(p.data)))])
	}
	return n, nil
}

func TestASurveyFindsEveryBadSector(t *testing.T) {
	for i := range 50 {
		rng := rand.New(rand.NewPCG(rand.Uint64(), 0))
		p := &patchy{data: make([]byte, 256<<10), bad: map[int64]bool{}, mute: i%2 == 0}
		for i := range p.data {
			p.data[i] = byte(rng.Uint32())
		}
		for range rng.IntN(6) {
			start := rng.Int64N(512)
			for i := range 1 + rng.Int64N(20) {
				p.bad[min(start+i, 511)] = true
			}
		}
		s := NewSurvey(p)
		got := make([]byte, len(p.data))
		found := map[int64]bool{}
		for off := 0; off < len(got); {
			n := min(512*(1+rng.IntN(100)), len(got)-off)
			s.Read(got[off:off+n], int64(off), func(at, n int64, err error) {
				if err != errPatch || at%512 != 0 || n%512 != 0 {
					t.Fatalf("%d bytes at %d: %v", n, at, err)
				}
				for i := range n / 512 {
					found[at/512+i] = true
				}
			})
			off += n
		}
		for i := range int64(512) {
			if found[i] != p.bad[i] || !found[i] && !bytes.Equal(got[i*512:(i+1)*512], p.data[i*512:(i+1)*512]) {
				t.Fatalf("sector %d: found %v, is %v", i, found[i], p.bad[i])
			}
		}
	}
}

func TestASurveyOfADeadVolumeTakesFewReads(t *testing.T) {
	p := &patchy{data: make([]byte, 32<<20), bad: map[int64]bool{}}
	for i := range int64(len(p.data) / 512) {
		p.bad[i] = true
	}
	last := int64(31<<20) + 5000
	delete(p.bad, last/512)
	s := NewSurvey(p)
	var lost []int64
	for off := int64(0); off < int64(len(p.data)); off += 1 << 20 {
		s.Read(make([]byte, 1<<20), off, func(at, n int64, err error) {
			for i := range n / 512 {
				lost = append(lost, at/512+i)
			}
		})
	}
	if p.reads > 3000 || len(lost) < len(p.bad) || !slices.IsSorted(lost) {
		t.Errorf("%d reads, %d sectors lost of %d", p.reads, len(lost), len(p.bad))
	}
}
