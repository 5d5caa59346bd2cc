package metadata

import "slices"

// Status flags that this release knows. One that it does not know may change what the
// object means, so the object is refused; unknown entries of flags = [...] are harmless.
// (docs/format/02-metadata-text.md, section 7)
var (
	knownVGStatus = []string{"RESIZEABLE", "READ", "WRITE", "EXPORTED", "PVMOVE", "CLUSTERED", "SHARED", "PARTIAL"}
	knownPVStatus = []string{"ALLOCATABLE", "EXPORTED", "MISSING"}
	knownLVStatus = []string{"READ", "WRITE", "VISIBLE", "FIXED_MINOR", "PVMOVE", "LOCKED", "NOTSYNCED", "REBUILD", "WRITEMOSTLY", "CACHE_VOL"}
)

// Unknown are the status flags of the VG that are unknown here.
func (vg *VG) Unknown() []string { return unknown(vg.Status, knownVGStatus) }

// Unknown are the status flags of the PV that are unknown here.
func (pv *PV) Unknown() []string { return unknown(pv.Status, knownPVStatus) }

// Unknown are the status flags of the LV that are unknown here.
func (lv *LV) Unknown() []string { return unknown(lv.Status, knownLVStatus) }

// Unknown are the +FLAGs behind the type that are unknown here.
func (seg *Segment) Unknown() []string { return unknown(seg.TypeFlags, seg.kind.Flags) }

func unknown(flags, known []string) []string {
	var out []string
	for _, f := range flags {
		if !slices.Contains(known, f) {
			out = append(out, f)
		}
	}
	return out
}

// allowsWriting says whether status and flags let the VG or LV be written. Newer lvm2
// hides WRITE from older ones as WRITE_LOCKED.
func allowsWriting(status, flags []string) bool {
	return slices.Contains(status, "WRITE") || slices.Contains(flags, "WRITE_LOCKED")
}
