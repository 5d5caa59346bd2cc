package raid

import (
	"testing"

	"lvm2fs/mapping"
)

// endlessZeros is a leg of any size that costs no memory.
type endlessZeros struct{ size int64 }

func (z endlessZeros) Size() int64 { return z.size }
func (z endlessZeros) ReadAt(p []byte, off int64) (int, error) {
	clear(p)
	return len(p), nil
}

func (z endlessZeros) Map(off, max int64) (mapping.Extent, error) {
	return mapping.Extent{Kind: mapping.Zero, Length: min(max, z.size-off)}, nil
}

// FuzzNew holds that an array of any geometry, reshaped to any other, is refused, or any byte of it can be asked for.
// Map and ReadAt agree on what is there.
func FuzzNew(f *testing.F) {
	f.Add(int8(5), uint32(2), uint16(4), int64(65536), int64(1<<20), int64(0), int8(5), uint32(2), uint16(5), int64(32768), int64(1<<20), int64(1<<19), true, uint64(1), int64(1<<21), int64(1<<19))
	f.Add(int8(10), uint32(0x102), uint16(6), int64(4096), int64(1<<20), int64(0), int8(10), uint32(0x40201), uint16(5), int64(4096), int64(1<<20), int64(1<<20), false, uint64(6), int64(1<<18), int64(0))
	f.Add(int8(6), uint32(8), uint16(9), int64(512), int64(1<<40), int64(1), int8(0), uint32(0), uint16(1), int64(1<<40), int64(1<<41), int64(3), false, uint64(0xff), int64(-1), int64(1))
	f.Fuzz(func(t *testing.T, level int8, layout uint32, n uint16, chunk, legSize, dataOffset int64,
		toLevel int8, toLayout uint32, toN uint16, toChunk, toLegSize, position int64, backwards bool, lost uint64, off, inSync int64,
	) {
		c := Config{
			Geometry: Geometry{Level: Level(level), Layout: layout, Legs: int(n), Chunk: chunk, LegSize: legSize, DataOffset: dataOffset},
			InSync:   inSync,
		}
		if position%2 != 0 {
			c.Reshape = &Reshape{To: Geometry{Level: Level(toLevel), Layout: toLayout, Legs: int(toN), Chunk: toChunk, LegSize: toLegSize}, Position: position, Backwards: backwards}
		}
		for i := range min(max(int(n), int(toN)), MaxLegs) {
			leg := Leg{Volume: endlessZeros{min(max(legSize, 0), All/2)}, InSync: inSync ^ int64(i)}
			if lost>>(i%64)&1 != 0 {
				leg = Leg{Lost: errAway}
			}
			c.Legs = append(c.Legs, leg)
		}
		a, err := New(c)
		if err != nil || a.Size() == 0 {
			return
		}
		off = ((off % a.Size()) + a.Size()) % a.Size()
		p := make([]byte, 20000)
		for range 4 {
			e, err := a.Map(off, 1<<40)
			if err != nil || e.Length <= 0 || e.Length > a.Size()-off {
				t.Fatalf("%+v, %v", e, err)
			}
			m := min(int64(len(p)), e.Length)
			got, err := a.ReadAt(p[:m], off)
			if (err == nil) != (e.Kind != mapping.Missing) || err == nil && int64(got) != m {
				t.Fatalf("%v at %d: read %d of %d, %v", e.Kind, off, got, m, err)
			}
			a.ReadAt(p, off)
			if off += e.Length; off >= a.Size() {
				return
			}
		}
	})
}
