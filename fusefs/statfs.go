package fusefs

import (
	"math"

	"github.com/hanwen/go-fuse/v2/fuse"

	"lvm2fs/lvm2"
)

// fillStatfs tells the extents of vgs, used and free. Blocks are extents where all VGs have them
// of one size, else the largest size that divides all of theirs. Files are not counted: none free
// would read as full.
func fillStatfs(vgs []*lvm2.VG, out *fuse.StatfsOut) {
	block := blockSize(vgs)
	for _, vg := range vgs {
		perExtent := uint64(vg.ExtentSize / block)
		out.Blocks += vg.ExtentCount() * perExtent
		out.Bfree += vg.FreeExtentCount() * perExtent
	}
	out.Bavail = out.Bfree
	out.Bsize, out.Frsize = uint32(block), uint32(block)
	out.NameLen = 255
}

func blockSize(vgs []*lvm2.VG) int64 {
	var block int64
	for _, vg := range vgs {
		block = gcd(block, vg.ExtentSize)
	}
	if block == 0 {
		return 512
	}
	for block > math.MaxInt32 && block%2 == 0 {
		block /= 2
	}
	if block > math.MaxInt32 {
		return 512
	}
	return block
}

func gcd(a, b int64) int64 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}
