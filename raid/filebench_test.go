package raid

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"lvm2fs/mapping"
)

// file is a leg in the page cache.
type file struct {
	*os.File
	size int64
}

func (f file) Size() int64 { return f.size }
func (f file) Map(off, max int64) (mapping.Extent, error) {
	return mapping.Extent{Kind: mapping.Data, Device: f, Offset: off, Length: min(max, f.size-off)}, nil
}

// chunkwise reads a RAID0 as one would at first: chunk by chunk.
type chunkwise struct {
	legs  []Leg
	chunk int64
}

func (c chunkwise) ReadAt(p []byte, off int64) (int, error) {
	for done := int64(0); done < int64(len(p)); {
		q, o := (off+done)/c.chunk, (off+done)%c.chunk
		n := min(c.chunk-o, int64(len(p))-done)
		if _, err := c.legs[q%int64(len(c.legs))].Volume.ReadAt(p[done:done+n], q/int64(len(c.legs))*c.chunk+o); err != nil {
			return int(done), err
		}
		done += n
	}
	return len(p), nil
}

// BenchmarkReadFiles reads arrays whose legs are files in the page cache, in order.
func BenchmarkReadFiles(b *testing.B) {
	const legSize = 64 << 20
	var all []Leg
	dir := b.TempDir()
	for i := range 8 {
		f, err := os.Create(filepath.Join(dir, fmt.Sprint(i)))
		if err != nil {
			b.Fatal(err)
		}
		defer f.Close()
		p := make([]byte, 1<<20)
		for j := range p {
			p[j] = byte(i*j + j>>9)
		}
		for off := int64(0); off < legSize; off += int64(len(p)) {
			if _, err := f.WriteAt(p, off); err != nil {
				b.Fatal(err)
			}
		}
		all = append(all, Leg{Volume: file{f, legSize}, InSync: All})
	}
	for _, chunk := range []int64{4 << 10, 64 << 10, 512 << 10} {
		for _, size := range []int64{4 << 10, 128 << 10, 1 << 20} {
			for _, c := range []struct {
				name string
				g    Geometry
				lost []int
			}{
				{"linear", Geometry{Level: RAID1, Legs: 1}, nil},
				{"chunkwise", Geometry{Level: RAID0, Legs: 4}, nil},
				{"raid0", Geometry{Level: RAID0, Legs: 4}, nil},
				{"raid1", Geometry{Level: RAID1, Legs: 2}, nil},
				{"raid10", Geometry{Level: RAID10, Layout: Near2, Legs: 4}, nil},
				{"raid5", Geometry{Level: RAID5, Layout: LeftSymmetric, Legs: 5}, nil},
				{"raid5 degraded", Geometry{Level: RAID5, Layout: LeftSymmetric, Legs: 5}, []int{1}},
				{"raid6", Geometry{Level: RAID6, Layout: ZeroRestart, Legs: 6}, nil},
				{"raid6 two lost", Geometry{Level: RAID6, Layout: ZeroRestart, Legs: 6}, []int{1, 3}},
			} {
				b.Run(fmt.Sprintf("chunk=%dK/read=%dK/%s", chunk>>10, size>>10, c.name), func(b *testing.B) {
					c.g.Chunk, c.g.LegSize = chunk, legSize
					legs := append([]Leg(nil), all[:c.g.Legs]...)
					for _, i := range c.lost {
						legs[i] = Leg{Lost: errAway}
					}
					a, err := New(Config{Geometry: c.g, Legs: legs, InSync: All})
					if err != nil {
						b.Fatal(err)
					}
					read := a.ReadAt
					if c.name == "chunkwise" {
						read = chunkwise{legs, chunk}.ReadAt
					}
					inOrder(b, size, a.Size(), read)
				})
			}
		}
	}
}

// inOrder calls do for one piece of size bytes after another, and begins again at the end. It tells what an
// undisturbed call costs, although the machine may have other work.
func inOrder(b *testing.B, size, all int64, do func(p []byte, off int64) (int, error)) {
	b.Helper()
	p := make([]byte, size)
	var took []time.Duration
	off := int64(0)
	for b.Loop() {
		if off += size; off+size > all {
			off = 0
		}
		start := time.Now()
		if _, err := do(p, off); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(start))
	}
	slices.Sort(took)
	b.ReportMetric(float64(size)/float64(took[len(took)/5].Nanoseconds())*1e3, "MB/s-undisturbed")
}
