package raid

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// halfReshaped is a world on whose disks the data is in g, and at another offset in to.
func halfReshaped(rng *rand.Rand, g, to Geometry) (*world, *world) {
	size := min(g.Size(), to.Size())
	w := newWorld(rng, g)
	w.data = w.data[:size]
	for i, d := range w.disks {
		w.disks[i].bytes = append(d.bytes, noise(rng, to.DataOffset+to.LegSize-d.Size())...)
	}
	for i := len(w.disks); i < to.Legs; i++ {
		w.disks = append(w.disks, &disk{bytes: noise(rng, to.DataOffset+to.LegSize)})
	}
	after := &world{g: to, table: draw(to, int(to.LegSize/chunkOf(to))), data: w.data, disks: w.disks}
	after.table.encode(to, w.data, w.disks)
	return w, after
}

func TestAReshapeIsReadOnBothSidesOfItsPosition(t *testing.T) {
	for name, pair := range map[string][2]Geometry{
		"leg added":     {{Level: RAID5, Layout: LeftSymmetric, Legs: 3, Chunk: 2048}, {Level: RAID5, Layout: LeftSymmetric, Legs: 4, Chunk: 2048}},
		"legs removed":  {{Level: RAID6, Layout: ZeroRestart, Legs: 7, Chunk: 2048}, {Level: RAID6, Layout: ZeroRestart, Legs: 5, Chunk: 2048}},
		"other layout":  {{Level: RAID5, Layout: LeftSymmetric, Legs: 4, Chunk: 2048}, {Level: RAID5, Layout: ParityLast, Legs: 4, Chunk: 2048}},
		"other chunk":   {{Level: RAID6, Layout: NContinue, Legs: 5, Chunk: 4096}, {Level: RAID6, Layout: NContinue, Legs: 5, Chunk: 1024}},
		"raid10 grown":  {{Level: RAID10, Layout: Near2, Legs: 4, Chunk: 2048}, {Level: RAID10, Layout: Near2, Legs: 6, Chunk: 2048}},
		"raid6 to 5":    {{Level: RAID6, Layout: ParityLast, Legs: 5, Chunk: 2048}, {Level: RAID5, Layout: ParityLast, Legs: 4, Chunk: 2048}},
		"raid0 to raid": {{Level: RAID0, Legs: 3, Chunk: 2048}, {Level: RAID10, Layout: Near2, Legs: 6, Chunk: 2048}},
	} {
		for _, backwards := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				rng := seeded(t)
				for _, lost := range [][]int{nil, {0}, {1}, {0, 2}, {3}} {
					old, to := pair[0], pair[1]
					old.LegSize, to.LegSize = 4096*8, 4096*7
					old.DataOffset = 4096 * int64(rng.IntN(2))
					to.DataOffset = old.DataOffset + old.LegSize + 512*int64(rng.IntN(3))
					before, after := halfReshaped(rng, old, to)
					size := int64(len(before.data))
					legs := before.legs()
					for _, i := range lost {
						if i < len(legs) {
							legs[i] = Leg{Lost: errAway}
						}
					}
					usable := func(leg int, _ int64) bool { return !slices.Contains(lost, leg) }
					inSync := func(int64) bool { return true }
					readableBefore, readableAfter := before.readable(usable, inSync), after.readable(usable, inSync)

					for _, position := range []int64{0, size, 512 * rng.Int64N(size/512)} {
						a, err := New(Config{
							Geometry: old, Legs: legs, InSync: All,
							Reshape: &Reshape{To: to, Position: position, Backwards: backwards},
						})
						if err != nil {
							t.Fatal(err)
						}
						readable := slices.Concat(readableAfter[:position], readableBefore[position:])
						if backwards {
							readable = slices.Concat(readableBefore[:position], readableAfter[position:])
						}
						compare(t, rng, a, before.data, readable)
					}
				}
			})
		}
	}
}

func TestAReshapeOutOfTheArrayIsAsIfDoneOrNotBegun(t *testing.T) {
	rng := seeded(t)
	old := Geometry{Level: RAID5, Layout: LeftSymmetric, Legs: 3, Chunk: 4096, LegSize: 1 << 15}
	to := old
	to.Legs, to.DataOffset = 4, 1<<15
	before, _ := halfReshaped(rng, old, to)
	for _, position := range []int64{-1, 1 << 60} {
		a, err := New(Config{Geometry: old, Legs: before.legs(), InSync: All, Reshape: &Reshape{To: to, Position: position}})
		if err != nil {
			t.Fatal(err)
		}
		compare(t, rng, a, before.data, all(len(before.data)))
	}
}
