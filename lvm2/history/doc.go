// Package history finds what devices still hold of the past of volume groups: lvm2 writes each new
// metadata text behind the former ones, which stay until the ring they are in has come round.
//
//	found := history.Find(devices)
//	for _, vg := range found.VGs {
//		for _, text := range vg.Texts { // newest first
//			...
//
// A [Text] that is whole is a VG as it was. [Found.View] adds what has become of its places since, and gives what
// lvm2.Open takes to show it.
// (docs/format/01-label-and-metadata-area.md, section 8)
package history
