package fusefs

import (
	"cmp"
	"encoding/binary"
	"hash/fnv"
	"slices"

	"lvm2fs/lvm2"
)

// fileKey tells an LV from all others for as long as it exists. The LV's UUID alone does
// not: the clone of a VG has the same ones.
type fileKey struct {
	vg, lv lvm2.UUID // lv is empty for the VG's directory
}

func (k fileKey) compare(o fileKey) int {
	return cmp.Or(cmp.Compare(k.vg, o.vg), cmp.Compare(k.lv, o.lv))
}

const (
	rootIno     = 1
	reservedIno = ^uint64(0) // go-fuse's own
)

// inodes numbers all VGs and LVs of a scan. A number depends on the UUIDs alone; where two hashes are equal, which is
// rare, also on their order.
func inodes(vgs []*lvm2.VG) map[fileKey]uint64 {
	var keys []fileKey
	for _, vg := range vgs {
		keys = append(keys, fileKey{vg: vg.UUID})
		for _, lv := range vg.LVs {
			if lv.UUID != "" {
				keys = append(keys, fileKey{vg.UUID, lv.UUID})
			}
		}
	}
	return numberKeys(keys, hashKey)
}

func numberKeys(keys []fileKey, hash func(fileKey, uint64) uint64) map[fileKey]uint64 {
	slices.SortFunc(keys, fileKey.compare)
	numbers := make(map[fileKey]uint64, len(keys))
	taken := map[uint64]bool{0: true, rootIno: true, reservedIno: true}
	for _, k := range slices.Compact(keys) {
		n := hash(k, 0)
		for try := uint64(1); taken[n]; try++ {
			n = hash(k, try)
		}
		taken[n] = true
		numbers[k] = n
	}
	return numbers
}

func hashKey(k fileKey, try uint64) uint64 {
	h := fnv.New64a()
	h.Write([]byte(k.vg))
	h.Write([]byte(k.lv))
	if try > 0 {
		h.Write(binary.BigEndian.AppendUint64(nil, try))
	}
	return h.Sum64()
}
