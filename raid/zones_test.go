package raid

import (
	"testing"

	"lvm2fs/mapping"
)

// numbered is a leg of which every byte lies on itself.
type numbered struct {
	blank
	mapping.Device
}

func (n *numbered) Size() int64 { return n.blank.Size() }

func (n *numbered) ReadAt(p []byte, off int64) (int, error) { return n.blank.ReadAt(p, off) }

func (n *numbered) Map(off, length int64) (mapping.Extent, error) {
	return mapping.Extent{Kind: mapping.Data, Length: length, Device: n, Offset: off}, nil
}

// TestLayoutsAgreeWhereEveryChunkDoes asks both arrays for each chunk.
func TestLayoutsAgreeWhereEveryChunkDoes(t *testing.T) {
	const chunk = 512
	differ := 0
	for a := int64(1); a < 8; a++ {
		for b := int64(1); b < 8; b++ {
			for c := int64(1); c < 8; c++ {
				g := Geometry{Level: RAID0, Legs: 3, Chunk: chunk, LegSizes: []int64{a * chunk, b * chunk, c * chunk}}
				var legs []Leg
				for _, size := range g.LegSizes {
					legs = append(legs, Leg{Volume: &numbered{blank: blank(size)}, InSync: All})
				}
				with := func(layout uint32) *Array {
					g := g
					g.Layout = layout
					v, err := New(Config{Geometry: g, Legs: legs})
					if err != nil {
						t.Fatal(err)
					}
					return v
				}
				original, alternate := with(Original), with(Alternate)
				same := true
				for off := int64(0); off < original.Size(); off += chunk {
					x, _ := original.Map(off, chunk)
					y, _ := alternate.Map(off, chunk)
					same = same && x == y
				}
				if !same {
					differ++
				}
				if g.LayoutsAgree() != same {
					t.Errorf("legs of %d, %d and %d chunks: got %t, want %t", a, b, c, !same, same)
				}
			}
		}
	}
	if differ == 0 {
		t.Error("no legs at all make a difference")
	}
}
