package raid

import (
	"fmt"
	"testing"

	"lvm2fs/mapping"
)

// TestAnArraySurvivesWhatItCanBeReadWithout holds Survives against the arrays themselves, for every
// set of lost legs.
func TestAnArraySurvivesWhatItCanBeReadWithout(t *testing.T) {
	const chunk = 512
	for _, g := range []Geometry{
		{Level: RAID0, Legs: 2},
		{Level: RAID1, Legs: 3},
		{Level: RAID4, Legs: 3},
		{Level: RAID5, Layout: LeftSymmetric, Legs: 4},
		{Level: RAID6, Layout: ZeroRestart, Legs: 5},
		{Level: RAID10, Layout: 0x102, Legs: 4},
		{Level: RAID10, Layout: 0x102, Legs: 3},
		{Level: RAID10, Layout: 0x103, Legs: 5},
		{Level: RAID10, Layout: 0x201, Legs: 4},
		{Level: RAID10, Layout: 0x201, Legs: 5},
		{Level: RAID10, Layout: 0x10201, Legs: 5},
		{Level: RAID10, Layout: 0x40201, Legs: 4},
		{Level: RAID10, Layout: 0x202, Legs: 4},
	} {
		g.Chunk, g.LegSize = chunk, 24*chunk
		t.Run(fmt.Sprintf("%v %#x of %d", g.Level, g.Layout, g.Legs), func(t *testing.T) {
			for set := range 1 << g.Legs {
				lost := func(leg int) bool { return set>>leg&1 != 0 }
				c := Config{Geometry: g, InSync: All}
				for leg := range g.Legs {
					l := Leg{Volume: blank(g.LegSize), InSync: All}
					if lost(leg) {
						l = Leg{Lost: mapping.ErrMissing}
					}
					c.Legs = append(c.Legs, l)
				}
				a, err := New(c)
				if err != nil {
					t.Fatal(err)
				}
				_, err = a.ReadAt(make([]byte, a.Size()), 0)
				if got, want := g.Survives(lost), err == nil; got != want {
					t.Errorf("without legs %b: Survives is %t, reading gives %v", set, got, err)
				}
			}
		})
	}
}

// blank is a leg of zeros.
type blank int64

func (b blank) Size() int64 { return int64(b) }

func (b blank) ReadAt(p []byte, _ int64) (int, error) {
	clear(p)
	return len(p), nil
}

func (b blank) Map(_, n int64) (mapping.Extent, error) {
	return mapping.Extent{Kind: mapping.Zero, Length: n}, nil
}
