package dm

import (
	"encoding/binary"
	"fmt"
)

// The block map is a number of radix trees, among which the leaf pages are dealt out in turn. A page
// holds 812 entries of 5 bytes:
//
//	0 u32 major 4  4 u32 minor 1  8 u64 nonce  16 u64 own block number  32 u8 initialized  36 entries
//
//	entry:  | PBN bits 32-35, state | PBN bits 0-31 |
//	state:  0 unmapped, 1 as it is, 2 to 15 fragment 0 to 13
//
// A page that is not initialized, or of another life of the pool, is empty. So looks one that was damaged: in a pool that
// was closed, it is taken for empty only if nothing is missing from the block map.
// (docs/format/09-vdo.md, sections 5 and 9)
const (
	vdoPageEntries   = 812
	vdoPageHeader    = 36
	vdoEntrySize     = 5
	vdoTreeHeight    = 5
	vdoUncompressed  = 1
	vdoFirstFragment = 2
)

// vdoEntry says where a block is.
type vdoEntry struct {
	block uint64
	state uint8
}

func decodeVDOEntry(b []byte) vdoEntry {
	return vdoEntry{uint64(b[0]>>4)<<32 | uint64(binary.LittleEndian.Uint32(b[1:])), b[0] & 15}
}

func (e vdoEntry) String() string { return fmt.Sprintf("block %d in state %d", e.block, e.state) }

func (e vdoEntry) compressed() bool { return e.state >= vdoFirstFragment }
func (e vdoEntry) zero() bool       { return e.block == 0 }
func (e vdoEntry) fragment() int    { return int(e.state) - vdoFirstFragment }

// vdoSlot is the place of an entry: the block of the page, and which of its entries.
type vdoSlot struct {
	page uint64
	slot int
}

type vdoPage struct {
	b []byte // nil for an empty page
}

func (v *vdo) page(number uint64) (*vdoPage, error) {
	return v.pages.Get(number, func() (*vdoPage, error) {
		b := make([]byte, VDOBlock)
		if err := v.readPhysical(b, number); err != nil {
			return nil, fmt.Errorf("block map page %d: %w", number, err)
		}
		le := binary.LittleEndian
		if le.Uint32(b) != 4 || le.Uint32(b[4:]) != 1 || b[32] != 1 || le.Uint64(b[8:]) != v.nonce {
			return &vdoPage{}, nil
		}
		if own := le.Uint64(b[16:]); own != number {
			return nil, fmt.Errorf("%w: block map page %d says that it is page %d", ErrVDO, number, own)
		}
		return &vdoPage{b}, nil
	})
}

// vdoEntries are the newest entries of one page. They are for one goroutine.
type vdoEntries struct {
	v       *vdo
	page    uint64
	overlay map[vdoSlot]vdoEntry
	onDisk  *vdoPage // nil until one of its entries is needed
}

func (v *vdo) entries(page uint64) (vdoEntries, error) {
	overlay, err := v.openOverlay()
	return vdoEntries{v: v, page: page, overlay: overlay}, err
}

func (p *vdoEntries) entry(slot int) (e vdoEntry, err error) {
	at, newer := vdoSlot{p.page, slot}, false
	if len(p.overlay) > 0 {
		e, newer = p.overlay[at]
	}
	if !newer {
		if p.onDisk == nil {
			if p.onDisk, err = p.v.page(p.page); err != nil {
				return vdoEntry{}, err
			}
		}
		if b := p.onDisk.b; b != nil {
			e = decodeVDOEntry(b[vdoPageHeader+slot*vdoEntrySize:])
		} else if err := p.v.mayBeEmpty(p.page); err != nil {
			return vdoEntry{}, err
		}
	}
	return e, p.v.check(e, at)
}

func (v *vdo) entry(at vdoSlot) (vdoEntry, error) {
	page, err := v.entries(at.page)
	if err != nil {
		return vdoEntry{}, err
	}
	return page.entry(at.slot)
}

// check says whether an entry makes sense.
func (v *vdo) check(e vdoEntry, at vdoSlot) error {
	if !v.inBounds(e) {
		return fmt.Errorf("%w: block map page %d, entry %d: %s", ErrVDO, at.page, at.slot, e)
	}
	return nil
}

// inBounds says whether an entry leads to nothing, to zeros, or to a block of a slab that holds data.
func (v *vdo) inBounds(e vdoEntry) bool {
	if e.block == 0 {
		return !e.compressed()
	}
	return e.state != 0 && e.block >= v.firstSlab && e.block < v.lastSlab && (e.block-v.firstSlab)%v.slabBlocks < v.dataBlocks
}

// vdoCursor finds logical blocks, and keeps the leaf page of the last. It is for one goroutine.
type vdoCursor struct {
	*vdo
	placed bool
	leaf   uint64 // number of the leaf page
	page   vdoEntries
	gap    bool // the leaf page is not there: its blocks are zeros
}

// lookup finds a logical block. The entry is zero for one that is not mapped.
func (c *vdoCursor) lookup(block uint64) (vdoEntry, error) {
	if leaf := block / vdoPageEntries; !c.placed || c.leaf != leaf {
		at, level, err := c.descend(leaf)
		if err != nil {
			return vdoEntry{}, err
		}
		page, err := c.entries(at.page)
		if err != nil {
			return vdoEntry{}, err
		}
		c.placed, c.leaf, c.page, c.gap = true, leaf, page, level > 0
	}
	if c.gap {
		return vdoEntry{}, nil
	}
	return c.page.entry(int(block % vdoPageEntries))
}

// descend goes from its root to a leaf page, by number. It returns the page, in slot 0 of level 0; or the place of the
// entry that leads nowhere, and the level of its page.
func (v *vdo) descend(leaf uint64) (at vdoSlot, level int, err error) {
	var slots [vdoTreeHeight]int
	rest := leaf / v.rootCount
	for level := 1; level < vdoTreeHeight; level++ {
		slots[level] = int(rest % vdoPageEntries)
		rest /= vdoPageEntries
	}
	at.page = v.rootOrigin + leaf%v.rootCount
	for level = vdoTreeHeight - 1; level > 0; level-- {
		at.slot = slots[level]
		e, err := v.entry(at)
		if err != nil || e.state == 0 {
			return at, level, err
		}
		if at.page, err = e.child(at); err != nil {
			return at, level, err
		}
	}
	return vdoSlot{page: at.page}, 0, nil
}

// child is the page that an entry of an inner page, at a place, leads to.
func (e vdoEntry) child(at vdoSlot) (uint64, error) {
	if e.state != vdoUncompressed || e.block == 0 {
		return 0, fmt.Errorf("%w: block map page %d, entry %d: leads to %s", ErrVDO, at.page, at.slot, e)
	}
	return e.block, nil
}
