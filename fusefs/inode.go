package fusefs

import (
	"cmp"
	"encoding/binary"
	"fmt"
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

func keyOf(lv *lvm2.LV) fileKey { return fileKey{lv.VG.UUID, lv.UUID} }

// keyOfRemoved differs from that of what is left of the LV.
func keyOfRemoved(r lvm2.Removed) fileKey {
	return fileKey{r.LV.VG.UUID, lvm2.UUID(fmt.Sprintf("%s@%d", r.LV.UUID, r.Seqno))}
}

// removedKey is that of the directory of LVs that were removed.
func removedKey(vg *lvm2.VG) fileKey { return fileKey{vg.UUID, removedName} }

// keys are those of all that a scan may show, with the thin devices of its VGs that have no LV.
func keys(scan *lvm2.Scan, unnamed map[*lvm2.VG][]*lvm2.LV) (keys []fileKey) {
	for _, vg := range scan.VGs {
		keys = append(keys, fileKey{vg: vg.UUID})
		for _, lv := range slices.Concat(vg.LVs, unnamed[vg]) {
			if lv.UUID != "" {
				keys = append(keys, keyOf(lv))
			}
		}
	}
	for _, r := range scan.Removed {
		keys = append(keys, fileKey{vg: r.LV.VG.UUID}, removedKey(r.LV.VG), keyOfRemoved(r))
	}
	return keys
}

// inodes numbers what has keys. A number depends on the UUIDs alone; where two hashes are equal, which is rare, also on
// their order.
func inodes(keys []fileKey) map[fileKey]uint64 { return numberKeys(keys, hashKey) }

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
