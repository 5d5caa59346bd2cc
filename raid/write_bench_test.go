package raid

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func (f file) PunchHole(off, n int64) error {
	_, err := f.WriteAt(make([]byte, n), off)
	return err
}

// BenchmarkWriteFiles writes to arrays whose legs are files in the page cache, in order.
func BenchmarkWriteFiles(b *testing.B) {
	const legSize = 64 << 20
	var all []Leg
	dir := b.TempDir()
	for i := range 6 {
		f, err := os.Create(filepath.Join(dir, fmt.Sprint(i)))
		if err != nil {
			b.Fatal(err)
		}
		defer f.Close()
		p := make([]byte, 1<<20)
		for off := int64(0); off < legSize; off += int64(len(p)) {
			if _, err := f.WriteAt(p, off); err != nil {
				b.Fatal(err)
			}
		}
		all = append(all, Leg{Volume: file{f, legSize}, InSync: All})
	}
	for _, size := range []int64{4 << 10, 64 << 10, 1 << 20} {
		for _, c := range []struct {
			name string
			g    Geometry
			lost []int
		}{
			{"linear", Geometry{Level: RAID1, Legs: 1}, nil},
			{"raid0", Geometry{Level: RAID0, Legs: 4}, nil},
			{"raid1", Geometry{Level: RAID1, Legs: 2}, nil},
			{"raid10", Geometry{Level: RAID10, Layout: Near2, Legs: 4}, nil},
			{"raid5", Geometry{Level: RAID5, Layout: LeftSymmetric, Legs: 5}, nil},
			{"raid6", Geometry{Level: RAID6, Layout: ZeroRestart, Legs: 6}, nil},
			{"raid6_one_lost", Geometry{Level: RAID6, Layout: ZeroRestart, Legs: 6}, []int{1}},
			{"raid6_two_lost", Geometry{Level: RAID6, Layout: ZeroRestart, Legs: 6}, []int{1, 4}},
		} {
			b.Run(fmt.Sprintf("write=%dK/%s", size>>10, c.name), func(b *testing.B) {
				c.g.Chunk, c.g.LegSize = 64<<10, legSize
				legs := slices.Clone(all[:c.g.Legs])
				for _, i := range c.lost {
					legs[i] = Leg{Lost: errAway}
				}
				a, err := New(Config{Geometry: c.g, Legs: legs, InSync: All})
				if err == nil {
					err = a.StartWriting(newMarks(2 << 20))
				}
				if err != nil {
					b.Fatal(err)
				}
				a.writing.Load().sync = func() error { return nil } // what the disk takes is not the question
				write := a.WriteAt
				if c.name == "linear" {
					write = all[0].Volume.(file).WriteAt
				}
				inOrder(b, size, a.Size(), write)
				if err := a.StopWriting(); err != nil {
					b.Fatal(err)
				}
			})
		}
	}
}
