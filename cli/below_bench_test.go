package cli

import (
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"lvm2fs/internal/test/testmd"
	"lvm2fs/internal/test/testpv"
	"lvm2fs/layers/md"
	"lvm2fs/lvm2"
	"lvm2fs/mapping"
)

const mib = 1 << 20

// legSize is what each leg of the arrays holds, in memory.
const (
	legSize = 32 * mib
	chunk   = 64 << 10
)

// mdArray is an MD array over n disks in memory, without those in lost.
func mdArray(b *testing.B, level, n, lost int) mapping.Volume {
	b.Helper()
	m := testmd.Member{Version: "1.2", Name: "bench", Array: [16]byte{1}, Level: level, Layout: 2, Chunk: chunk / 512, Disks: n, Resync: testmd.All, DataOffset: 2048}
	var members []md.Member
	for i, disk := range testmd.Set(m, legSize+mib, nil) {
		if i == lost {
			continue
		}
		dev := &memory{disk, fmt.Sprint(i)}
		super, err := md.Find(dev, dev.Size())
		if err != nil {
			b.Fatal(err)
		}
		members = append(members, md.Member{Device: dev, Super: super})
	}
	a, err := md.Assemble(members, md.Options{})
	if err != nil {
		b.Fatal(err)
	}
	return a.Array
}

// lvmArray is a RAID LV of the same kind.
func lvmArray(b *testing.B, typ string, n int) mapping.Volume {
	b.Helper()
	const extents = legSize / testpv.ExtentSize
	vg := testpv.VG{Name: "vg", Seqno: 1, PVExtents: extents + 1}
	var legs []string
	for i := range n {
		vg.PVs = append(vg.PVs, fmt.Sprint("pv", i))
		pv, image, meta := fmt.Sprint("pv", i), fmt.Sprint("lv_rimage_", i), fmt.Sprint("lv_rmeta_", i)
		hidden := `"READ", "WRITE"`
		vg.LVs = append(vg.LVs,
			testpv.LV{Name: image, Status: hidden, Segments: []string{testpv.Linear(0, extents, pv, 0)}},
			testpv.LV{Name: meta, Status: hidden, Segments: []string{testpv.Linear(0, 1, pv, extents)}})
		if typ == "raid0" {
			legs = append(legs, fmt.Sprintf("%q", image))
		} else {
			legs = append(legs, fmt.Sprintf("%q, %q", meta, image))
		}
	}
	data, list := n, "raids"
	if typ == "raid0" {
		list = "raid0_lvs"
	} else {
		data--
	}
	vg.LVs = append(vg.LVs, testpv.LV{Name: "lv", Segments: []string{fmt.Sprintf(
		"start_extent = 0\nextent_count = %d\ntype = %q\ndevice_count = %d\nstripe_count = %d\nstripe_size = %d\nregion_size = 1024\n%s = [%s]",
		data*extents, typ, n, n, chunk/512, list, strings.Join(legs, ", "))}})
	var devices []lvm2.Device
	for i, d := range vg.Disks() {
		// Leg metadata without a superblock: the LV has never been active.
		clear(d.Extent(extents, testpv.ExtentSize))
		devices = append(devices, &memory{d.Bytes, fmt.Sprint(i)})
	}
	scan := lvm2.Open(devices, lvm2.Options{})
	if len(scan.VGs) != 1 {
		b.Fatalf("%v %v", scan.Rejected, scan.Warnings)
	}
	v, err := scan.VGs[0].LV("lv").Open()
	if err != nil {
		b.Fatal(err)
	}
	return v
}

// memory is a device without locks.
type memory struct {
	bytes []byte
	name  string
}

func (m *memory) Name() string { return m.name }
func (m *memory) Size() int64  { return int64(len(m.bytes)) }

func (m *memory) ReadAt(p []byte, off int64) (int, error) {
	if n := copy(p, m.bytes[off:]); n < len(p) {
		return n, io.EOF
	}
	return len(p), nil
}

// BenchmarkMDAndLVM reads MD arrays and RAID LVs of the same kind in turns. The metric md/lvm is the speed
// of the one by that of the other.
func BenchmarkMDAndLVM(b *testing.B) {
	for _, c := range []struct {
		typ      string
		level, n int
	}{{"raid0", 0, 4}, {"raid5_ls", 5, 4}} {
		for _, size := range []int{4 << 10, mib} {
			b.Run(fmt.Sprintf("%s/%dK", c.typ, size>>10), func(b *testing.B) {
				both := [2]mapping.Volume{mdArray(b, c.level, c.n, -1), lvmArray(b, c.typ, c.n)}
				var spent [2]time.Duration
				p := make([]byte, size)
				end := min(both[0].Size(), both[1].Size()) - int64(size)
				const turn = 64
				for i := 0; b.Loop(); i++ {
					for which, v := range both {
						start := time.Now()
						for j := range turn {
							if _, err := v.ReadAt(p, int64(i*turn+j)*int64(size)%end); err != nil {
								b.Fatal(err)
							}
						}
						spent[which] += time.Since(start)
					}
				}
				b.SetBytes(2 * turn * int64(size))
				b.ReportMetric(float64(spent[1])/float64(spent[0]), "md/lvm")
			})
		}
	}
}

// BenchmarkMDDegraded reads a raid5 that lacks a member.
func BenchmarkMDDegraded(b *testing.B) {
	v := mdArray(b, 5, 4, 1)
	p := make([]byte, mib)
	b.SetBytes(mib)
	for i := int64(0); b.Loop(); i++ {
		if _, err := v.ReadAt(p, i*mib%(v.Size()-mib)); err != nil {
			b.Fatal(err)
		}
	}
}
