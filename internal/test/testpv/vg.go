package testpv

import (
	"fmt"
	"strings"
)

// ExtentSize of the VGs that Text describes, in bytes.
const ExtentSize = 4096

// UUID makes a UUID out of a short name.
func UUID(name string) string {
	return (strings.NewReplacer("_", "", "-", "", "+", "", ".", "").Replace(name) + strings.Repeat("0", 32))[:32]
}

// VG is what Text writes down.
type VG struct {
	Name      string
	Seqno     int
	Status    string   // the list of the status, `"RESIZEABLE", "READ", "WRITE"` if empty
	Extra     string   // more keys of the VG
	PVs       []string // names, which make their UUIDs; pv0, pv1, ... in areas
	PVExtents int      // of each PV, 100 if 0
	PVExtra   string   // more keys of each PV
	LVs       []LV
}

// LV is what Text writes down of an LV.
type LV struct {
	Name     string
	Status   string   // `"READ", "WRITE", "VISIBLE"` if empty
	Extra    string   // more keys of the LV
	Segments []string // the keys of each segment
}

// Text is the metadata text of a VG, written as lvm2 would.
func (vg VG) Text() string {
	var b strings.Builder
	p := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	or := func(s, def string) string {
		if s == "" {
			return def
		}
		return s
	}
	extents := vg.PVExtents
	if extents == 0 {
		extents = 100
	}
	p("%s {\nid = %q\nseqno = %d\nformat = \"lvm2\"", vg.Name, UUID("vg"+vg.Name), vg.Seqno)
	p("status = [%s]\nflags = []\nextent_size = %d\nmax_lv = 0\nmax_pv = 0\nmetadata_copies = 0\n%s", or(vg.Status, `"RESIZEABLE", "READ", "WRITE"`), ExtentSize/512, vg.Extra)
	p("physical_volumes {")
	for i, name := range vg.PVs {
		p("pv%d {\nid = %q\ndevice = \"/dev/%s\"\nstatus = [\"ALLOCATABLE\"]\nflags = []\ndev_size = %d\npe_start = %d\npe_count = %d\n%s}",
			i, UUID(name), name, (DataStart+extents*ExtentSize)/512, DataStart/512, extents, vg.PVExtra)
	}
	p("}\nlogical_volumes {")
	for _, lv := range vg.LVs {
		p("%s {\nid = %q\nstatus = [%s]\nflags = []\n%s\nsegment_count = %d", lv.Name, UUID("lv"+vg.Name+lv.Name), or(lv.Status, `"READ", "WRITE", "VISIBLE"`), lv.Extra, len(lv.Segments))
		for i, seg := range lv.Segments {
			p("segment%d {\n%s\n}", i+1, seg)
		}
		p("}")
	}
	p("}\n}\ncontents = \"Text Format Volume Group\"\nversion = 1\ndescription = \"test\"\ncreation_host = \"test\"\ncreation_time = 1")
	return b.String()
}

// Linear is the text of a segment: count extents of the LV from start, which lie from
// extent at of the PV or LV area.
func Linear(start, count int, area string, at int) string {
	return Striped(start, count, 0, area, at)
}

// Striped is the text of a segment over areas: pairs of a name and an extent.
func Striped(start, count, stripeSectors int, areas ...any) string {
	var list []string
	for i := 0; i < len(areas); i += 2 {
		list = append(list, fmt.Sprintf("%q, %d", areas[i], areas[i+1]))
	}
	return fmt.Sprintf("start_extent = %d\nextent_count = %d\ntype = \"striped\"\nstripe_count = %d\nstripe_size = %d\nstripes = [%s]",
		start, count, len(list), stripeSectors, strings.Join(list, ", "))
}

// Disks are the disks of a VG, each with a copy of its metadata, with every extent
// filled with bytes that differ by disk and extent.
func (vg VG) Disks() []*Disk {
	extents := vg.PVExtents
	if extents == 0 {
		extents = 100
	}
	var disks []*Disk
	for i, name := range vg.PVs {
		d := New(name, UUID(name), int64(DataStart+extents*ExtentSize), vg.Text())
		for e := range extents {
			for j, b := 0, d.Extent(e, ExtentSize); j < len(b); j++ {
				b[j] = byte(31*i + 7*e + j/512 + 1)
			}
		}
		disks = append(disks, d)
	}
	return disks
}

// LargeDisk is the disk of a VG with one PV. The metadata lie behind the extents, which are zeros, and may be of any
// length.
func (vg VG) LargeDisk() *Disk {
	text := vg.Text()
	area := int64(DataStart + vg.PVExtents*ExtentSize)
	size := int64(len(text)+headerLen)/ExtentSize*ExtentSize + 2*ExtentSize
	return newDisk(vg.PVs[0], UUID(vg.PVs[0]), area+size, area, size, text)
}
