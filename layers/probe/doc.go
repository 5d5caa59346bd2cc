// Package probe finds out what lies on what: given disks and images, it looks through image formats,
// partition tables, MD arrays and containers, in any nesting, for LVM2 physical volumes.
//
// What may be on a device is asked for in a fixed order, as Linux would take it: a format of disk
// images; a member of an MD array, which beats all that shows on it; another container or component,
// of which those are opened that someone knows to open; then a partition table or a PV. A PV in the
// first sectors of a disk that has partitions too is taken for what the disk was before, unless the
// partitions hold nothing. (docs/format/04-below-lvm.md, section 1)
//
// Members of an array may lie anywhere: arrays are assembled when all devices have been looked at, whole
// ones first, and what lies on them is looked at in turn.
package probe
