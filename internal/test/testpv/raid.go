package testpv

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
)

// RAID is an LV, lv of a VG, with a leg on each of as many disks. It holds zeros, and so do parity and copies, so all
// is in sync. Beside it the VG has an LV plain of the same size: linear instead of raid1, else striped.
type RAID struct {
	VG      string
	Type    string // "raid0", "raid1", "raid4", "raid5_ls", "raid6_zr", "raid10"
	Legs    int
	LegSize int64 // bytes
	Stripe  int64 // bytes; of raid1 0
}

// raidNumbers are level and layout in superblocks, and how many legs hold no data of their own.
var raidNumbers = map[string]struct {
	level, layout uint32
	parity        int
}{
	"raid0": {0, 0, 0}, "raid1": {1, 0, 0}, "raid4": {5, 4, 1}, "raid5_ls": {5, 2, 1}, "raid6_zr": {6, 8, 2}, "raid10": {10, 0x102, 0},
}

const (
	raidRegion = 2 << 20 // bytes
	raidMeta   = 16      // extents of each rmeta LV
)

// Size of the LV, in bytes.
func (r RAID) Size() int64 {
	switch r.Type {
	case "raid1":
		return r.LegSize
	case "raid10":
		return r.LegSize * int64(r.Legs) / 2
	}
	return r.LegSize * int64(r.Legs-raidNumbers[r.Type].parity)
}

// PlainStripes is over how many disks plain is striped.
func (r RAID) PlainStripes() int { return int(r.Size() / r.LegSize) }

// Write makes an image file of each disk in a directory.
func (r RAID) Write(dir string) (paths []string, err error) {
	extents := int(r.LegSize / ExtentSize)
	vg := VG{Name: r.VG, Seqno: 1, PVExtents: raidMeta + 2*extents}
	const hidden = `"READ", "WRITE"`
	var legs []string
	for i := range r.Legs {
		vg.PVs = append(vg.PVs, fmt.Sprint(r.VG, i))
		pv, meta, data := fmt.Sprint("pv", i), fmt.Sprint("lv_rmeta_", i), fmt.Sprint("lv_rimage_", i)
		vg.LVs = append(vg.LVs,
			LV{Name: meta, Status: hidden, Segments: []string{Linear(0, raidMeta, pv, 0)}},
			LV{Name: data, Status: hidden, Segments: []string{Linear(0, extents, pv, raidMeta)}})
		if r.Type == "raid0" {
			legs = append(legs, fmt.Sprintf("%q", data))
		} else {
			legs = append(legs, fmt.Sprintf("%q, %q", meta, data))
		}
	}
	list := "raids"
	if r.Type == "raid0" {
		list = "raid0_lvs"
	}
	vg.LVs = append(vg.LVs, LV{Name: "lv", Segments: []string{fmt.Sprintf(
		"start_extent = 0\nextent_count = %d\ntype = %q\ndevice_count = %d\nstripe_count = %d\nstripe_size = %d\nregion_size = %d\n%s = [%s]",
		r.Size()/ExtentSize, r.Type, r.Legs, r.Legs, r.Stripe/512, raidRegion/512, list, strings.Join(legs, ", "))}})
	var areas []any
	for i := range r.PlainStripes() {
		areas = append(areas, fmt.Sprint("pv", i), raidMeta+extents)
	}
	vg.LVs = append(vg.LVs, LV{Name: "plain", Segments: []string{Striped(0, int(r.Size()/ExtentSize), int(r.Stripe/512), areas...)}})
	for i, name := range vg.PVs {
		head := New(name, UUID(name), DataStart+raidMeta*ExtentSize, vg.Text())
		if r.Type != "raid0" {
			r.writeMeta(head.Bytes[DataStart:], i)
		}
		path := filepath.Join(dir, name+".img")
		paths = append(paths, path)
		if err := WriteZeroed(path, head.Bytes, 2*r.LegSize); err != nil {
			return nil, err
		}
	}
	return paths, nil
}

// writeMeta writes the superblock of a leg in good order, and a bitmap without a bit set.
func (r RAID) writeMeta(b []byte, leg int) {
	numbers := raidNumbers[r.Type]
	covered := r.LegSize
	if r.Type == "raid10" {
		covered = r.Size()
	}
	RAIDMeta{
		Devices: r.Legs, Position: leg, Events: 20, Recovery: AllSectors, Resync: AllSectors,
		Level: numbers.level, Layout: numbers.layout, Chunk: uint32(r.Stripe / 512), LegSize: uint64(r.LegSize / 512),
		BitmapEvents: 20, Covered: uint64(covered / 512), Region: raidRegion,
	}.Write(b)
}

// RAIDMeta is what dm-raid keeps in the rmeta LV of a leg: its superblock and, with no bit set, its bitmap.
// Sizes and places are in sectors.
// (docs/format/03-mapping-linear-striped-raid.md, section 7)
type RAIDMeta struct {
	Devices, Position    int // Position -1: no longer part of the array
	Events, Failed       uint64
	Recovery, Resync     uint64
	Level, Layout, Chunk uint32
	LegSize              uint64

	BitmapEvents uint64
	Covered      uint64
	Region       uint32 // bytes
}

// AllSectors is a Recovery or Resync that is done.
const AllSectors = math.MaxUint64

// RAIDBits is the byte of an rmeta LV at which the bits of the bitmap begin.
const RAIDBits = raidBitmap + 256

const raidBitmap = 4096

// Write writes into the bytes of an rmeta LV, which are zeros.
func (m RAIDMeta) Write(b []byte) {
	le := binary.LittleEndian
	copy(b, "DmRd")
	le.PutUint32(b[4:], 1)
	le.PutUint32(b[8:], uint32(m.Devices))
	le.PutUint32(b[12:], uint32(int32(m.Position)))
	le.PutUint64(b[16:], m.Events)
	le.PutUint64(b[24:], m.Failed)
	le.PutUint64(b[32:], m.Recovery)
	le.PutUint64(b[40:], m.Resync)
	for _, at := range []int{48, 72} {
		le.PutUint32(b[at:], m.Level)
		le.PutUint32(b[at+4:], m.Layout)
		le.PutUint32(b[at+8:], m.Chunk)
	}
	le.PutUint64(b[64:], math.MaxUint64) // no reshape
	le.PutUint64(b[112:], m.LegSize)
	bitmap := b[raidBitmap:]
	copy(bitmap, "bitm")
	le.PutUint32(bitmap[4:], 4)
	le.PutUint64(bitmap[24:], m.BitmapEvents)
	le.PutUint64(bitmap[40:], m.Covered)
	le.PutUint32(bitmap[52:], m.Region)
}

// WriteZeroed writes a file with head and, behind it, n zeros that are written and no hole.
func WriteZeroed(path string, head []byte, n int64) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = f.Write(head)
	zeros := make([]byte, 1<<20)
	for n > 0 && err == nil {
		var done int
		done, err = f.Write(zeros[:min(n, int64(len(zeros)))])
		n -= int64(done)
	}
	return errors.Join(err, f.Close())
}
