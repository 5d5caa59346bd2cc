package drbd

import (
	"bytes"
	"testing"

	"lvm2fs/internal/test/testpv"
	"lvm2fs/mapping"
)

const (
	pvSize = 1 << 20
	mark   = "\x83\x74\x02\x6b"
)

// backing is a device with a PV and, size bytes from its start, the end of internal metadata.
func backing(size int) *testpv.Disk {
	d := testpv.New("sda", testpv.UUID("pv"), pvSize, "")
	d.Bytes = append(d.Bytes, make([]byte, size-pvSize)...)
	copy(d.Bytes[size/4096*4096-4096+60:], mark)
	return d
}

func TestTheDeviceInABackingDeviceEndsWithItsPV(t *testing.T) {
	for _, size := range []int{pvSize + 40<<10, pvSize + 40<<10 + 512, pvSize + 1<<20} {
		b := backing(size)
		d, err := Open(b)
		if err != nil || d == nil {
			t.Fatalf("%d bytes: %v, %v", size, d, err)
		}
		got := make([]byte, pvSize)
		if n, _ := d.ReadAt(got, 0); d.Size() != pvSize || n != pvSize || !bytes.Equal(got, b.Bytes[:pvSize]) {
			t.Errorf("%d bytes of %d", n, d.Size())
		}
		if _, ok := d.(mapping.WritableDevice); ok {
			t.Error("it can be written")
		}
		if v, ok := d.(mapping.Volume); !ok {
			t.Error("it does not tell where its bytes are")
		} else if e, err := v.Map(4096, 1<<20); err != nil || e.Kind != mapping.Data || e.Device != mapping.Device(b) || e.Offset != 4096 {
			t.Errorf("%+v %v", e, err)
		}
		if len(d.(interface{ Warnings() []error }).Warnings()) == 0 {
			t.Error("nothing warns of its peers")
		}
	}
}

func TestNoDeviceIsFoundWhereThePVDoesNotEndBeforeTheMetadata(t *testing.T) {
	noPV := backing(pvSize + 40<<10)
	clear(noPV.Bytes[:4096])
	noMark := backing(pvSize + 40<<10)
	clear(noMark.Bytes[pvSize:])
	for name, b := range map[string]*testpv.Disk{
		"in the activity log": backing(pvSize + 36<<10 - 512),
		"the PV has it all":   backing(pvSize),
		"no PV":               noPV,
		"no DRBD":             noMark,
	} {
		if d, err := Open(b); d != nil || err != nil {
			t.Errorf("%s: %v, %v", name, d, err)
		}
	}
}
