package dm

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"

	"lvm2fs/lvm2/internal/pdata"
	"lvm2fs/mapping"
)

// CheckThinPool goes through all of a pool's metadata, as thin_check does, and calls found with what is wrong:
// nodes that are damaged, misplaced or too empty, mappings beyond the pool, devices whose numbers of mappings are
// not those of their details, and blocks of data and metadata that the space maps count otherwise than references lead to them.
// Where a node cannot be read, what lies beneath it is unknown, and counts are not compared. An error of found ends the
// check, and is returned. chunkSize is in bytes. A pool that was never activated has nothing to be found. The result is
// the number of bytes of metadata in use.
//
// Its memory is bounded by the size of the metadata: 13 bytes for each of at most 4161600 blocks, and 64 MiB.
// (docs/format/06-thin.md, sections 3 to 8)
func CheckThinPool(metadata, data mapping.Volume, chunkSize int64, found func(error) error) (used int64, err error) {
	p, err := OpenThinPool(metadata, data, chunkSize)
	if err != nil {
		return 0, found(err)
	}
	if p == nil {
		return 0, nil
	}
	return p.check(found)
}

// check is CheckThinPool for a pool that is open.
func (p *ThinPool) check(found func(error) error) (used int64, err error) {
	c := &thinCheck{
		pool:   p,
		found:  found,
		Census: pdata.NewCensus(p.blocks, found),
	}
	err = c.run()
	return int64(c.Used()) * pdata.BlockSize, err
}

type thinCheck struct {
	*pdata.Census
	pool   *ThinPool
	found  func(error) error
	mapped map[uint64]uint64 // by device: mappings in its level 2
}

func (c *thinCheck) run() error {
	p := c.pool
	if _, err := c.Refer(0, pdata.UsedAsSuperblock); err != nil {
		return err
	}
	if err := c.trees(p.level1.Root, p.details.Root); err != nil {
		return err
	}
	if err := c.devices(); err != nil {
		return err
	}
	if p.heldRoot != 0 {
		if err := c.held(p.heldRoot); err != nil {
			return err
		}
	}
	for _, m := range []pdata.SpaceMap{p.dataMap, p.metadataMap} {
		if err := c.SpaceMap(m); err != nil {
			return err
		}
	}
	if !c.Whole() {
		return nil
	}
	if err := c.Compare(p.metadataMap); err != nil {
		return err
	}
	return c.CompareData(p.dataMap, dataChunk)
}

// trees goes through the trees that a superblock leads to.
func (c *thinCheck) trees(level1, details uint64) error {
	c.mapped = map[uint64]uint64{}
	if _, err := c.Tree(level1, pdata.UsedAsLevel1, mappingSize, func(device uint64, root []byte) error {
		mapped, err := c.Tree(binary.LittleEndian.Uint64(root), pdata.UsedAsMappings, mappingSize, func(chunk uint64, v []byte) error {
			if at := dataChunk(v); at >= c.pool.dataMap.Total {
				return c.found(fmt.Errorf("%w: device %d: chunk %d lies in chunk %d of the pool, which has %d", ErrThinPool, device, chunk, at, c.pool.dataMap.Total))
			}
			return nil
		})
		c.mapped[device] = mapped
		return err
	}); err != nil {
		return err
	}
	_, err := c.Tree(details, pdata.UsedAsDetails, detailsSize, nil)
	return err
}

// devices compares level 1 with the device details.
func (c *thinCheck) devices() error {
	if !c.Whole() {
		return nil
	}
	if err := c.pool.eachDevice(func(device uint64, d thinDetails) error {
		mapped, there := c.mapped[device]
		switch {
		case !there:
			return c.found(fmt.Errorf("%w: device %d has details, and no mappings in level 1", ErrThinPool, device))
		case mapped != d.mapped:
			return c.found(fmt.Errorf("%w: device %d has %d mappings, and %d by its details", ErrThinPool, device, mapped, d.mapped))
		}
		return nil
	}); err != nil {
		return err
	}
	for _, device := range slices.Sorted(maps.Keys(c.mapped)) {
		if _, found, err := c.pool.details.Find(device); err == nil && !found {
			if err := c.found(fmt.Errorf("%w: device %d is in level 1, and has no details", ErrThinPool, device)); err != nil {
				return err
			}
		}
	}
	return nil
}

// held goes through the trees of a superblock that the kernel was asked to keep.
func (c *thinCheck) held(root uint64) error {
	fresh, err := c.Refer(root, pdata.UsedAsSuperblock)
	if !fresh || err != nil {
		return err
	}
	b, err := c.pool.blocks.Read(root, pdata.ThinSuperblock)
	if err != nil {
		return c.found(err)
	}
	return c.trees(binary.LittleEndian.Uint64(b[320:]), binary.LittleEndian.Uint64(b[328:]))
}
