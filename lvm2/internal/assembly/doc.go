// Package assembly makes volumes of the LVs of a VG. It is the one place that knows both
// the metadata (package metadata) and the targets (package dm): which target a segment
// takes, what the superblocks of an array mean for it, and what keeps a segment from being
// written. It knows nothing of how PVs are found; a [Source] gives their bytes.
package assembly
