package blockdev

// Disks lists the paths of the block devices of the system on which a PV may lie: a disk's partitions instead
// of it; an assembled array, a multipath device or an opened container instead of its members. Active LVs are
// left out: their PVs are in the list.
func Disks() ([]string, error) { return systemDisks() }

// BlockSize is the size in bytes of a disk's logical sectors, in which partition tables count; 0 for an
// image file, which does not tell.
func (d *Device) BlockSize() int64 {
	if d.isFile {
		return 0
	}
	return d.hole
}

// Partitions are the paths that the system's own device of a partition of this disk may have, the one with
// this number that begins at byte start and has size bytes; none if it has no such device. The caller
// must see whether what it opens has the right size.
func (d *Device) Partitions(number int, start, size int64) []string {
	if d.isFile {
		return nil
	}
	return d.partitionNodes(number, start, size)
}
