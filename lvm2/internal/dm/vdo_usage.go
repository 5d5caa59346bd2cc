package dm

import (
	"errors"
	"fmt"
	"slices"

	"lvm2fs/mapping"
)

// VDOUsage is how full a VDO pool is, in blocks of 4096 bytes.
type VDOUsage struct {
	Logical  uint64 // mapped, or known to be zeros
	Data     uint64 // that hold the data of the mapped ones
	Overhead uint64 // for the index, the journals, the reference counts and the block map
	Physical uint64 // all there are
}

// ErrTooMuch: counting would have taken more work than the caller allows.
var ErrTooMuch = errors.New("too much to count")

// CountVDO reads at most maxPages pages of the block map of a pool, and counts what is in use. space is from [VDO]. A
// pool that was never activated has no usage: the error is errors.ErrUnsupported.
func CountVDO(space mapping.Volume, maxPages int) (VDOUsage, error) {
	v, ok := space.(*vdo)
	if !ok {
		return VDOUsage{}, errors.ErrUnsupported
	}
	c := vdoCount{vdo: v, left: maxPages}
	c.visit = func(block uint64) { c.blocks = append(c.blocks, block) }
	if err := c.all(); err != nil {
		return VDOUsage{}, err
	}
	slices.Sort(c.blocks)
	slabs := (v.lastSlab - v.firstSlab) / v.slabBlocks
	return VDOUsage{
		Logical:  c.logical,
		Data:     uint64(len(slices.Compact(c.blocks))),
		Overhead: v.physical - slabs*v.dataBlocks + c.pages,
		Physical: v.physical,
	}, nil
}

type vdoCount struct {
	*vdo
	left    int // pages that may still be read
	logical uint64
	pages   uint64 // in slabs, where all but the roots lie
	visit   func(block uint64)
	blocks  []uint64
}

func (c *vdoCount) all() error {
	for root := range c.rootCount {
		if err := c.page(c.rootOrigin+root, vdoTreeHeight-1); err != nil {
			return err
		}
	}
	return nil
}

// page counts what is beneath a page of the block map.
func (c *vdoCount) page(number uint64, level int) error {
	if c.left--; c.left < 0 {
		return ErrTooMuch
	}
	entries, err := c.entries(number)
	if err != nil {
		return err
	}
	for slot := range vdoPageEntries {
		e, err := entries.entry(slot)
		if err != nil {
			return err
		}
		switch {
		case e.state == 0:
		case level == 0:
			c.logical++
			if !e.zero() {
				c.visit(e.block)
			}
		default:
			child, err := e.child(vdoSlot{number, slot})
			if err != nil {
				return err
			}
			c.pages++
			if err := c.page(child, level-1); err != nil {
				return err
			}
		}
	}
	return nil
}

// mayBeEmpty fails if a page of the block map, which is not initialized or of another life of the pool, was damaged.
func (v *vdo) mayBeEmpty(page uint64) error {
	if v.countMap == nil {
		return nil
	}
	if _, err := v.countMap(); err != nil {
		return fmt.Errorf("block map page %d is empty, or damaged: %w", page, err)
	}
	return nil
}

// checkMapped holds what is mapped against the super block's numbers.
func (v *vdo) checkMapped() error {
	pool := *v
	pool.countMap = nil // pages that may be damaged count as empty
	c := vdoCount{vdo: &pool, left: int(min(v.mapPages, v.physical) + v.rootCount), visit: func(uint64) {}}
	if err := c.all(); err != nil {
		return err
	}
	if c.logical != v.logicalUsed || c.pages != v.mapPages {
		return fmt.Errorf("%w: %d blocks are mapped by %d pages, the super block has %d and %d", ErrVDO, c.logical, c.pages, v.logicalUsed, v.mapPages)
	}
	return nil
}
