package rebuild

import (
	"bytes"
	"encoding/binary"
	"math"
	"slices"
	"testing"

	"lvm2fs/lvm2/internal/pdata"
)

// metadata is a pool's metadata that tests build: block 1 is the index block and 2 the bitmap of the metadata space
// map, 3 the level 1, 4 the device details. All of what is built has count 1 unless it is said otherwise.
type metadata struct {
	b      []byte
	counts map[uint64]int
}

const testBlocks = 32

func newMetadata() *metadata {
	m := &metadata{make([]byte, testBlocks*pdata.BlockSize), map[uint64]int{0: 1, 1: 1, 2: 1}}
	pdata.ThinSuperblock.Seal(m.block(0))
	return m
}

func (m *metadata) block(number uint64) []byte { return m.b[number*pdata.BlockSize:][:pdata.BlockSize] }

// mapping is a value of level 2.
func mapping(chunk uint64) uint64 { return chunk << mappingTimeBits }

// node writes a node with values of one word, or more of which the first is given.
func (m *metadata) node(number uint64, flags uint32, words int, pairs ...uint64) {
	le, b := binary.LittleEndian, m.block(number)
	room := 4064 / (8 + 8*words) / 3 * 3
	le.PutUint32(b[4:], flags)
	le.PutUint64(b[8:], number)
	le.PutUint32(b[16:], uint32(len(pairs)/2))
	le.PutUint32(b[20:], uint32(room))
	le.PutUint32(b[24:], uint32(8*words))
	for i := range len(pairs) / 2 {
		le.PutUint64(b[32+8*i:], pairs[2*i])
		le.PutUint64(b[32+8*room+8*words*i:], pairs[2*i+1])
	}
	pdata.Node.Seal(b)
	m.counts[number] = 1
}

func (m *metadata) inner(number uint64, pairs ...uint64) { m.node(number, 1, 1, pairs...) }
func (m *metadata) leaf(number uint64, pairs ...uint64)  { m.node(number, 2, 1, pairs...) }
func (m *metadata) details(pairs ...uint64)              { m.node(4, 2, 3, pairs...) }
func (m *metadata) damage(number uint64)                 { clear(m.block(number)) }
func (m *metadata) count(number uint64, references int)  { m.counts[number] = references }

// build puts it together, with the metadata space map that the counts make.
func (m *metadata) build(t *testing.T) *Plan {
	t.Helper()
	le := binary.LittleEndian
	index, bitmap := m.block(1), m.block(2)
	le.PutUint64(index[8:], 1)
	le.PutUint64(index[16:], 2)
	pdata.SpaceMapIndex.Seal(index)
	le.PutUint64(bitmap[8:], 2)
	for number, count := range m.counts {
		bitmap[16+number/4] |= byte(count>>1|count&1<<1) << (2 * (number % 4))
	}
	pdata.Bitmap.Seal(bitmap)
	root := make([]byte, pdata.SpaceMapRootSize)
	le.PutUint64(root, testBlocks)
	le.PutUint64(root[8:], uint64(len(m.counts)))
	le.PutUint64(root[16:], 1)
	blocks := pdata.NewBlocks(bytes.NewReader(m.b), int64(len(m.b)))
	spaceMap := pdata.MetadataSpaceMap(blocks, root)
	plan, err := Build(blocks, 1000, Age{Level1: 3, Details: 4, Metadata: &spaceMap}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return plan
}

const (
	unmapped = math.MaxUint64
	gone     = math.MaxUint64 - 1
)

// at is the chunk of the pool where a chunk of a device is.
func at(p *Plan, device, chunk uint64, likely bool) uint64 {
	leaf, err := Reader{p.Device(device), likely}.Leaf(chunk)
	if err != nil {
		return gone
	}
	if i := leaf.Search(chunk); i < leaf.Len() && leaf.Key(i) == chunk {
		return place(leaf.Value(i))
	}
	return unmapped
}

func expect(t *testing.T, p *Plan, device uint64, likely bool, want map[uint64]uint64) {
	t.Helper()
	for chunk, place := range want {
		if got := at(p, device, chunk, likely); got != place {
			t.Errorf("device %d, chunk %d: %d, want %d; %+v, %q", device, chunk, int64(got), int64(place), p.Device(device).Runs, p.Notes)
		}
	}
}

// oneDevice has device 7 with leaves 6 and 8 beneath root 5.
func oneDevice() *metadata {
	m := newMetadata()
	m.leaf(3, 7, 5)
	m.details(7, 4)
	m.inner(5, 0, 6, 100, 8)
	m.leaf(6, 0, mapping(10), 5, mapping(11))
	m.leaf(8, 100, mapping(12), 105, mapping(13))
	return m
}

func TestLeavesThatOnlyADamagedRootLedToAreFound(t *testing.T) {
	m := oneDevice()
	m.damage(5)
	expect(t, m.build(t), 7, false, map[uint64]uint64{0: 10, 1: unmapped, 5: 11, 50: unmapped, 100: 12, 105: 13, 1 << 40: unmapped})
}

func TestALeafOfThePastIsNotUsed(t *testing.T) {
	m := oneDevice()
	m.damage(5)
	m.damage(6)
	m.leaf(9, 0, mapping(14), 5, mapping(15)) // what was in 6 before
	m.count(9, 0)
	p := m.build(t)
	expect(t, p, 7, true, map[uint64]uint64{0: gone, 5: gone, 50: gone, 100: 12, 105: 13, 200: gone})
	if d := p.Device(7); d.Found != [2]uint64{2, 0} || d.Mapped != 4 {
		t.Errorf("%+v", d)
	}
}

func TestWithoutCountsWhatFitsAndAddsUpIsLikely(t *testing.T) {
	m := oneDevice()
	m.damage(5)
	plan := func() *Plan { p := m.build(t); return p }
	m.counts = map[uint64]int{0: 1} // so that the space map is of another age
	p := plan()
	expect(t, p, 7, false, map[uint64]uint64{0: gone, 100: gone})
	expect(t, p, 7, true, map[uint64]uint64{0: 10, 5: 11, 50: unmapped, 105: 13})
	m.leaf(9, 0, mapping(14), 5, mapping(15)) // of the past or of today
	m.counts = map[uint64]int{0: 1}
	expect(t, m.build(t), 7, true, map[uint64]uint64{0: gone, 100: gone})
}

// twoDevices are 7 and 8, with a leaf of each for the same chunks, and one that both share.
func twoDevices() *metadata {
	m := newMetadata()
	m.leaf(3, 7, 5, 8, 9)
	m.details(7, 4, 8, 4)
	m.inner(5, 0, 6, 100, 11)
	m.inner(9, 0, 10, 100, 11)
	m.leaf(6, 0, mapping(20), 5, mapping(21))
	m.leaf(10, 0, mapping(20), 5, mapping(31))
	m.leaf(11, 100, mapping(12), 105, mapping(13))
	m.count(11, 2)
	return m
}

func TestWhatIsSharedIsFoundForBoth(t *testing.T) {
	m := twoDevices()
	m.damage(5)
	p := m.build(t)
	expect(t, p, 7, false, map[uint64]uint64{0: 20, 5: 21, 50: unmapped, 100: 12, 105: 13})
	expect(t, p, 8, false, map[uint64]uint64{0: 20, 5: 31, 100: 12})
}

func TestWhereNodesThatMayBeItAgreeItDoesNotMatterWhichItIs(t *testing.T) {
	m := twoDevices()
	m.damage(5)
	m.damage(9)
	p := m.build(t)
	for _, device := range []uint64{7, 8} {
		expect(t, p, device, true, map[uint64]uint64{0: 20, 1: unmapped, 5: gone, 100: 12, 105: 13})
		if !slices.ContainsFunc(p.Device(device).Runs, func(r Run) bool { return r.Grade == Contradictory && r.From == 5 && r.To == 5 }) {
			t.Errorf("device %d: %+v", device, p.Device(device).Runs)
		}
	}
}

func TestTreesAreToldApartByTheNumberOfTheirMappings(t *testing.T) {
	m := twoDevices()
	m.leaf(10, 0, mapping(20), 5, mapping(31), 6, mapping(32))
	m.details(7, 4, 8, 5)
	m.damage(3)
	p := m.build(t)
	expect(t, p, 7, false, map[uint64]uint64{0: 20, 5: 21, 6: unmapped, 105: 13})
	expect(t, p, 8, false, map[uint64]uint64{0: 20, 5: 31, 6: 32, 105: 13})
	m = twoDevices() // as many in both
	m.damage(3)
	p = m.build(t)
	expect(t, p, 7, true, map[uint64]uint64{0: 20, 5: gone, 6: unmapped, 105: 13})
}

func TestMoreMappingsThanTheDetailsSayAreNotBelieved(t *testing.T) {
	m := oneDevice()
	m.details(7, 3)
	m.damage(5)
	expect(t, m.build(t), 7, true, map[uint64]uint64{0: gone, 50: gone, 100: gone})
}

func TestRunsAreLaidOverOthers(t *testing.T) {
	a, b := Run{From: 0, To: 99, Root: 1}, Run{From: 100, To: math.MaxUint64, Root: 2}
	over := []Run{{From: 10, To: 19, Root: 3}, {From: 90, To: 110, Root: 4}}
	want := []Run{{From: 0, To: 9, Root: 1}, over[0], {From: 20, To: 89, Root: 1}, over[1], {From: 111, To: math.MaxUint64, Root: 2}}
	if got := overlay([]Run{a, b}, over); !slices.Equal(got, want) {
		t.Errorf("%+v", got)
	}
	all := []Run{{From: 0, To: math.MaxUint64, Root: 5}}
	if got := overlay([]Run{a, b}, all); !slices.Equal(got, all) {
		t.Errorf("%+v", got)
	}
}
