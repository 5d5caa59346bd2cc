package integration

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"lvm2fs/internal/test/testenv"
	"lvm2fs/layers/md"
	"lvm2fs/layers/probe"
	"lvm2fs/mapping"
)

// arrayLab is what testdata/md/make.sh left when the power went, and what the kernel read of it then.
type arrayLab struct {
	disk   mapping.Device
	sizes  []int64           // of the slices that are the members
	disks  map[string][]int  // of each array: the numbers of its slices
	sums   map[string]string // of each array: size and SHA-256, or "refused" or "hangs"
	copied map[string][]byte // of some: what the kernel read
	names  []string
}

const sliceSpace = 16 << 20

// sizesOfSlices are in MiB; those of the two raid0 differ.
func sizesOfSlices() string {
	sizes := make([]int, 160)
	for i := range sizes {
		sizes[i] = 12
	}
	copy(sizes[24:], []int{12, 10, 8, 6, 6, 12, 8, 10})
	return strings.Trim(fmt.Sprint(sizes), "[]")
}

func newArrayLab(t *testing.T) *arrayLab {
	t.Helper()
	testenv.NeedVM(t)
	dir := me().tempDir(t)
	path, in := filepath.Join(dir, "members.img"), filepath.Join(dir, "in")
	write := func(name, text string) {
		t.Helper()
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	boot := func(script string, prepare func()) string {
		t.Helper()
		return guest{script: filepath.Join(testenv.Root(), "integration/testdata/md", script), disks: []string{path}, in: in, memory: 2048, prepare: prepare}.run(t)
	}
	write(filepath.Join(in, "sizes"), sizesOfSlices())
	made := boot("make.sh", func() {
		write(path, "")
		if err := os.Truncate(path, 160*sliceSpace); err != nil {
			t.Fatal(err)
		}
	})
	arrays := guestFile(t, made, "arrays")
	write(filepath.Join(in, "arrays"), arrays)
	copied := []string{"busydegraded", "busybitmapdegraded", "busyppl"}
	write(filepath.Join(in, "copied"), strings.Join(copied, "\n"))
	sums := boot("sum.sh", nil)

	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	lab := &arrayLab{disk: &imageFile{f, 160 * sliceSpace}, disks: map[string][]int{}, sums: map[string]string{}, copied: map[string][]byte{}}
	for _, text := range strings.Fields(sizesOfSlices()) {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		lab.sizes = append(lab.sizes, n<<20)
	}
	for line := range strings.Lines(arrays) {
		words := strings.Fields(line)
		lab.names = append(lab.names, words[0])
		for _, w := range words[1:] {
			n, err := strconv.Atoi(w)
			if err != nil {
				t.Fatal(err)
			}
			lab.disks[words[0]] = append(lab.disks[words[0]], n)
		}
	}
	for line := range strings.Lines(guestFile(t, sums, "sums")) {
		name, sum, _ := strings.Cut(strings.TrimSpace(line), " ")
		lab.sums[name] = sum
	}
	for _, name := range copied {
		lab.copied[name] = []byte(guestFile(t, sums, name+".img"))
	}
	return lab
}

type imageFile struct {
	*os.File
	size int64
}

func (f *imageFile) Size() int64 { return f.size }

// members are the disks of an array.
func (lab *arrayLab) members(name string) (devices []mapping.Device) {
	for _, i := range lab.disks[name] {
		devices = append(devices, mapping.Section(lab.disk, int64(i)*sliceSpace, lab.sizes[i], fmt.Sprintf("slice %d", i)))
	}
	return devices
}

// isUnderWay says whether a member is in the middle of something, by its superblock.
func (lab *arrayLab) isUnderWay(t *testing.T, name string) bool {
	t.Helper()
	for _, d := range lab.members(name) {
		s, err := md.Find(d, d.Size())
		if err != nil {
			t.Fatal(err)
		}
		if s != nil && (s.Reshape != nil || s.Recovery != md.All || s.Resync != md.All) {
			return true
		}
	}
	return false
}

// probe looks at the members of an array, and returns the outermost array on them.
func (lab *arrayLab) probe(name string) (*md.Array, *probe.Result) {
	r, err := probe.New(probe.Options{}).Probe(context.Background(), lab.members(name), nil)
	if err != nil {
		panic(err)
	}
	var found *md.Array
	for _, n := range r.Roots {
		for ; len(n.Children) > 0; n = n.Children[0] {
			if a, ok := n.Children[0].Device.(*md.Array); ok {
				found = a
			}
		}
	}
	return found, r
}

// Arrays of every level and version, whole, degraded, being rebuilt or reshaped, are read as the kernel reads them. An
// array is refused if it has a journal, or if mdadm does not start it without a backup file.
func TestArraysAreReadAsTheKernelReadsThem(t *testing.T) {
	lab := newArrayLab(t)
	refused := map[string]bool{"r5to6": true, "journal": true, "busyjournal": true}
	underWay := map[string]bool{}
	for _, name := range []string{"r5sync", "r1sync", "r1rebuild", "r5rebuild", "r5replace", "r5grow", "r5layout", "r5chunk", "r10grow"} {
		underWay[name] = true
	}
	for _, name := range lab.names {
		t.Run(name, func(t *testing.T) {
			array, r := lab.probe(name)
			want := lab.sums[name]
			switch {
			case refused[name]:
				if array != nil {
					t.Fatalf("it is not refused: %v", array)
				}
				return
			case want == "refused":
				t.Fatal("the kernel refuses it")
			case array == nil:
				t.Fatalf("refused: %v", r.Refused)
			case underWay[name] && !lab.isUnderWay(t, name):
				t.Error("what was to be caught in the middle was not")
			}
			t.Logf("%v; %v", array, r.Warnings)
			if name == "r10grow" || want == "hangs" && underWay[name] {
				// Kernel 6.12 is no measure here. Of a raid10 in a reshape that is not to go on it reads wrong bytes;
				// of a raid5 it may wait for the reshape for ever.
				checkStamps(t, array)
				return
			}
			if truth := lab.copied[name]; truth != nil {
				compareReadable(t, array, truth)
				return
			}
			sum := sha256.New()
			if _, err := io.Copy(sum, io.NewSectionReader(array, 0, array.Size())); err != nil {
				t.Fatal(err)
			}
			if got := fmt.Sprintf("%d %x", array.Size(), sum.Sum(nil)); got != want {
				t.Errorf("got %s, the kernel read %s", got, want)
			}
		})
	}
}

// checkStamps holds that each block of an array has its own number.
func checkStamps(t *testing.T, array *md.Array) {
	t.Helper()
	p := make([]byte, 4096)
	for n := range array.Size() / 4096 {
		if _, err := array.ReadAt(p, n*4096); err != nil {
			t.Fatal(err)
		}
		if text := fmt.Sprintf(" b%d ", n); !bytes.Contains(p[:64], []byte(text)) {
			t.Fatalf("block %d is %q", n, p[:64])
		}
	}
}

// compareReadable holds that most of an array can be read, and that each block which can is what the kernel read.
func compareReadable(t *testing.T, array *md.Array, truth []byte) {
	t.Helper()
	if array.Size() != int64(len(truth)) {
		t.Fatalf("%d bytes, not %d", array.Size(), len(truth))
	}
	const block = 4096
	p := make([]byte, block)
	lost := 0
	for off := int64(0); off < array.Size(); off += block {
		if _, err := array.ReadAt(p, off); errors.Is(err, mapping.ErrMissing) {
			lost++
		} else if err != nil || !bytes.Equal(p, truth[off:off+block]) {
			t.Fatalf("byte %d: other bytes than the kernel read, %v", off, err)
		}
	}
	t.Logf("%d of %d blocks are lost", lost, len(truth)/block)
	if 2*lost > len(truth)/block {
		t.Errorf("%d of %d blocks are lost", lost, len(truth)/block)
	}
}
