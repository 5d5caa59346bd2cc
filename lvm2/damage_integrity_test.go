package lvm2

import (
	"bytes"
	"encoding/binary"
	"errors"
	"maps"
	"strings"
	"testing"

	"lvm2fs/internal/test/testimages"
)

// In the case integrity-corrupt the data of both legs were altered, each in other places, and their checksums tell. A
// superblock that cannot be right must not turn the checks off. What is read is what Linux 6.12 read with the same
// bytes in the superblock of leg 0, where it read them, or what leg 1 has.
func TestASuperblockOfIntegrityNeverTurnsCheckingOff(t *testing.T) {
	t.Parallel()
	vg := openImages(t, testimages.Load(t, "integrity-corrupt")).VGs[0]
	devices := devicesOf(vg)
	truth := readVG(t, vg)["mir"]
	one := readBlocks(t, Open(devices[1:], Options{}).VGs[0].LV("mir"))
	both := map[int][]byte{}
	for i := range len(truth) / damageBlock {
		both[i] = truth[i*damageBlock:][:damageBlock]
	}
	superblocks := make([]mapped, 2)
	for i := range superblocks {
		superblocks[i] = placeOf(t, vg.LV("mir_rimage_"+string(rune('0'+i))+"_imeta"))
	}
	sectors := func(n uint64) []byte { return binary.LittleEndian.AppendUint64(nil, n) }
	for name, c := range map[string]struct {
		at    int64
		bytes []byte
		want  map[int][]byte
	}{
		"as it was":                 {0, []byte("integrt"), both},
		"version 1":                 {8, []byte{1}, both},
		"no data sectors":           {16, sectors(0), both},
		"8 data sectors":            {16, sectors(8), both},
		"16384 data sectors":        {16, sectors(16384), both},
		"9999 recalculated sectors": {32, sectors(9999), both},
		"all zeros":                 {0, make([]byte, 4096), one},
		"no magic":                  {0, make([]byte, 8), one},
		"another magic":             {0, []byte("Integrt"), one},
		"version 9":                 {8, []byte{9}, one},
		"interleaved":               {9, []byte{3}, one},
		"another size of tags":      {10, []byte{8}, one},
		"no journal":                {12, make([]byte, 4), one},
		"a large journal":           {12, sectors(200)[:4], one},
		"an unknown flag":           {24, []byte{0x22}, one},
		"another size of blocks":    {28, []byte{3}, one},
	} {
		leg := superblocks[0]
		got := readBlocks(t, Open(patch(devices, leg.device, leg.offset+c.at, c.bytes), Options{}).VGs[0].LV("mir"))
		if !maps.EqualFunc(got, c.want, bytes.Equal) {
			t.Errorf("%s: %d blocks, want %d, or other bytes", name, len(got), len(c.want))
		}
	}
	if len(one) == len(both) || len(one) == 0 || !maps.EqualFunc(one, subset(both, one), bytes.Equal) {
		t.Errorf("leg 1 has %d blocks of %d", len(one), len(both))
	}
	t.Run("and with none at all nothing is read", func(t *testing.T) {
		lost := devices
		for _, leg := range superblocks {
			lost = patch(lost, leg.device, leg.offset, make([]byte, 4096))
		}
		lv := Open(lost, Options{}).VGs[0].LV("mir")
		if n, err := lv.read(make([]byte, 4096)); n != 0 || !errors.Is(err, ErrMissing) || !strings.Contains(err.Error(), "superblock") {
			t.Error(n, err)
		}
	})
}

// mapped is where the bytes of an LV begin.
type mapped struct {
	device Device
	offset int64
}

func placeOf(t *testing.T, lv *LV) mapped {
	t.Helper()
	v, err := lv.VG.assembly.Own(lv.LV)
	if err != nil {
		t.Fatal(err)
	}
	e, err := v.Map(0, 4096)
	if err != nil || e.Device == nil {
		t.Fatalf("%s: %+v, %v", lv, e, err)
	}
	return mapped{e.Device, e.Offset}
}

func (lv *LV) read(p []byte) (int, error) {
	v, err := lv.Open()
	if err != nil {
		return 0, err
	}
	return v.ReadAt(p, 0)
}

// readBlocks are the blocks of an LV that can be read, by number.
func readBlocks(t *testing.T, lv *LV) map[int][]byte {
	t.Helper()
	v, err := lv.Open()
	if err != nil {
		t.Fatal(err)
	}
	blocks := map[int][]byte{}
	for i := range int(v.Size() / damageBlock) {
		b := make([]byte, damageBlock)
		if _, err := v.ReadAt(b, int64(i)*damageBlock); err == nil {
			blocks[i] = b
		}
	}
	return blocks
}

// subset are those of all whose keys are in some.
func subset(all, some map[int][]byte) map[int][]byte {
	out := map[int][]byte{}
	for i := range some {
		out[i] = all[i]
	}
	return out
}
