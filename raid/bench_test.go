package raid

import (
	"fmt"
	"testing"

	"lvm2fs/mapping"
)

// ram is a leg as fast as memory.
type ram struct{ bytes []byte }

func (r *ram) Name() string { return "ram" }
func (r *ram) Size() int64  { return int64(len(r.bytes)) }
func (r *ram) ReadAt(p []byte, off int64) (int, error) {
	return copy(p, r.bytes[off:]), nil
}

func (r *ram) Map(off, max int64) (mapping.Extent, error) {
	return mapping.Extent{Kind: mapping.Data, Device: r, Offset: off, Length: min(max, r.Size()-off)}, nil
}

// BenchmarkRebuild gives bytes rebuilt a second, in memory, on one core.
func BenchmarkRebuild(b *testing.B) {
	for _, c := range []struct {
		name   string
		g      Geometry
		l      loss
		wanted int
	}{
		{"xor", Geometry{Level: RAID5, Layout: LeftSymmetric, Legs: 5}, loss{a: 1, b: none, wantA: true}, 1},
		{"raid6 one lost and P", Geometry{Level: RAID6, Layout: ZeroRestart, Legs: 6}, loss{a: 1, b: none, wantA: true, p: true}, 1},
		{"raid6 two lost", Geometry{Level: RAID6, Layout: ZeroRestart, Legs: 6}, loss{a: 1, b: 2, wantA: true, wantB: true}, 2},
		{"raid6 two of ten lost", Geometry{Level: RAID6, Layout: ZeroRestart, Legs: 10}, loss{a: 1, b: 2, wantA: true, wantB: true}, 2},
	} {
		for _, chunk := range []int{4 << 10, 64 << 10, 512 << 10} {
			b.Run(fmt.Sprintf("%s/%dK", c.name, chunk>>10), func(b *testing.B) {
				c.g.Chunk, c.g.LegSize = int64(chunk), int64(chunk)
				table, err := rowsOf(c.g)
				if err != nil {
					b.Fatal(err)
				}
				rec, _ := recipeOf(table[0], c.l)
				var shards [][]byte
				for range len(rec.inputs(&table[0])) + c.wanted {
					shards = append(shards, make([]byte, chunk))
				}
				b.SetBytes(int64(chunk * c.wanted))
				for b.Loop() {
					if err := rec.enc.Encode(shards); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

func BenchmarkRead(b *testing.B) {
	const legSize = 8 << 20
	for _, c := range []struct {
		name string
		g    Geometry
		lost []int
	}{
		{"linear", Geometry{Level: RAID1, Legs: 1}, nil},
		{"raid0", Geometry{Level: RAID0, Legs: 4}, nil},
		{"raid5", Geometry{Level: RAID5, Layout: LeftSymmetric, Legs: 4}, nil},
		{"raid5 degraded", Geometry{Level: RAID5, Layout: LeftSymmetric, Legs: 4}, []int{1}},
		{"raid6", Geometry{Level: RAID6, Layout: ZeroRestart, Legs: 6}, nil},
		{"raid6 one lost", Geometry{Level: RAID6, Layout: ZeroRestart, Legs: 6}, []int{1}},
		{"raid6 two lost", Geometry{Level: RAID6, Layout: ZeroRestart, Legs: 6}, []int{1, 3}},
		{"raid10", Geometry{Level: RAID10, Layout: Near2, Legs: 4}, nil},
		{"raid10 degraded", Geometry{Level: RAID10, Layout: Near2, Legs: 4}, []int{1}},
	} {
		for _, chunk := range []int64{4 << 10, 64 << 10, 512 << 10} {
			for _, size := range []int64{4 << 10, 128 << 10, 1 << 20} {
				b.Run(fmt.Sprintf("%s/chunk=%dK/read=%dK", c.name, chunk>>10, size>>10), func(b *testing.B) {
					c.g.Chunk, c.g.LegSize = chunk, legSize
					var legs []Leg
					for range c.g.Legs {
						legs = append(legs, Leg{Volume: &ram{make([]byte, legSize)}, InSync: All})
					}
					for _, i := range c.lost {
						legs[i] = Leg{Lost: errAway}
					}
					a, err := New(Config{Geometry: c.g, Legs: legs, InSync: All})
					if err != nil {
						b.Fatal(err)
					}
					p := make([]byte, size)
					b.SetBytes(size)
					off := int64(0)
					for b.Loop() {
						if off += size; off+size > a.Size() {
							off = 0
						}
						if _, err := a.ReadAt(p, off); err != nil {
							b.Fatal(err)
						}
					}
				})
			}
		}
	}
}
