package lvm2

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"

	"lvm2fs/internal/test/testpv"
	"lvm2fs/lvm2/metadata"
	"lvm2fs/mapping"
	"lvm2fs/raid"
)

// super is a superblock of dm-raid in the making. The zero value is of a RAID1 that was
// never changed.
type super struct {
	none             bool // all zeros instead, and no bitmap
	zeroed           bool // all zeros instead, but the bitmap
	events           uint64
	failed           uint64
	position         int // counted from the leg that it is written to
	recovery, resync int64
	level, layout    uint32
	devices          int // 0: as many as the segment has
	legSize          uint64
	dirty            byte // the first bits of the bitmap
	bitmapBehind     bool
	dropped          bool
}

const inSync = -1 // for recovery and resync

// testRAID is a RAID over as many PVs as it has legs: on each, extent 0 and 1 are the
// rmeta LV, and 10 to 13 the leg.
type testRAID struct {
	typ    string
	stripe int // sectors
	legs   int
	supers map[int]super // legs that are not in it have superblocks in good order
	status map[int]string
	extra  string
}

const testLegExtents = 4

func (r testRAID) raidType() metadata.RAIDType {
	typ, _ := metadata.RAIDTypeOf(r.typ)
	return typ
}

func (r testRAID) vg() testpv.VG {
	vg := testpv.VG{Name: "vg", Seqno: 1, PVExtents: 40}
	var raids []string
	data := r.legs - raid.Geometry{Level: r.raidType().Level}.ParityLegs()
	count := testLegExtents * data
	if r.typ == "raid1" {
		count = testLegExtents
	}
	if r.typ == "raid10" {
		count /= 2
	}
	lvs := []testpv.LV{{Name: "r"}}
	for i := range r.legs {
		vg.PVs = append(vg.PVs, fmt.Sprint("sd", string(rune('a'+i))))
		status := `"READ", "WRITE"` + r.status[i]
		lvs = append(lvs,
			testpv.LV{Name: fmt.Sprint("r_rmeta_", i), Status: status, Segments: []string{testpv.Linear(0, 2, fmt.Sprint("pv", i), 0)}},
			testpv.LV{Name: fmt.Sprint("r_rimage_", i), Status: status, Segments: []string{testpv.Linear(0, testLegExtents, fmt.Sprint("pv", i), 10)}})
		raids = append(raids, fmt.Sprintf("\"r_rmeta_%d\", \"r_rimage_%d\"", i, i))
	}
	lvs[0].Segments = []string{fmt.Sprintf("start_extent = 0\nextent_count = %d\ntype = %q\ndevice_count = %d\nregion_size = 16\nstripe_size = %d\n%s\nraids = [%s]",
		count, r.typ, r.legs, r.stripe, r.extra, strings.Join(raids, ", "))}
	vg.LVs = lvs
	return vg
}

// disks have a different byte in each extent of each leg.
func (r testRAID) disks() []*testpv.Disk {
	disks := r.vg().Disks()
	typ := r.raidType()
	for i, d := range disks {
		s, ok := r.supers[i]
		if !ok {
			s = super{events: 20, recovery: inSync, resync: inSync}
		}
		meta := d.Bytes[testpv.DataStart : testpv.DataStart+2*testpv.ExtentSize]
		clear(meta)
		if s.none {
			continue
		}
		sectors := func(n int64) uint64 {
			if n == inSync {
				return testpv.AllSectors
			}
			return uint64(n / 512)
		}
		m := testpv.RAIDMeta{
			Devices: max(s.devices, r.legs*boolInt(s.devices == 0)), Position: i + s.position, Events: s.events, Failed: s.failed,
			Recovery: sectors(s.recovery), Resync: sectors(s.resync),
			Level: uint32(typ.Level), Layout: typ.Layout, Chunk: uint32(r.stripe), LegSize: 8 + s.legSize,
			BitmapEvents: s.events - uint64(boolInt(s.bitmapBehind)), Covered: testLegExtents * testpv.ExtentSize / 512 * 10, Region: 8192,
		}
		if s.dropped {
			m.Position = -1
		}
		if s.level != 0 {
			m.Level, m.Layout = s.level, s.layout
		}
		m.Write(meta)
		meta[testpv.RAIDBits] = s.dirty
		if s.zeroed {
			clear(meta[:4096])
		}
	}
	return disks
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// leg is the data of leg i.
func leg(disks []*testpv.Disk, i int) []byte {
	return disks[i].Bytes[testpv.DataStart+10*testpv.ExtentSize : testpv.DataStart+(10+testLegExtents)*testpv.ExtentSize]
}

func (r testRAID) open(t *testing.T, disks []*testpv.Disk, opts Options, without ...int) *LV {
	t.Helper()
	var present []Device
	for i, d := range disks {
		gone := false
		for _, j := range without {
			gone = gone || i == j
		}
		if !gone {
			present = append(present, d)
		}
	}
	s := Open(present, opts)
	if len(s.VGs) != 1 {
		t.Fatal(s.Rejected, s.Warnings)
	}
	return s.VGs[0].LV("r")
}

// fromLegs reads a RAID1 and says which leg each extent came from; -1 for what is lost.
func fromLegs(t *testing.T, lv *LV, disks []*testpv.Disk) []int {
	t.Helper()
	v, err := lv.Open()
	if err != nil {
		t.Fatal(err)
	}
	var out []int
	for e := range testLegExtents {
		p := make([]byte, testpv.ExtentSize)
		from := -1
		if _, err := v.ReadAt(p, int64(e)*testpv.ExtentSize); err == nil {
			for i := range disks {
				if bytes.Equal(p, leg(disks, i)[e*testpv.ExtentSize:][:testpv.ExtentSize]) {
					from = i
				}
			}
			if from < 0 {
				t.Errorf("extent %d is that of no leg", e)
			}
		} else if !errors.Is(err, ErrMissing) {
			t.Errorf("extent %d: %v", e, err)
		}
		out = append(out, from)
	}
	return out
}

func TestWhichLegsOfARAID1AreRead(t *testing.T) {
	good := super{events: 20, recovery: inSync, resync: inSync}
	with := func(change func(s *super)) super {
		s := good
		change(&s)
		return s
	}
	newer := with(func(s *super) { s.events = 22; s.failed = 1 })
	halfWay := with(func(s *super) { s.resync = 8192 })
	all := func(s super, events map[int]uint64) map[int]super {
		out := map[int]super{}
		for i := range 3 {
			out[i] = s
			if n, ok := events[i]; ok {
				s := s
				s.events = n
				out[i] = s
			}
		}
		return out
	}
	for name, c := range map[string]struct {
		supers  map[int]super
		status  map[int]string
		without []int
		trust   []int
		from    []int
		err     error
		health  string
	}{
		"all good: the first":                               {from: []int{0, 0, 0, 0}},
		"the first is missing":                              {without: []int{0}, from: []int{1, 1, 1, 1}, health: "partial,degraded"},
		"all but the last are missing":                      {without: []int{0, 1}, from: []int{2, 2, 2, 2}, health: "partial,degraded"},
		"the first missed writes":                           {supers: map[int]super{1: newer, 2: newer}, from: []int{1, 1, 1, 1}, health: "degraded"},
		"a stale leg is not read although the rest is gone": {supers: map[int]super{1: newer, 2: newer}, without: []int{1}, from: []int{2, 2, 2, 2}, health: "partial,degraded"},
		"one event behind is a crash: the newer one is preferred": {
			supers: map[int]super{1: with(func(s *super) { s.events = 21 })}, from: []int{1, 1, 1, 1},
		},
		"one event behind, and the newer one is fresh": {
			supers: map[int]super{1: with(func(s *super) { s.events = 21; s.recovery = 0 }), 2: with(func(s *super) { s.events = 21; s.recovery = 4096 })},
			from:   []int{2, 0, 0, 0}, health: "degraded",
		},
		"several events behind": {
			supers: map[int]super{1: with(func(s *super) { s.events = 23 })}, from: []int{1, 1, 1, 1}, health: "degraded",
		},
		"the first is being rebuilt": {
			supers: map[int]super{0: with(func(s *super) { s.recovery = 8192 })}, from: []int{0, 0, 1, 1}, health: "degraded",
		},
		"the first is new": {
			supers: map[int]super{0: {none: true}}, status: map[int]string{0: `, "REBUILD"`}, from: []int{1, 1, 1, 1}, health: "degraded",
		},
		"without the superblock of the first, which nobody wants rebuilt, the others may be old": {
			supers: map[int]super{0: {none: true}}, from: []int{-1, -1, -1, -1}, health: "degraded",
		},
		"nor is the first leg believed without the superblock of another": {
			supers: map[int]super{2: {none: true}}, from: []int{-1, -1, -1, -1}, health: "degraded",
		},
		"in sync half way: the first beyond": {
			supers: all(halfWay, nil), from: []int{0, 0, 0, 0},
		},
		"in sync half way, and the second is one event ahead": {
			supers: all(halfWay, map[int]uint64{1: 21}), from: []int{1, 1, 0, 0},
		},
		"in sync half way, and the second is two events ahead": {
			supers: all(halfWay, map[int]uint64{1: 22}), from: []int{1, 1, 0, 0},
		},
		"in sync half way, and the last is behind": {
			supers: all(halfWay, map[int]uint64{2: 18}), from: []int{0, 0, 0, 0},
		},
		"in sync half way, and the first is too old": {
			supers: all(halfWay, map[int]uint64{0: 7}), from: []int{1, 1, -1, -1}, health: "degraded",
		},
		"in sync half way, and the first is missing": {
			supers: all(halfWay, nil), without: []int{0}, from: []int{1, 1, 1, 1}, health: "partial,degraded",
		},
		"in sync half way, and the first missed writes": {
			supers: all(with(func(s *super) { s.resync = 8192; s.failed = 1 }), nil), from: []int{1, 1, 1, 1}, health: "degraded",
		},
		"a leg missed writes, and says nothing of it in a newer superblock": {
			supers: map[int]super{0: with(func(s *super) { s.failed = 2 }), 1: with(func(s *super) { s.events = 23 })}, err: ErrLegs,
		},
		"never active: the first": {
			supers: map[int]super{0: {none: true}, 1: {none: true}, 2: {none: true}}, from: []int{0, 0, 0, 0},
		},
		"never active, and the first is to be built": {
			supers: map[int]super{0: {none: true}, 1: {none: true}, 2: {none: true}}, status: map[int]string{0: `, "REBUILD"`},
			from: []int{1, 1, 1, 1}, health: "degraded",
		},
		"superblocks of zeros beside bitmaps": {
			supers: map[int]super{0: with(func(s *super) { s.zeroed = true }), 1: with(func(s *super) { s.zeroed = true }), 2: {none: true}},
			from:   []int{-1, -1, -1, -1}, health: "damaged,degraded",
		},
		"superblocks of zeros beside bitmaps, and the user knows": {
			supers: map[int]super{0: with(func(s *super) { s.zeroed = true }), 1: with(func(s *super) { s.zeroed = true }), 2: {none: true}},
			trust:  []int{1}, from: []int{1, 1, 1, 1}, health: "degraded",
		},
		"a superblock of zeros beside a bitmap": {
			supers: map[int]super{0: with(func(s *super) { s.zeroed = true })}, from: []int{-1, -1, -1, -1}, health: "degraded",
		},
		"REBUILD is no more than a request": {
			status: map[int]string{0: `, "REBUILD"`}, from: []int{0, 0, 0, 0},
		},
		"new legs prove nothing where another is missing": {
			supers: map[int]super{0: {none: true}, 1: {none: true}, 2: {none: true}}, without: []int{2}, from: []int{-1, -1, -1, -1}, health: "partial,degraded",
		},
		"write-mostly is read last": {
			status: map[int]string{0: `, "WRITEMOSTLY"`}, from: []int{1, 1, 1, 1},
		},
		"the superblock of another leg": {
			supers: map[int]super{0: with(func(s *super) { s.position = 1 })}, from: []int{-1, -1, -1, -1}, health: "degraded",
		},
		"superblocks of one age that contradict each other": {
			supers: map[int]super{0: with(func(s *super) { s.failed = 2 }), 1: with(func(s *super) { s.failed = 1 })}, err: ErrLegs,
		},
		"contradicting superblocks, and the user knows": {
			supers: map[int]super{0: with(func(s *super) { s.failed = 2 | 4 }), 1: with(func(s *super) { s.failed = 1 | 4 })},
			trust:  []int{1}, from: []int{1, 1, 1, 1}, health: "degraded",
		},
		"split brain: more events win": {
			supers: map[int]super{0: with(func(s *super) { s.failed = 2 | 4 }), 1: with(func(s *super) { s.failed = 1; s.events = 30 }), 2: with(func(s *super) { s.failed = 1; s.events = 30 })},
			from:   []int{1, 1, 1, 1}, health: "degraded",
		},
		"split brain, and the user knows better": {
			supers: map[int]super{0: with(func(s *super) { s.failed = 2 | 4 }), 1: newer, 2: newer}, trust: []int{0}, from: []int{0, 0, 0, 0}, health: "degraded",
		},
		"only a stale leg is left": {
			supers: map[int]super{0: with(func(s *super) { s.failed = 2 | 4; s.events = 40 })}, without: []int{0},
			from: []int{1, 1, 1, 1}, health: "partial,degraded",
		}, // and nothing says so
		"nothing but a leg that is being rebuilt": {
			supers: map[int]super{0: with(func(s *super) { s.recovery = 8192 })}, without: []int{1, 2}, from: []int{0, 0, -1, -1}, health: "partial,degraded",
		},
		"the kernel refuses a leg of no size": {
			supers: map[int]super{0: with(func(s *super) { s.legSize = 1<<64 - 8 })}, err: ErrNotActivated,
		},
		"more legs than there are": {
			supers: map[int]super{0: with(func(s *super) { s.devices = 4 }), 1: with(func(s *super) { s.devices = 4 }), 2: with(func(s *super) { s.devices = 4 })}, err: ErrMetadata,
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := testRAID{typ: "raid1", legs: 3, supers: c.supers, status: c.status}
			disks := r.disks()
			lv := r.open(t, disks, Options{}, c.without...)
			lv.Choose(Choice{TrustLegs: c.trust})
			if c.err != nil {
				if _, err := lv.Open(); !errors.Is(err, c.err) {
					t.Errorf("%v, want %v", err, c.err)
				}
				return
			}
			if got := fromLegs(t, lv, disks); fmt.Sprint(got) != fmt.Sprint(c.from) {
				t.Errorf("read from legs %v, want %v", got, c.from)
			}
			if got := lv.Health(); got != c.health {
				t.Errorf("health %q, want %q", got, c.health)
			}
		})
	}
}

func TestParityOfARAID5IsBelievedOnlyWhereItIsInSync(t *testing.T) {
	good := super{events: 20, recovery: inSync, resync: inSync}
	all := func(s super) map[int]super { return map[int]super{0: s, 1: s, 2: s} }
	unsynced, dirty, degraded, old := good, good, good, good
	unsynced.resync = 8192
	dirty.dirty = 0b01
	degraded.dirty, degraded.failed, degraded.events = 0b11, 2, 22
	old.bitmapBehind = true

	for name, c := range map[string]struct {
		supers   map[int]super
		without  []int
		broken   int     // leg that fails to read; -1 for none
		readable [2]bool // rows 0 and 1 in the first half of the leg, rows 2 and 3
	}{
		"in sync, a leg missing":                  {supers: nil, without: []int{1}, broken: -1, readable: [2]bool{true, true}},
		"in sync, a leg fails":                    {supers: nil, broken: 1, readable: [2]bool{true, true}},
		"half in sync, a leg missing":             {supers: all(unsynced), without: []int{1}, broken: -1, readable: [2]bool{true, false}},
		"half in sync, a leg fails":               {supers: all(unsynced), broken: 1, readable: [2]bool{true, false}},
		"dirty after a crash, a leg fails":        {supers: all(dirty), broken: 1, readable: [2]bool{false, true}},
		"dirty since a leg went missing":          {supers: map[int]super{0: degraded, 1: good, 2: degraded}, broken: -1, readable: [2]bool{true, true}},
		"bitmap too old to tell, a leg fails":     {supers: all(old), broken: 1, readable: [2]bool{false, false}},
		"bitmap too old to tell, a leg missing":   {supers: all(old), without: []int{1}, broken: -1, readable: [2]bool{true, true}},
		"dirty after a crash, then a leg missing": {supers: all(dirty), without: []int{1}, broken: -1, readable: [2]bool{true, true}},
	} {
		t.Run(name, func(t *testing.T) {
			r := testRAID{typ: "raid5_n", legs: 3, stripe: 8, supers: c.supers}
			disks := r.disks()
			for i, p := 0, leg(disks, 2); i < len(p); i++ {
				p[i] = leg(disks, 0)[i] ^ leg(disks, 1)[i]
			}
			want := append(bytes.Clone(leg(disks, 1)[:4096]), leg(disks, 1)[8192:8192+4096]...)
			if c.broken >= 0 {
				disks[c.broken].Break(testpv.DataStart+10*testpv.ExtentSize, testpv.DataStart+14*testpv.ExtentSize)
			}
			if len(c.without) == 0 && c.broken < 0 {
				clear(leg(disks, 1)) // stale: what is there is not what was written
			}
			var mu sync.Mutex
			failed := map[int]bool{}
			lv := r.open(t, disks, Options{LegFailed: func(lv *LV, leg int, off, n int64, err error) {
				mu.Lock()
				defer mu.Unlock()
				failed[leg] = lv.Name == "r" && errors.Is(err, testpv.ErrIO)
			}}, c.without...)
			v, err := lv.Open()
			if err != nil {
				t.Fatal(err)
			}
			for half, readable := range c.readable {
				p := make([]byte, 4096)
				_, err := v.ReadAt(p, int64(half)*4*4096+4096) // data chunk 1 of row 0 or 2
				if readable && (err != nil || !bytes.Equal(p, want[half*4096:][:4096])) {
					t.Errorf("half %d: %v", half, err)
				}
				if !readable && err == nil {
					t.Errorf("half %d was read", half)
				}
			}
			wantFailed := map[int]bool{}
			if c.broken >= 0 {
				wantFailed[c.broken] = true
				if !strings.Contains(lv.Health(), "failing") {
					t.Errorf("health %q", lv.Health())
				}
			}
			if !maps.Equal(failed, wantFailed) {
				t.Errorf("failed legs: %v", failed)
			}
		})
	}
}

func TestTheSuperblockKnowsBetterThanTheText(t *testing.T) {
	// The text says raid6_n_6 already, but the kernel has not yet taken the third leg in.
	s := super{events: 20, recovery: inSync, resync: inSync, level: 5, layout: 5, devices: 3}
	r := testRAID{typ: "raid6_n_6", legs: 4, stripe: 8, supers: map[int]super{0: s, 1: s, 2: s, 3: {none: true}}}
	disks := r.disks()
	lv := r.open(t, disks, Options{})
	v, err := lv.Open()
	if err != nil {
		t.Fatal(err)
	}
	p := make([]byte, v.Size())
	if _, err := v.ReadAt(p, 0); err != nil {
		t.Fatal(err)
	}
	for chunk := range len(p) / 4096 {
		if !bytes.Equal(p[chunk*4096:][:4096], leg(disks, chunk%2)[chunk/2*4096:][:4096]) {
			t.Fatalf("chunk %d is wrong", chunk)
		}
	}
}

// mirrorDisks hold a mirror of 4 extents, from extent 10 of the first two. Its log, on the third, has these
// bits for two regions.
func mirrorDisks(log string, bits byte) []*testpv.Disk {
	return mirrorDisksOf([]string{mirrorSegment(log, 0, 4)}, bits)
}

func mirrorSegment(log string, start, extents int) string {
	return fmt.Sprintf("start_extent = %d\nextent_count = %d\ntype = \"mirror\"\nmirror_count = 2\nregion_size = 16\n%s\nmirrors = [\"r_mimage_0\", %d, \"r_mimage_1\", %[1]d]", start, extents, log, start)
}

func mirrorDisksOf(segments []string, bits byte) []*testpv.Disk {
	vg := testpv.VG{Name: "vg", Seqno: 1, PVs: []string{"sda", "sdb", "sdc"}}
	vg.LVs = []testpv.LV{
		{Name: "r", Segments: segments},
		{Name: "r_mimage_0", Status: `"READ", "WRITE"`, Segments: []string{testpv.Linear(0, 4, "pv0", 10)}},
		{Name: "r_mimage_1", Status: `"READ", "WRITE"`, Segments: []string{testpv.Linear(0, 4, "pv1", 10)}},
		{Name: "r_mlog", Status: `"READ", "WRITE"`, Segments: []string{testpv.Linear(0, 1, "pv2", 0)}},
	}
	disks := vg.Disks()
	b := disks[2].Extent(0, testpv.ExtentSize)
	clear(b)
	copy(b, "rRiM\x02\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00")
	b[1024] = bits
	return disks
}

func TestAMirrorIsReadFromItsFirstLegUnlessTheLogVouchesForAnother(t *testing.T) {
	const disk = `mirror_log = "r_mlog"`
	for name, c := range map[string]struct {
		log     string
		without []int
		broken  bool // the second half of the first leg
		trust   []int
		from    []int
	}{
		"disk log, all there":                {log: disk, from: []int{0, 0, 0, 0}},
		"disk log, first leg missing":        {log: disk, without: []int{0}, from: []int{-1, -1, 1, 1}},
		"disk log, first leg fails":          {log: disk, broken: true, from: []int{0, 0, 1, 1}},
		"disk log, log and first missing":    {log: disk, without: []int{0, 2}, from: []int{-1, -1, -1, -1}},
		"disk log, log missing":              {log: disk, without: []int{2}, from: []int{0, 0, 0, 0}},
		"core log, first leg missing":        {without: []int{0}, from: []int{-1, -1, -1, -1}},
		"core log, the user trusts a second": {without: []int{0}, trust: []int{1}, from: []int{1, 1, 1, 1}},
	} {
		t.Run(name, func(t *testing.T) {
			disks := mirrorDisks(c.log, 0b10)
			if c.broken {
				disks[0].Break(testpv.DataStart+12*testpv.ExtentSize, testpv.DataStart+14*testpv.ExtentSize)
			}
			lv := testRAID{}.open(t, disks, Options{}, c.without...)
			lv.Choose(Choice{TrustLegs: c.trust})
			if got := fromLegs(t, lv, disks[:2]); fmt.Sprint(got) != fmt.Sprint(c.from) {
				t.Errorf("read from legs %v, want %v", got, c.from)
			}
		})
	}
}

func TestAMirrorIsFailingWhicheverOfItsSegmentsFails(t *testing.T) {
	const log = `mirror_log = "r_mlog"`
	for broken := range 2 {
		disks := mirrorDisksOf([]string{mirrorSegment(log, 0, 2), mirrorSegment(log, 2, 2)}, 0b11)
		at := int64(testpv.DataStart + (10+2*broken)*testpv.ExtentSize)
		disks[0].Break(at, at+4096)
		lv := testRAID{}.open(t, disks, Options{})
		v, err := lv.Open()
		if err != nil {
			t.Fatal(err)
		}
		if h := lv.Health(); h != "" {
			t.Fatalf("health %q before it is read", h)
		}
		if _, err := v.ReadAt(make([]byte, v.Size()), 0); err != nil {
			t.Fatal(err)
		}
		if h := lv.Health(); h != "failing" {
			t.Errorf("segment %d fails: health %q", broken, h)
		}
	}
}

func TestADamagedLogVouchesForNoLeg(t *testing.T) {
	for name, c := range map[string]struct {
		at    int
		bytes string
		lost  []int // where the legs are read from without the first
	}{
		"as it was":        {0, "r", []int{-1, -1, 1, 1}},
		"zeroed":           {0, string(make([]byte, 2048)), []int{-1, -1, -1, -1}},
		"magic":            {0, "R", []int{-1, -1, -1, -1}},
		"version":          {4, "\x01", []int{-1, -1, -1, -1}},
		"no regions":       {8, "\x00", []int{-1, -1, -1, -1}},
		"one region":       {8, "\x01", []int{-1, -1, -1, -1}},
		"more regions":     {8, "\x03", []int{-1, -1, 1, 1}},
		"never used":       {8, "\xff\xff\xff\xff\xff\xff\xff\xff", []int{-1, -1, -1, -1}},
		"no region clean":  {1024, "\x00", []int{-1, -1, -1, -1}},
		"bits of no legs":  {1025, "\xff", []int{-1, -1, 1, 1}},
		"the other region": {1024, "\x01", []int{1, 1, -1, -1}},
	} {
		disks := mirrorDisks(`mirror_log = "r_mlog"`, 0b10)
		copy(disks[2].Extent(0, testpv.ExtentSize)[c.at:], c.bytes)
		if got := fromLegs(t, testRAID{}.open(t, disks, Options{}), disks[:2]); fmt.Sprint(got) != "[0 0 0 0]" {
			t.Errorf("%s: read from legs %v", name, got)
		}
		if got := fromLegs(t, testRAID{}.open(t, disks, Options{}, 0), disks[:2]); fmt.Sprint(got) != fmt.Sprint(c.lost) {
			t.Errorf("%s, first leg missing: read from legs %v, want %v", name, got, c.lost)
		}
	}
}

func TestAPVMoveIsReadFromItsSource(t *testing.T) {
	vg := testpv.VG{Name: "vg", Seqno: 1, PVs: []string{"sda", "sdb"}, LVs: []testpv.LV{
		{Name: "r", Status: `"READ", "WRITE", "VISIBLE", "LOCKED"`, Segments: []string{testpv.Linear(0, 4, "pvmove0", 0)}},
		{Name: "pvmove0", Status: `"READ", "WRITE", "PVMOVE", "LOCKED"`, Segments: []string{
			"start_extent = 0\nextent_count = 2\ntype = \"mirror\"\nmirror_count = 2\nextents_moved = 0\nregion_size = 16\nmirrors = [\"pv0\", 10, \"pv1\", 10]",
			testpv.Linear(2, 2, "pv1", 12),
		}},
	}}
	disks := vg.Disks()
	for _, without := range [][]int{nil, {1}, {0}} {
		want := []int{0, 0, 1, 1}
		for i, leg := range want {
			for _, gone := range without {
				if leg == gone {
					want[i] = -1
				}
			}
		}
		lv := testRAID{}.open(t, disks, Options{}, without...)
		if got := fromLegs(t, lv, disks); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("without %v: read from %v, want %v", without, got, want)
		}
	}
}

// FuzzRAIDMetadata holds that RAIDs with any rmeta LVs are opened or refused, and that each
// byte can be asked for.
func FuzzRAIDMetadata(f *testing.F) {
	types := []string{"raid1", "raid5_ls", "raid6_zr", "raid10", "raid0_meta"}
	for i := range types {
		r := testRAID{typ: types[i], legs: 6, stripe: 8}
		meta := r.disks()[0].Bytes[testpv.DataStart:]
		f.Add(uint8(i), bytes.Clone(meta[:512]), bytes.Clone(meta[:512]), bytes.Clone(meta[4096:4096+300]))
	}
	f.Fuzz(func(t *testing.T, kind uint8, first, second, bitmap []byte) {
		r := testRAID{typ: types[int(kind)%len(types)], legs: 6, stripe: 8}
		disks := r.disks()
		for i, d := range disks {
			meta := d.Bytes[testpv.DataStart : testpv.DataStart+2*testpv.ExtentSize]
			super := [][]byte{first, second}[i%2]
			copy(meta, super[:min(len(super), 4096)])
			if kind < 128 && len(super) > 12 {
				meta[12] = byte(i)
			}
			copy(meta[4096:], bitmap)
		}
		writeAndReopen(t, r, copiesOf(disks))
		lv := r.open(t, disks, Options{}, 3)
		v, err := lv.Open()
		if err != nil {
			return
		}
		p := make([]byte, 4096)
		for off := int64(0); off < v.Size() && off < 1<<20; {
			e, err := v.Map(off, 1<<30)
			if err != nil || e.Length <= 0 {
				t.Fatal(e, err)
			}
			m := min(e.Length, 4096)
			if _, err := v.ReadAt(p[:m], off); (err == nil) != (e.Kind != mapping.Missing) {
				t.Fatalf("%v at %d: %v", e.Kind, off, err)
			}
			off += e.Length
		}
	})
}

// writeAndReopen holds that an array that can be written can still be written afterwards.
func writeAndReopen(t *testing.T, r testRAID, disks []*testpv.Disk) {
	for range 2 {
		lv := r.open(t, disks, Options{})
		v, err := lv.OpenWritable()
		if err != nil {
			if lv.ReadOnlyReason() == nil {
				t.Fatal(err)
			}
			return
		}
		p, off := bytes.Repeat([]byte("fuzz"), 1300), min(1000, v.Size())
		p = p[:min(int64(len(p)), v.Size()-off)]
		if _, err := v.WriteAt(p, off); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, len(p))
		if _, err := v.ReadAt(got, off); err != nil || !bytes.Equal(got, p) {
			t.Fatalf("read back: %v, or other bytes", err)
		}
		if err := v.Close(); err != nil {
			t.Fatal(err)
		}
		if err := r.open(t, disks, Options{}).ReadOnlyReason(); err != nil {
			t.Fatalf("afterwards: %v", err)
		}
	}
}
