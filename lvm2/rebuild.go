package lvm2

import (
	"lvm2fs/lvm2/internal/assembly"
	"lvm2fs/lvm2/internal/dm"
	"lvm2fs/lvm2/internal/rebuild"
)

// Rebuild says which of the mappings that [LV.ThinRebuild] put together again are read.
type Rebuild = assembly.Rebuild

// Which mappings are read, by what speaks for them.
const (
	NoRebuild      = assembly.NoRebuild      // the trees are read as they are
	RebuildCertain = assembly.RebuildCertain // also what the metadata decide
	RebuildLikely  = assembly.RebuildLikely  // also what is likely by all that is left
)

// ErrNoThinRoot: the superblock of a pool must not be used, and no other root was chosen.
var ErrNoThinRoot = dm.ErrNoThinRoot

// RebuiltPool is a thin pool whose mappings were put together again.
type RebuiltPool struct {
	ChunkSize int64 // bytes
	Devices   []RebuiltDevice
	// Notes say what it rests on, and what could not be read.
	Notes []string
	// Unassigned are nodes in use with mappings. Nothing says whose they are.
	Unassigned []UnassignedMappings
}

// RebuiltDevice is a thin device of such a pool.
type RebuiltDevice struct {
	ID      uint64
	Mapped  uint64 // mappings by the device details, if Counted
	Counted bool
	Reached uint64 // mappings to which a whole way leads
	Certain uint64 // mappings that were put together again
	Likely  uint64
	Runs    []RebuiltRun // of its chunks; what is in none of them has been reached
}

// RebuiltRun is a run of chunks to which no whole way leads.
type RebuiltRun struct {
	From, To uint64 // From <= chunk <= To
	// Grade is certain, likely, contradictory or lost. The latter two are never read.
	Grade string
	Why   string
}

// UnassignedMappings are the mappings beneath a node.
type UnassignedMappings struct {
	Block       uint64
	First, Last uint64 // chunks
	Mappings    uint64
}

// ThinRebuild puts the mappings of the thin pool that lv is together again from the nodes that are whole. It begins at
// the root that was chosen, or at that of the superblock, and fails if neither is there. It reads all of the metadata.
// Volumes are read from what it finds only if [ThinPoolChoice] says so.
func (lv *LV) ThinRebuild() (*RebuiltPool, error) {
	found, err := lv.VG.assembly.ThinRebuild(lv.LV)
	if err != nil {
		return nil, err
	}
	plan := found.Plan()
	p := &RebuiltPool{ChunkSize: lv.ThinPool().ChunkSize, Notes: plan.Notes}
	for _, d := range plan.Devices {
		p.Devices = append(p.Devices, rebuiltDevice(d))
	}
	for _, u := range plan.Unassigned {
		p.Unassigned = append(p.Unassigned, UnassignedMappings(u))
	}
	return p, nil
}

func rebuiltDevice(d *rebuild.Device) RebuiltDevice {
	r := RebuiltDevice{ID: d.ID, Mapped: d.Mapped, Counted: d.Counted, Reached: d.Reached, Certain: d.Found[rebuild.Certain], Likely: d.Found[rebuild.Likely]}
	for _, run := range d.Runs {
		if n := len(r.Runs); n > 0 && r.Runs[n-1].Grade == run.Grade.String() && r.Runs[n-1].Why == run.Why && r.Runs[n-1].To+1 == run.From {
			r.Runs[n-1].To = run.To
			continue
		}
		r.Runs = append(r.Runs, RebuiltRun{run.From, run.To, run.Grade.String(), run.Why})
	}
	return r
}
