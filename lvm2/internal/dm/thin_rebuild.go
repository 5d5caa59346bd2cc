package dm

import (
	"errors"
	"fmt"
	"math"

	"lvm2fs/lvm2/internal/pdata"
	"lvm2fs/lvm2/internal/rebuild"
	"lvm2fs/mapping"
)

// ErrNoThinRoot: the superblock of a pool must not be used, and no other root was chosen.
var ErrNoThinRoot = errors.New("where the mappings begin is not known")

// ThinPlan is a pool whose mappings were put together again.
type ThinPlan struct {
	plan   *rebuild.Plan
	likely bool
}

// Plan says what was found.
func (p *ThinPlan) Plan() *rebuild.Plan { return p.plan }

// RebuildThinPool puts the mappings of a pool together again where nodes of its trees are damaged. They begin at the
// block level1, or with 0 where the superblock says. known are the IDs of the devices that there should be. chunkSize is
// in bytes.
func RebuildThinPool(metadata, data mapping.Volume, chunkSize int64, level1 uint64, known []uint64) (*ThinPlan, error) {
	var plan *rebuild.Plan
	var err error
	if level1 != 0 {
		plan, err = rebuild.Build(pdata.NewBlocks(metadata, metadata.Size()), uint64(data.Size()/chunkSize), rebuild.Age{Level1: level1}, known)
	} else {
		var p *ThinPool
		if p, err = OpenThinPool(metadata, data, chunkSize); err == nil && p == nil {
			err = fmt.Errorf("%w: it was never activated", ErrThinPool)
		}
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrNoThinRoot, err)
		}
		plan, err = rebuild.Build(p.blocks, p.chunks, p.age(), known)
	}
	if err != nil {
		return nil, err
	}
	return &ThinPlan{plan: plan}, nil
}

// age is what the superblock leads to.
func (p *ThinPool) age() rebuild.Age {
	a := rebuild.Age{Level1: p.level1.Root, Details: p.details.Root, Metadata: &p.metadataMap, Data: &p.dataMap}
	if p.heldRoot == 0 {
		return a
	}
	a.Held = rebuild.ReadHeld(p.blocks, p.heldRoot)
	return a
}

// Rebuilt has the pool read as it was put together again; with likely also where that is no more than likely. All else
// that is not certain is missing.
func (p *ThinPool) Rebuilt(plan *ThinPlan, likely bool) {
	p.rebuilt = &ThinPlan{plan.plan, likely}
}

func (p *ThinPlan) leaves(device uint64) (leafFinder, error) {
	d := p.plan.Device(device)
	if d == nil {
		return nil, fmt.Errorf("%w: no thin device %d", ErrThinPool, device)
	}
	return rebuild.Reader{Device: d, Likely: p.likely}, nil
}

// devices are like those of [ThinPool.Devices].
func (p *ThinPlan) devices(chunkSize int64) (devices []ThinDevice) {
	for _, d := range p.plan.Devices {
		devices = append(devices, ThinDevice{ID: d.ID, Mapped: d.Mapped, End: p.end(d, chunkSize)})
	}
	return devices
}

// end is the end of the last chunk that can be found, in bytes.
func (p *ThinPlan) end(d *rebuild.Device, chunkSize int64) int64 {
	r := rebuild.Reader{Device: d, Likely: p.likely}
	for key := uint64(math.MaxUint64); ; {
		leaf, err := r.Leaf(key)
		from := leaf.From
		var damage *pdata.Damage
		if errors.As(err, &damage) {
			from = damage.From
		}
		if err == nil && leaf.Len() > 0 {
			if last := leaf.Key(leaf.Len() - 1); last < math.MaxInt64/uint64(chunkSize)/2 {
				return int64(last+1) * chunkSize
			}
			return 0
		}
		if from == 0 || from > key {
			return 0
		}
		key = from - 1
	}
}
