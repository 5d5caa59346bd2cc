package dm

import (
	"encoding/binary"
	"fmt"
	"math"

	"lvm2fs/lvm2/internal/pdata"
)

// ThinDevice is a thin device of a pool.
type ThinDevice struct {
	ID     uint64
	End    int64  // bytes up to the end of its last chunk; the pool does not know its size
	Mapped uint64 // chunks, by its details; 0 if there are none
}

// maxThinDevices bounds the list of [ThinPool.Devices].
const maxThinDevices = 1 << 20

// Devices are the thin devices that the pool has, by ID, with or without an LV. It reads one path of nodes for each. A
// device whose mappings are damaged has 0 for End. It fails where level 1 is damaged.
func (p *ThinPool) Devices() ([]ThinDevice, error) {
	if p.rebuilt != nil {
		return p.rebuilt.devices(p.chunkSize), nil
	}
	p.tables.RLock()
	defer p.tables.RUnlock()
	var devices []ThinDevice
	for key := uint64(0); ; {
		leaf, err := p.level1.Leaf(key)
		if err != nil {
			return devices, fmt.Errorf("thin devices: %w", err)
		}
		for i := range leaf.Len() {
			if len(devices) == maxThinDevices {
				return devices, fmt.Errorf("%w: more than %d thin devices", ErrThinPool, maxThinDevices)
			}
			devices = append(devices, p.device(leaf.Key(i), binary.LittleEndian.Uint64(leaf.Value(i))))
		}
		if leaf.To == math.MaxUint64 {
			return devices, nil
		}
		key = leaf.To + 1
	}
}

func (p *ThinPool) device(id, root uint64) ThinDevice {
	d := ThinDevice{ID: id}
	if p.Counted() {
		d.Mapped, _ = p.mappedBy(id) // 0 stands for it then
	}
	tree := p.tree(root)
	if open := p.devices[id]; open != nil { // writing moves the root
		tree = open.level2
	}
	if last, ok := lastKey(tree); ok && last < math.MaxInt64/uint64(p.chunkSize)/2 {
		d.End = int64(last+1) * p.chunkSize
	}
	return d
}

// lastKey is the highest key of a tree; false if there is none, or a node on the way to it is damaged.
func lastKey(t pdata.Tree) (uint64, bool) {
	leaf, err := t.Leaf(math.MaxUint64)
	if err != nil || leaf.Len() == 0 {
		return 0, false
	}
	return leaf.Key(leaf.Len() - 1), true
}
