package vdisk

import (
	"bytes"
	"testing"

	"lvm2fs/internal/test/testenv"
	"lvm2fs/mapping"
)

// overRaw opens the raw disk beneath as whatever an image names.
func overRaw(beneath []byte) Options {
	return Options{Files: func(mapping.Device, string) (mapping.Device, error) { return &memory{data: beneath}, nil }}
}

func TestADifferencingVHDIsWrittenSectorBySector(t *testing.T) {
	testenv.Long(t)
	base := disk(3<<20, 4)
	for _, block := range []int{4096, 65536, 2 << 20} {
		l, want := some(base, len(base), 512, block, 3)
		image := differencingVHD(l, 2, 0, 0, vhdNames{"MacX": "file://./raw"})
		opts := overRaw(base)
		f := newCutFile(image)
		m := openCut(t, f, opts)
		claim(t, m)
		for range 500 {
			changeOne(t, m, want)
		}
		if got := readAll(t, m); !bytes.Equal(got, want) {
			t.Fatal("byte", differs(got, want))
		}
		release(t, m)
		checkImage(t, openCut(t, newCutFile(f.data), opts), want)
		if !bytes.Equal(base, disk(3<<20, 4)) {
			t.Fatal("what lies beneath was written")
		}
		// Where nothing was written, the bytes are still those of the disk beneath.
		for at := range base {
			base[at] ^= 0xff
		}
		other := readAll(t, openCut(t, newCutFile(image), opts))
		changed := readAll(t, openCut(t, newCutFile(f.data), opts))
		same := 0
		for at := 0; at < len(other); at += sectorSize {
			if bytes.Equal(other[at:at+sectorSize], changed[at:at+sectorSize]) {
				same++
			}
		}
		t.Log(same, "sectors are as they were, of", len(other)/sectorSize)
		copy(base, disk(3<<20, 4))
		cutEverywhere(t, image, opts, 20, nil)
	}
}

func TestOnlyTheTopOfAChainOfVMDKIsWritten(t *testing.T) {
	testenv.Long(t)
	w := newWorkshop(t)
	for _, options := range []string{"", "zeroed_grain=on"} {
		w.make("base.vmdk", "vmdk", true)
		before := w.bytes("base.vmdk")
		args := []string{"create", "-q", "-f", "vmdk", "-b", "base.vmdk", "-F", "vmdk"}
		if options != "" {
			args = append(args, "-o", options)
		}
		w.img(append(args, "top.vmdk")...)
		m := w.open("top.vmdk").(*writable)
		disk := w.truth("top.vmdk")
		claim(t, m)
		for range 300 {
			changeOne(t, m, disk)
		}
		release(t, m)
		if got := w.truth("top.vmdk"); !bytes.Equal(got, disk) {
			t.Fatal("QEMU reads something else at byte", differs(got, disk))
		}
		if !bytes.Equal(w.bytes("base.vmdk"), before) {
			t.Fatal("the base was written")
		}
	}
}

// A dynamic VHD whose bitmaps do not mark all sectors of a block.
func TestSectorsOfADynamicVHDAreMarked(t *testing.T) {
	l, want := some(nil, 1<<20, 512, 65536, 5)
	image := differencingVHD(l, 2, 0, 0, nil)
	for _, at := range []int{0, len(image) - 512} {
		be32(vhdType, vhdDynamic)(image[at:])
		sumVHD(image[at:][:512], vhdChecksum)
	}
	// What is not marked is to be zeros.
	image = bytes.ReplaceAll(image, bytes.Repeat([]byte{0xee}, 512), make([]byte, 512))
	f := newCutFile(image)
	m := openCut(t, f, Options{})
	claim(t, m)
	for range 300 {
		changeOne(t, m, want)
	}
	release(t, m)
	checkImage(t, openCut(t, newCutFile(f.data), Options{}), want)
	cutEverywhere(t, image, Options{}, 20, nil)
}
