package fusefs

import (
	"crypto/sha256"
	"fmt"
	"hash"
	"reflect"

	"lvm2fs/lvm2"
)

// fingerprint is equal for two readings of an LV if its bytes lie in the same places.
type fingerprint [sha256.Size]byte

// fingerprints are those of all LVs of a VG. That of an LV is made of those of the LVs that it refers to, so that
// each is looked at once.
func fingerprints(vg *lvm2.VG) map[*lvm2.LV]fingerprint {
	prints := make(map[*lvm2.LV]fingerprint, len(vg.LVs))
	for _, lv := range vg.BottomUp() {
		p := printer{sum: sha256.New(), beneath: prints}
		p.printSegments(lv)
		var f fingerprint
		p.sum.Sum(f[:0])
		prints[lv] = f
	}
	return prints
}

type printer struct {
	sum     hash.Hash
	beneath map[*lvm2.LV]fingerprint
}

var (
	typeLV = reflect.TypeFor[*lvm2.LV]()
	typePV = reflect.TypeFor[*lvm2.PV]()
)

// print adds what decides where bytes lie: of an LV its segments, of a PV where its extents start
// and how much of it there is, of a segment's mapping, whatever its type, all fields.
func (p *printer) print(v reflect.Value) {
	switch v.Kind() {
	case reflect.Invalid:
		fmt.Fprint(p.sum, "none;")
	case reflect.Pointer, reflect.Interface:
		switch {
		case v.IsNil():
			fmt.Fprint(p.sum, "nil;")
		case v.Type() == typeLV:
			p.printLV(v.Interface().(*lvm2.LV))
		case v.Type() == typePV:
			p.printPV(v.Interface().(*lvm2.PV))
		default:
			p.print(v.Elem())
		}
	case reflect.Struct:
		fmt.Fprintf(p.sum, "%s{", v.Type())
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				p.print(v.Field(i))
			}
		}
		fmt.Fprint(p.sum, "}")
	case reflect.Slice:
		fmt.Fprintf(p.sum, "%d[", v.Len())
		for i := range v.Len() {
			p.print(v.Index(i))
		}
		fmt.Fprint(p.sum, "]")
	default: // a map of strings and numbers prints in the order of its keys
		fmt.Fprintf(p.sum, "%q;", fmt.Sprint(v.Interface()))
	}
}

// printLV adds an LV that is referred to. In a circle it has no fingerprint yet; nothing of a circle is read.
func (p *printer) printLV(lv *lvm2.LV) {
	fmt.Fprintf(p.sum, "LV %s %x", lv.UUID, p.beneath[lv])
}

func (p *printer) printSegments(lv *lvm2.LV) {
	fmt.Fprintf(p.sum, "LV %s %s %d", lv.VG.UUID, lv.UUID, lv.VG.ExtentSize)
	for _, seg := range lv.Segments {
		fmt.Fprintf(p.sum, "seg %d %d %d %s %q", seg.StartExtent, seg.ExtentCount, seg.ReshapeCount, seg.Type, seg.TypeFlags)
		p.print(reflect.ValueOf(seg.Mapping))
	}
}

func (p *printer) printPV(pv *lvm2.PV) {
	fmt.Fprintf(p.sum, "PV %s %d %t", pv.UUID, pv.DataStart, pv.FlaggedMissing())
	if pv.Device != nil {
		fmt.Fprintf(p.sum, "on %d bytes", pv.Device.Size())
	}
}
