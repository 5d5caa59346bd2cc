// Package fingerprint tells whether two readings of an LV's metadata mean the same bytes.
package fingerprint

import (
	"crypto/sha256"
	"fmt"
	"hash"
	"reflect"
	"slices"

	"lvm2fs/lvm2"
)

// Sum is a fingerprint of an LV, SHA-256.
type Sum [sha256.Size]byte

// Places are equal for two readings of an LV in one process if its bytes lie in the same places of the same devices, as
// far as the metadata tell.
func Places(vg *lvm2.VG) map[*lvm2.LV]Sum {
	prints := make(map[*lvm2.LV]Sum, len(vg.LVs))
	for _, lv := range vg.BottomUp() {
		p := printer{sum: sha256.New(), beneath: prints, places: true}
		p.printSegments(lv)
		prints[lv] = p.result()
	}
	return prints
}

// Contents are equal for two readings of an LV, on any machine and by any version of this program, if the metadata say
// the same of what its bytes are. Whether a PV is there makes no difference, nor what is only about speed.
// (docs/format/11-overlay.md, section 5)
func Contents(vg *lvm2.VG) map[*lvm2.LV]Sum {
	own := make(map[*lvm2.LV]Sum, len(vg.LVs))
	for _, lv := range vg.BottomUp() {
		p := printer{sum: sha256.New(), beneath: own}
		p.printSegments(lv)
		own[lv] = p.result()
	}
	return withSnapshots(vg, own)
}

// withSnapshots adds what a hidden LV says of a snapshot and of an origin that one is being merged into: neither refers
// to it.
func withSnapshots(vg *lvm2.VG, own map[*lvm2.LV]Sum) map[*lvm2.LV]Sum {
	all := make(map[*lvm2.LV]Sum, len(own))
	for lv, sum := range own {
		all[lv] = sum
	}
	add := func(lv *lvm2.LV, s *lvm2.Snapshot) {
		p := printer{sum: sha256.New(), beneath: own}
		was := all[lv]
		p.sum.Write(was[:])
		p.print(reflect.ValueOf(s))
		all[lv] = p.result()
	}
	for _, lv := range vg.LVs {
		for _, seg := range lv.Segments {
			if s, ok := seg.Mapping.(*lvm2.Snapshot); ok && s.COW != nil && s.Origin != nil {
				add(s.COW, s)
				if s.Merging {
					add(s.Origin, s)
				}
			}
		}
	}
	return all
}

type printer struct {
	sum     hash.Hash
	beneath map[*lvm2.LV]Sum
	places  bool // the devices that are there count, too
}

func (p *printer) result() (s Sum) {
	p.sum.Sum(s[:0])
	return s
}

var (
	typeLV = reflect.TypeFor[*lvm2.LV]()
	typePV = reflect.TypeFor[*lvm2.PV]()
)

// indifferent are fields that change no byte of an LV.
var indifferent = []string{"WriteBehind", "MinRecoveryRate", "MaxRecoveryRate", "Policy", "PolicySettings", "Cleaner"}

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
		fmt.Fprintf(p.sum, "%s{", v.Type().Name())
		for i := range v.NumField() {
			f := v.Type().Field(i)
			if f.IsExported() && (p.places || !slices.Contains(indifferent, f.Name)) {
				fmt.Fprintf(p.sum, "%s=", f.Name)
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
	fmt.Fprintf(p.sum, "PV %s %d", pv.UUID, pv.DataStart)
	if !p.places {
		return
	}
	fmt.Fprintf(p.sum, " %t", pv.FlaggedMissing())
	if pv.Device != nil {
		fmt.Fprintf(p.sum, "on %d bytes", pv.Device.Size())
	}
}
