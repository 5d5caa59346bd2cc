package vdisk

import (
	"os"
	"testing"
)

// BenchmarkRead reads images from the page cache, 1 MiB at a time; raw is the measure for
// the others.
func BenchmarkRead(b *testing.B) {
	w := newWorkshop(b)
	const size = 64 << 20
	data := make([]byte, size)
	for i := range data {
		data[i] = byte(i>>9) | 1
	}
	w.write("raw", data)
	p := make([]byte, 1<<20)
	read := func(name string, readAt func(p []byte, off int64) (int, error)) {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(p)))
			off := int64(0)
			for b.Loop() {
				if _, err := readAt(p, off); err != nil {
					b.Fatal(err)
				}
				off = (off + int64(len(p))) % size
			}
		})
	}
	read("raw", w.device("raw").ReadAt)
	for _, c := range [][]string{{"qcow2"}, {"qcow2", "-c"}, {"vmdk"}, {"vpc", "-o", "force_size=on"}, {"vhdx"}, {"vdi"}} {
		w.img(append(append([]string{"convert", "-O"}, c...), "raw", "image")...)
		name := c[0]
		if len(c) == 2 {
			name += "-compressed"
		}
		read(name, w.open("image").ReadAt)
		_ = os.Remove(w.path("image"))
	}
}
