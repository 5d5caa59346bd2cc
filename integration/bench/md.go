//go:build linux

package main

import (
	"fmt"

	"lvm2fs/internal/test/testmd"
	"lvm2fs/internal/test/testpv"
)

// makeMD writes the disks of an MD array of a level, with as many legs as the RAID LV of the same kind, that
// holds a VG of that name with one LV, lv.
func (b *bench) makeMD(name string, level int, layout uint32, array testpv.RAID) (disks []string, err error) {
	const dataOffset = 1 << 20
	vg := testpv.VG{Name: name, Seqno: 1, PVs: []string{name}, PVExtents: int((array.Size() - testpv.DataStart) / testpv.ExtentSize)}
	vg.LVs = []testpv.LV{{Name: "lv", Segments: []string{testpv.Linear(0, vg.PVExtents, "pv0", 0)}}}
	m := testmd.Member{
		Version: "1.2", Name: name, Array: [16]byte{byte(level), 1}, Level: level, Layout: layout, Chunk: array.Stripe / 512,
		Disks: array.Legs, Resync: testmd.All, DataOffset: dataOffset / 512,
	}
	pv := testpv.New(name, testpv.UUID(name), testpv.DataStart, vg.Text())
	for i, head := range testmd.Set(m, dataOffset+array.LegSize, pv.Bytes) {
		path := b.temp(fmt.Sprint(name, i))
		b.removeLater(path)
		disks = append(disks, path)
		// The PV's own bytes end with the first chunk.
		if err := testpv.WriteZeroed(path, head[:dataOffset+testpv.DataStart], array.LegSize-testpv.DataStart); err != nil {
			return nil, err
		}
	}
	return disks, nil
}

// md measures MD arrays against RAID LVs of the same kind.
func (b *bench) md() error {
	heading("MD arrays, against RAID LVs of the same kind, MiB/s (median of %d)", rounds)
	for _, c := range []struct {
		typ    string // of the LV
		level  int
		layout uint32
	}{{"raid0", 0, 0}, {"raid1", 1, 0}, {"raid4", 4, 0}, {"raid5_ls", 5, 2}, {"raid6_zr", 6, 2}, {"raid10", 10, 0x102}} {
		err := b.scope(func() error {
			disks, err := b.makeArray(c.typ)
			if err != nil {
				return err
			}
			members, err := b.makeMD(fmt.Sprint("md", c.level), c.level, c.layout, b.array(c.typ))
			if err != nil {
				return err
			}
			lvm, err := b.mountLV(c.typ+"/lv", disks...)
			if err != nil {
				return err
			}
			md, err := b.mountLV(fmt.Sprintf("md%d/lv", c.level), members...)
			if err != nil {
				return err
			}
			speed, err := race(b.array(c.typ).Size()-mib, lvm, md)
			if err != nil {
				return err
			}
			row(c.typ, speed.of(0), "MiB/s", 0, "")
			speed.goal(fmt.Sprintf("MD raid%d", c.level), 1, 0, "of "+c.typ, 0.8)
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}
