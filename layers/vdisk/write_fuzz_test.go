package vdisk

import (
	"bytes"
	"math/rand/v2"
	"sync"
	"testing"

	"lvm2fs/internal/test/testenv"
)

// Many write to one image, read it and flush it: each finds what it has written.
func TestManyWriteAnImageAtOnce(t *testing.T) {
	testenv.Long(t)
	for _, kind := range []string{"qcow2 cluster_size=4k", "vmdk", "vdi", "vpc force_size=on"} {
		w := newWorkshop(t)
		w.make("image", kind, true)
		m := w.open("image").(*writable)
		// Tables are written in between, too.
		var later sync.WaitGroup
		m.commitsAfter = func(commit func()) { later.Go(commit) }
		disk := readAll(t, m)
		claim(t, m)
		const parts = 4
		var all sync.WaitGroup
		for part := range parts {
			mine := disk[part*len(disk)/parts : (part+1)*len(disk)/parts]
			from := int64(part * len(disk) / parts)
			all.Go(func() {
				rng := rand.New(rand.NewPCG(uint64(part), 1))
				for i := range 150 {
					off := rng.IntN(len(mine))
					n := min(1+rng.IntN(20_000), len(mine)-off)
					p := bytes.Repeat([]byte{byte(i)}, n)
					if _, err := m.WriteAt(p, from+int64(off)); err != nil {
						t.Error(err)
						return
					}
					copy(mine[off:], p)
					if i%20 == 0 {
						if err := m.Sync(); err != nil {
							t.Error(err)
						}
					}
					at := rng.IntN(len(mine))
					got := make([]byte, min(1+rng.IntN(20_000), len(mine)-at))
					if _, err := m.ReadAt(got, from+int64(at)); err != nil || !bytes.Equal(got, mine[at:at+len(got)]) {
						t.Errorf("%s: %d bytes at %d are others: %v", kind, len(got), from+int64(at), err)
						return
					}
				}
			})
		}
		all.Wait()
		release(t, m)
		later.Wait()
		w.check("image", kind)
		if got := w.truth("image", "-f", qemuFormat(kind)); !bytes.Equal(got, disk) {
			t.Fatalf("%s: QEMU reads something else at byte %d", kind, differs(got, disk))
		}
	}
}

// FuzzWrite writes to images in which something was changed. What is written is read again, or was refused.
func FuzzWrite(f *testing.F) {
	l, _ := some(nil, 200<<10, 512, 4096, 5)
	images := [][]byte{
		writtenQcow2(), sampleVMDK(), sampleVHD(), sampleVDI(), differencingVHD(l, 2, 0, 0, vhdNames{"MacX": "file://./raw"}), sampleVHDX(),
	}
	for i := range images {
		f.Add(uint8(i), uint32(0), []byte{}, int64(1000), uint16(9000), uint8(3))
		f.Add(uint8(i), uint32(512), []byte{1, 2}, int64(1<<20-50), uint16(100), uint8(2))
	}
	f.Fuzz(func(t *testing.T, which uint8, place uint32, patch []byte, off int64, n uint16, times uint8) {
		image := bytes.Clone(images[int(which)%len(images)])
		copy(image[int64(place)%int64(len(image)):], patch)
		switch string(image[:8]) {
		case vhdMagic:
			resumVHD(image)
		case "vhdxfile":
			resumVHDX(image)
		}
		file := newCutFile(image)
		opened, err := Open(file, overRaw(make([]byte, 4096)))
		if err != nil {
			return
		}
		m := opened.(*writable)
		m.commitsAfter = func(func()) {}
		if off < 0 || off >= m.Size() || n == 0 || blockOf(m.layout) > 4<<20 || m.Claim() != nil {
			return
		}
		for i := range times % 5 {
			p := bytes.Repeat([]byte{byte(i) + 1}, int(min(int64(n), m.Size()-off)))
			if _, err := m.WriteAt(p, off); err != nil {
				break
			}
			got := make([]byte, len(p))
			if _, err := m.ReadAt(got, off); err != nil || !bytes.Equal(got, p) {
				t.Fatalf("%s: what was written is not read: %v", m.name, err)
			}
			if m.Sync() != nil {
				break
			}
			off = (off*3 + 777) % m.Size()
		}
		_ = m.Release()
	})
}

// blockOf is how much a write may make a file grow, in bytes.
func blockOf(l layout) (n int64) {
	switch l := l.(type) {
	case *vdi:
		n = l.stride()
	case *vhd:
		n = l.block
	case *vhdx:
		n = l.block
	case *vmdk:
		for _, e := range l.extents {
			if s, is := e.layout.(*sparse); is {
				n = max(n, s.grain)
			}
		}
	}
	return n
}

// writtenQcow2 is a small image with counts.
func writtenQcow2() []byte {
	const cluster = 1 << 12
	b := make([]byte, 6*cluster)
	copy(b, "QFI\xfb")
	be32(qcowVersion, 3)(b)
	be32(qcowClusterBits, 12)(b)
	be64(qcowSize, sampleSize)(b)
	be32(qcowL1Length, 2)(b)
	be64(qcowL1, cluster)(b)
	be64(qcowCounts, 2*cluster)(b)
	be32(qcowCountClusters, 1)(b)
	be32(qcowCountOrder, 4)(b)
	be32(qcowHeaderLength, qcowHeader3)(b)
	be64(cluster, qcowCopied|4*cluster)(b)
	be64(2*cluster, 3*cluster)(b)
	for i := range 6 {
		b[3*cluster+2*i+1] = 1
	}
	be64(4*cluster, qcowCopied|5*cluster)(b)
	copy(b[5*cluster:], sampleBytes())
	return b
}
