package ondisk

import (
	"encoding/binary"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// rmetaLV is an rmeta LV as the kernel left it in the middle of a reshape: leg 3 of the LV
// grow of the image case reshape-half, with two more failed legs.
func rmetaLV() disk {
	d := make(disk, 256<<10)
	le := binary.LittleEndian
	copy(d, "DmRd")
	le.PutUint32(d[4:], 1)
	le.PutUint32(d[8:], 4)
	le.PutUint32(d[12:], 3)
	le.PutUint64(d[16:], 35)
	le.PutUint64(d[24:], 1<<1)
	le.PutUint64(d[32:], 1<<64-1)
	le.PutUint64(d[40:], 0x408)
	le.PutUint32(d[48:], 5)
	le.PutUint32(d[52:], 2)
	le.PutUint32(d[56:], 128)
	le.PutUint32(d[60:], 1)
	le.PutUint64(d[64:], 0x3a80)
	le.PutUint32(d[72:], 5)
	le.PutUint32(d[76:], 3)
	le.PutUint32(d[80:], 64)
	le.PutUint32(d[84:], 1)
	le.PutUint64(d[88:], 24576)
	le.PutUint64(d[96:], 2048)
	le.PutUint64(d[104:], 0)
	le.PutUint64(d[112:], 14336)
	le.PutUint64(d[120:], 1<<2) // leg 66
	return d
}

func TestARAIDSuperblockIsDecodedFieldByField(t *testing.T) {
	s, err := ReadRAIDSuperblock(rmetaLV())
	if err != nil {
		t.Fatal(err)
	}
	want := &RAIDSuperblock{
		Devices: 4, Position: 3, Events: 35, Failed: [4]uint64{2, 4}, Recovery: All, Resync: 0x408 * 512,
		Geometry:  RAIDGeometry{Level: 5, Layout: 2, ChunkSize: 64 << 10, DataOffset: 1 << 20},
		LegSize:   14336 * 512,
		Reshaping: true, ReshapePosition: 0x3a80 * 512,
		New: RAIDGeometry{Level: 5, Layout: 3, ChunkSize: 32 << 10}, DeltaDevices: 1,
	}
	if diff := cmp.Diff(want, s); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	for i, failed := range map[int]bool{0: false, 1: true, 2: false, 66: true, 255: false, 256: false, -1: false} {
		if s.HasFailed(i) != failed {
			t.Errorf("leg %d failed: %v", i, !failed)
		}
	}
}

func TestAnOldRAIDSuperblockEndsBeforeTheReshapeFields(t *testing.T) {
	d := rmetaLV()
	d[4] = 0
	s, err := ReadRAIDSuperblock(d)
	if err != nil {
		t.Fatal(err)
	}
	if s.Reshaping || s.Geometry.DataOffset != 0 || s.New != s.Geometry || s.DeltaDevices != 0 || s.HasFailed(66) {
		t.Errorf("%+v", s)
	}
}

func TestTheFlagsOfAnAddedLegAreNotBelieved(t *testing.T) {
	d := rmetaLV()
	copy(d[60:], "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff")
	s, err := ReadRAIDSuperblock(d)
	if err != nil || s.Reshaping || s.Backwards {
		t.Errorf("%+v, %v", s, err)
	}
}

func TestARAIDSuperblockThatCannotBeIsRefused(t *testing.T) {
	le := binary.LittleEndian
	for name, spoil := range map[string]func(d disk){
		"incompat_features": func(d disk) { d[144] = 1 },
		"compat_features":   func(d disk) { d[4] = 3 },
		"no legs":           func(d disk) { le.PutUint32(d[8:], 0) },
		"too many legs":     func(d disk) { le.PutUint32(d[8:], 1<<31) },
		"position":          func(d disk) { le.PutUint32(d[12:], 1<<30) },
		"recovery offset":   func(d disk) { le.PutUint64(d[32:], 1<<62) },
		"data offset":       func(d disk) { le.PutUint64(d[96:], 1<<63) },
		"delta":             func(d disk) { le.PutUint32(d[84:], 4) },
		"negative delta":    func(d disk) { le.PutUint32(d[84:], 1<<31) },
		"magic":             func(d disk) { d[3] ^= 1 },
		"zeros, a bitmap":   func(d disk) { clear(d[:512]); copy(d[4096:], "bitm") },
	} {
		d := rmetaLV()
		spoil(d)
		if s, err := ReadRAIDSuperblock(d); !errors.Is(err, ErrFormat) || s != nil && err == nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := ReadRAIDSuperblock(make(disk, 8192)); !errors.Is(err, ErrNoSuperblock) {
		t.Errorf("zeros: %v", err)
	}
	if _, err := ReadRAIDSuperblock(make(disk, 100)); err == nil {
		t.Error("a superblock of 100 bytes")
	}
	d := rmetaLV()
	le.PutUint32(d[12:], 1<<32-1)
	if s, err := ReadRAIDSuperblock(d); err != nil || s.Position != Dropped {
		t.Errorf("dropped leg: %+v, %v", s, err)
	}
}

func TestAMirrorLogSaysWhatIsInSync(t *testing.T) {
	d := make(disk, 4096)
	le := binary.LittleEndian
	copy(d, "rRiM")
	d[4] = 2
	le.PutUint64(d[8:], 10)
	d[1024], d[1025] = 0b00000101, 0xff
	l, err := ReadMirrorLog(d, d.size(), 12)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range map[int64]bool{0: true, 1: false, 2: true, 8: true, 9: true, 10: false, 99: false, -1: false} {
		if l.InSync(i) != want {
			t.Errorf("region %d in sync: %v", i, !want)
		}
	}
	for _, spoil := range []func(d disk){func(d disk) { d[0] = 0 }, func(d disk) { d[4] = 1 }} {
		bad := append(disk{}, d...)
		spoil(bad)
		if _, err := ReadMirrorLog(bad, bad.size(), 12); !errors.Is(err, ErrFormat) {
			t.Error(err)
		}
	}
	if _, err := ReadMirrorLog(d, d.size(), 1<<63-1); !errors.Is(err, ErrFormat) {
		t.Error(err)
	}
}

func FuzzReadRAIDSuperblock(f *testing.F) {
	d := rmetaLV()
	f.Add([]byte(d[:512]))
	old := rmetaLV()
	old[4] = 0
	f.Add([]byte(old[:512]))
	f.Fuzz(func(t *testing.T, super []byte) {
		d := make(disk, 512)
		copy(d, super)
		r := boundedReader{t, d}
		s, err := ReadRAIDSuperblock(r)
		if err != nil {
			return
		}
		if s.Devices < 1 || s.Position < Dropped || s.Recovery < 0 || s.Resync < 0 || s.Geometry.DataOffset < 0 ||
			s.New.DataOffset < 0 || s.ReshapePosition < 0 || s.Devices-s.DeltaDevices < 1 {
			t.Fatalf("%+v", s)
		}
	})
}

func FuzzReadMirrorLog(f *testing.F) {
	f.Add([]byte("rRiM\x02\x00\x00\x00\x04\x00\x00\x00\x00\x00\x00\x00"), uint16(4096), int64(4))
	f.Fuzz(func(t *testing.T, header []byte, size uint16, regions int64) {
		d := make(disk, size)
		copy(d, header)
		if len(d) < 512 {
			return
		}
		if l, err := ReadMirrorLog(boundedReader{t, d}, d.size(), regions); err == nil {
			l.InSync(regions - 1)
			l.InSync(regions)
		}
	})
}

func TestALegIsNotedAsFailedAndNoOther(t *testing.T) {
	for leg := range 256 {
		meta := rmetaLV()
		clear(meta[rmetaFailed : rmetaFailed+8])
		clear(meta[rmetaFailedFrom64 : rmetaFailedFrom64+24])
		PutRAIDFailed(meta, leg)
		s, err := ReadRAIDSuperblock(meta)
		if err != nil {
			t.Fatal(err)
		}
		for other := range 256 {
			if s.HasFailed(other) != (other == leg) {
				t.Errorf("leg %d is noted as failed; leg %d: %v", leg, other, s.HasFailed(other))
			}
		}
	}
}
