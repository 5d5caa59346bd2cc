package lvm2

import "slices"

// Status flags that this release knows. One that it does not know may change what the
// object means, so the object is refused; unknown entries of flags = [...] are harmless.
// (docs/format/02-metadata-text.md, section 7)
var (
	knownVGStatus = []string{"RESIZEABLE", "READ", "WRITE", "EXPORTED", "PVMOVE", "CLUSTERED", "SHARED", "PARTIAL"}
	knownPVStatus = []string{"ALLOCATABLE", "EXPORTED", "MISSING"}
	knownLVStatus = []string{"READ", "WRITE", "VISIBLE", "FIXED_MINOR", "PVMOVE", "LOCKED", "NOTSYNCED", "REBUILD", "WRITEMOSTLY", "CACHE_VOL"}
)

// knownTypeFlags are the +FLAGs behind a segment type that are understood where it occurs.
var knownTypeFlags = map[string][]string{
	"cache":      {"CACHE_USES_CACHEVOL"},
	"cache-pool": {"METADATA_FORMAT"},
	"thin-pool":  {"CROP_METADATA"},
}

// The flags of a reshape say what lvm2 has asked for, on the RAID and on legs that come or
// go; what has come of it is in the superblocks.
// (docs/format/03-mapping-linear-striped-raid.md, section 8)
func init() {
	for typ := range raidTypes {
		knownTypeFlags[typ] = []string{"RESHAPE", "RESHAPE_DATA_OFFSET", "RESHAPE_DELTA_DISKS_PLUS", "RESHAPE_DELTA_DISKS_MINUS", "REMOVE_AFTER_RESHAPE"}
	}
	for _, typ := range []string{"striped", "linear", "error", "integrity"} {
		knownTypeFlags[typ] = []string{"RESHAPE_DELTA_DISKS_PLUS", "RESHAPE_DELTA_DISKS_MINUS", "REMOVE_AFTER_RESHAPE"}
	}
}

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
