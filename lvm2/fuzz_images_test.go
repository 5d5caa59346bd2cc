package lvm2

import (
	"bytes"
	"errors"
	"io"
	"os"
	"testing"

	"lvm2fs/internal/test/testimages"
)

const blockSize = 4096

// sparseDisk holds the blocks of a disk that are not zero, and a few that are changed.
type sparseDisk struct {
	name    string
	size    int64
	blocks  map[int64][]byte
	changed map[int64][]byte
}

func (d *sparseDisk) Name() string { return d.name }
func (d *sparseDisk) Size() int64  { return d.size }

func (d *sparseDisk) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 || off > d.size {
		return 0, io.EOF
	}
	n := int(min(int64(len(p)), d.size-off))
	for i := 0; i < n; {
		number, within := (off+int64(i))/blockSize, (off+int64(i))%blockSize
		part := p[i:min(n, i+int(blockSize-within))]
		clear(part)
		if b, ok := d.changed[number]; ok {
			copy(part, b[within:])
		} else if b, ok := d.blocks[number]; ok {
			copy(part, b[within:])
		}
		i += len(part)
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// load reads a disk, and says which of its blocks look like metadata: in part zeros.
func load(t testing.TB, path string) (d *sparseDisk, metadata []int64) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	d = &sparseDisk{name: f.Name(), blocks: map[int64][]byte{}}
	buf, zeros := make([]byte, 1<<20), make([]byte, blockSize)
	for {
		n, err := f.ReadAt(buf, d.size)
		for at := 0; at < n; at += blockSize {
			b := buf[at:min(at+blockSize, n)]
			if bytes.Equal(b, zeros[:len(b)]) {
				continue
			}
			number := (d.size + int64(at)) / blockSize
			d.blocks[number] = append(make([]byte, 0, blockSize), b...)[:blockSize]
			if bytes.Count(b, zeros[:1]) > len(b)/4 {
				metadata = append(metadata, number)
			}
		}
		d.size += int64(n)
		if errors.Is(err, io.EOF) {
			return d, metadata
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// FuzzOpenImage damages the metadata on real disks, that of LVM2 and that of snapshots, RAID,
// thin pools and caches: nothing panics, hangs or takes much memory.
func FuzzOpenImage(f *testing.F) {
	type place struct {
		disk  int
		block int64
	}
	type image struct {
		disks  []*sparseDisk
		places []place
	}
	// One of each kind, the small ones: each worker unpacks them anew.
	wanted := map[string]bool{
		"cache-wt": true, "errzero": true, "historical": true, "integrity-corrupt": true, "meta-wrap": true,
		"raid5_ls": true, "snapshot-crash": true, "sync-half": true, "thin-external": true, "writecache": true,
	}
	var images []image
	for _, c := range testimages.All(f) {
		if !wanted[c.Name] {
			continue
		}
		var im image
		for i, path := range c.Unpack(f) {
			d, metadata := load(f, path)
			im.disks = append(im.disks, d)
			for _, block := range metadata {
				im.places = append(im.places, place{i, block})
			}
		}
		for step := range 4 {
			f.Add(uint8(len(images)), []byte{0, byte(step * 60), 0, 40, 1, 0, byte(step * 60), 2, 8, 0xff})
		}
		images = append(images, im)
	}
	f.Fuzz(func(t *testing.T, which uint8, patches []byte) {
		im := images[int(which)%len(images)]
		devices := make([]Device, len(im.disks))
		changed := make([]map[int64][]byte, len(im.disks))
		for i, d := range im.disks {
			changed[i] = map[int64][]byte{}
			devices[i] = &sparseDisk{d.name, d.size, d.blocks, changed[i]}
		}
		for ; len(patches) >= 5; patches = patches[5:] {
			p := im.places[(int(patches[0])<<8|int(patches[1]))%len(im.places)]
			b := changed[p.disk][p.block]
			if b == nil {
				b = bytes.Clone(im.disks[p.disk].blocks[p.block])
				changed[p.disk][p.block] = b
			}
			b[(int(patches[2])<<8|int(patches[3]))%blockSize] ^= patches[4]
		}
		bounded(t, func() {
			s := Open(devices, Options{})
			checkScan(t, s)
			for _, vg := range s.VGs {
				for _, lv := range vg.LVs {
					_, _ = lv.Usage(), lv.NeedsCheck()
					if v, err := lv.Open(); err == nil {
						v.ReadAt(make([]byte, 100<<10), v.Size()/3-100)
						v.Close()
					}
				}
			}
		})
	})
}
