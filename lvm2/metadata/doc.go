// Package metadata is what the metadata text of a volume group says: VGs, PVs, LVs and
// segments as plain data, and what follows from them alone. It reads no device and knows
// of none; see package lvm2 for that.
//
// [Decode] makes a VG of a text. A file per segment type has how its keys are decoded and
// what it refers to ([Mapping]); whatever is asked of segments as such is answered from
// that. To add a segment type, add its file and its line in kinds.
//
// Nothing here changes after it was decoded, so all of it is safe for concurrent use.
// (docs/format/02-metadata-text.md)
package metadata

import "errors"

// ErrMetadata is wrapped where metadata are whole but make no sense.
var ErrMetadata = errors.New("invalid metadata")
