package metadata

import (
	"crypto/sha256"
	"fmt"
	"io"
	"maps"
)

// Fingerprint is equal for two readings of an LV if the metadata say the same of what its bytes are. It is the same
// on any machine and in any version of this program.
// (docs/format/11-overlay.md, section 5)
type Fingerprint [sha256.Size]byte

// Fingerprints are those of all LVs of a VG. Each is made of those of the LVs that it refers to, so each LV is
// looked at once. place, which may be nil, adds what a PV is read from; such fingerprints are not kept.
func (vg *VG) Fingerprints(place func(*PV) string) map[*LV]Fingerprint {
	own := make(map[*LV]Fingerprint, len(vg.LVs))
	for _, lv := range vg.bottomUp {
		own[lv] = lv.fingerprint(own, place)
	}
	// A hidden LV ties a snapshot to its origin: neither refers to it.
	all := maps.Clone(own)
	for _, lv := range vg.LVs {
		for _, seg := range lv.Segments {
			m, ok := seg.Mapping.(*Snapshot)
			if !ok || len(seg.refs) < 2 {
				continue
			}
			tied := []*LV{m.COW}
			if m.Merging {
				tied = append(tied, m.Origin)
			}
			for _, lv := range tied {
				was := all[lv]
				all[lv] = fingerprint(func(w io.Writer) {
					fmt.Fprintf(w, "%x;", was)
					seg.print(w, own, place)
				})
			}
		}
	}
	return all
}

// OfDevice is that of a [ThinDevice] in a pool with fingerprint f.
func (f Fingerprint) OfDevice(device *LV) Fingerprint {
	return device.fingerprint(map[*LV]Fingerprint{device.Mapping().(*Thin).Pool: f}, nil)
}

func (lv *LV) fingerprint(beneath map[*LV]Fingerprint, place func(*PV) string) Fingerprint {
	return fingerprint(func(w io.Writer) {
		fmt.Fprintf(w, "LV %s %s %d;", lv.VG.UUID, lv.UUID, lv.VG.ExtentSize)
		for _, seg := range lv.Segments {
			seg.print(w, beneath, place)
		}
	})
}

func fingerprint(print func(io.Writer)) (f Fingerprint) {
	sum := sha256.New()
	print(sum)
	sum.Sum(f[:0])
	return f
}

// print adds what decides where the bytes of a segment lie. An LV of a circle has no fingerprint yet; nothing of a circle
// is read.
func (seg *Segment) print(w io.Writer, beneath map[*LV]Fingerprint, place func(*PV) string) {
	fmt.Fprintf(w, "segment %d %d %d %q %q;", seg.StartExtent, seg.ExtentCount, seg.ReshapeCount, seg.Type, seg.TypeFlags)
	for _, r := range seg.refs {
		fmt.Fprintf(w, "role %d at %d ", r.Role, r.Extent)
		if r.LV != nil {
			fmt.Fprintf(w, "LV %s %x;", r.LV.UUID, beneath[r.LV])
			continue
		}
		fmt.Fprintf(w, "PV %s %d", r.PV.UUID, r.PV.DataStart)
		if place != nil {
			fmt.Fprintf(w, " %t %s", r.PV.FlaggedMissing(), place(r.PV))
		}
		fmt.Fprint(w, ";")
	}
	if seg.Mapping != nil {
		fmt.Fprintf(w, "%v;", seg.Mapping.decides()) // a map prints in the order of its keys
	}
}
