package md

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"lvm2fs/internal/test/testmd"
	"lvm2fs/mapping"
)

var le = binary.LittleEndian

func TestAnArrayIsAssembledFromItsMembersInAnyOrder(t *testing.T) {
	data := random(600 << 10)
	for _, version := range []string{"0.90", "1.0", "1.1", "1.2"} {
		m := raid5()
		m.Version = version
		all := members(t, testmd.Set(m, size, data))
		for range 6 {
			a, err := Assemble(all, Options{})
			if err != nil {
				t.Fatal(err)
			}
			a.holds(t, data)
			if len(a.Warnings)+len(a.LeftOut) > 0 {
				t.Errorf("got %v, %v", a.Warnings, a.LeftOut)
			}
			if got, want := a.Array.Size(), 2*(all[0].Super.Size/4096*4096); got != want {
				t.Errorf("got %d bytes, want %d", got, want)
			}
			all = append(all[1:], all[0])
			if all[0].Super.Role == 0 {
				all[0], all[1] = all[1], all[0]
			}
		}
	}
}

func TestAMirrorAndALinearArrayHoldWhatTheirMembersHold(t *testing.T) {
	data := random(900 << 10)
	testAll := func(m testmd.Member) {
		t.Helper()
		assemble(t, testmd.Set(m, size, data)).holds(t, data)
	}
	testAll(raid1())
	m := raid1()
	m.Version, m.Big = "0.90", true
	testAll(m)
	m = testmd.Member{Version: "1.2", Level: -1, Disks: 3, Resync: testmd.All, DataSize: 777}
	data = random(3 * 777 * 512)
	a := assemble(t, testmd.Set(m, size, data))
	a.holds(t, data)
	if n, err := a.Array.ReadAt(make([]byte, 1000), int64(len(data))-10); n != 10 || err != io.EOF {
		t.Errorf("over the end: got %d, %v", n, err)
	}
}

func TestAnArrayMapsToItsMembers(t *testing.T) {
	disks := testmd.Set(raid5(), size, random(64<<10))
	a := assemble(t, disks)
	e, err := a.Array.Map(4096+100, 1<<20)
	// The second chunk of the first row is on the second member, whose data begins at byte 8192.
	if err != nil || e.Kind != mapping.Data || e.Device.Name() != "d1" || e.Offset != 8192+100 || e.Length != 4096-100 {
		t.Errorf("got %+v, %v", e, err)
	}
}

func TestAMissingMemberIsRebuilt(t *testing.T) {
	data := random(600 << 10)
	for lost := range 3 {
		disks := testmd.Set(raid5(), size, data)
		disks[lost] = nil
		a := assemble(t, disks)
		a.holds(t, data)
		if len(a.Warnings) != 1 || !strings.Contains(a.Warnings[0].Error(), "1 of 3 members") {
			t.Errorf("got warnings %v", a.Warnings)
		}
		if a.Array.String() != "raid5, 2 of 3 members" {
			t.Errorf("got %q", a.Array.String())
		}
	}
}

func TestEveryLevelIsReadWithoutTheMembersThatItCanSpare(t *testing.T) {
	data := random(600 << 10)
	for level, lost := range map[int][][]int{
		4: {{}, {0}, {3}}, 6: {{}, {0}, {1, 2}, {0, 3}, {2, 3}}, 10: {{}, {0}, {1, 2}},
	} {
		layout := map[int]uint32{4: 0, 6: 2, 10: 0x102}[level]
		for _, without := range lost {
			disks := testmd.Set(testmd.Member{Version: "1.2", Name: "lab:a", Level: level, Layout: layout, Chunk: 8, Disks: 4, Resync: testmd.All}, size, data)
			for _, i := range without {
				disks[i] = nil
			}
			t.Run(fmt.Sprint(level, without), func(t *testing.T) { assemble(t, disks).holds(t, data) })
		}
	}
}

func TestAnArrayThatLacksTooMuchIsRefused(t *testing.T) {
	for _, m := range []testmd.Member{
		raid5(),
		{Version: "1.2", Level: 0, Chunk: 8, Disks: 3, Resync: testmd.All},
		{Version: "1.2", Level: -1, Disks: 3, Resync: testmd.All},
	} {
		disks := testmd.Set(m, size, nil)
		disks[0], disks[1] = nil, nil
		a, err := Assemble(members(t, disks), Options{})
		if !errors.Is(err, ErrIncomplete) || a.Array != nil {
			t.Errorf("level %d: got %v", m.Level, err)
		}
	}
}

// superOf changes the superblock of a disk.
func superOf(disk []byte, change func(b []byte)) { testmd.Change(disk, "1.2", change) }

func TestAStaleMemberIsLeftOutAndNamed(t *testing.T) {
	data := random(600 << 10)
	disks := testmd.Set(raid5(), size, data)
	for i := range disks[1][8192:] {
		disks[1][8192+i] ^= 0xff
	}
	superOf(disks[0], func(b []byte) { le.PutUint64(b[200:], 12) })
	superOf(disks[2], func(b []byte) { le.PutUint64(b[200:], 12) })
	a := assemble(t, disks)
	a.holds(t, data)
	if len(a.LeftOut) != 1 || !strings.HasPrefix(a.LeftOut[0].Err.Error(), "d1: not used") || !strings.Contains(a.LeftOut[0].Err.Error(), "stale") {
		t.Errorf("got %v", a.LeftOut)
	}
}

func TestAMemberThatOthersListAsFailedIsLeftOut(t *testing.T) {
	// This member missed only the last update, so its events tell little.
	data := random(600 << 10)
	disks := testmd.Set(raid5(), size, data)
	for i := range disks[1][8192:] {
		disks[1][8192+i] ^= 0xff
	}
	for _, d := range []int{0, 2} {
		superOf(disks[d], func(b []byte) { le.PutUint64(b[200:], 11); le.PutUint16(b[256+2:], testmd.Faulty) })
	}
	a := assemble(t, disks)
	a.holds(t, data)
	if len(a.LeftOut) != 1 || !strings.Contains(a.LeftOut[0].Err.Error(), "lists it as faulty") {
		t.Errorf("got %v", a.LeftOut)
	}
}

func TestAMemberOneEventBehindIsUsed(t *testing.T) {
	data := random(600 << 10)
	disks := testmd.Set(raid5(), size, data)
	superOf(disks[0], func(b []byte) { le.PutUint64(b[200:], 11) })
	disks[1] = nil
	assemble(t, disks).holds(t, data)
}

func TestMembersThatContradictEachOtherAreRefused(t *testing.T) {
	for name, change := range map[string]func(b []byte){
		"each other's failure": func(b []byte) { le.PutUint16(b[256:], testmd.Faulty) },
		"the layout":           func(b []byte) { le.PutUint32(b[76:], 3) },
		"the size":             func(b []byte) { le.PutUint64(b[80:], 1000) },
		"what is in sync":      func(b []byte) { le.PutUint64(b[208:], 0) },
	} {
		disks := testmd.Set(raid5(), size, nil)
		superOf(disks[2], change)
		if _, err := Assemble(members(t, disks), Options{}); !errors.Is(err, ErrContradiction) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	// The two halves of a mirror were used apart. Each believes that the other has failed.
	disks := testmd.Set(raid1(), size, nil)
	superOf(disks[0], func(b []byte) { le.PutUint16(b[258:], testmd.Faulty) })
	superOf(disks[1], func(b []byte) { le.PutUint16(b[256:], testmd.Faulty) })
	if _, err := Assemble(members(t, disks), Options{}); !errors.Is(err, ErrContradiction) {
		t.Errorf("split brain: got %v", err)
	}
}

func TestAMemberGivenTwiceIsUsedOnce(t *testing.T) {
	data := random(600 << 10)
	disks := testmd.Set(raid5(), size, data)
	copied := append(disks, bytes.Clone(disks[1]))
	a := assemble(t, copied)
	a.holds(t, data)
	if len(a.LeftOut) != 1 || !strings.HasPrefix(a.LeftOut[0].Err.Error(), "d3: not used") {
		t.Errorf("got %v", a.LeftOut)
	}
	// Of two copies of a disk the older one loses, wherever it stands.
	superOf(copied[1], func(b []byte) { le.PutUint64(b[200:], 9) })
	copy(copied[1][8192:], make([]byte, 4096))
	a = assemble(t, copied)
	a.holds(t, data)
	if len(a.LeftOut) != 1 || !strings.HasPrefix(a.LeftOut[0].Err.Error(), "d1: not used") {
		t.Errorf("got %v", a.LeftOut)
	}
}

func TestOfTwoCopiesOfOneMemberNoneIsReadWhereTheyDiffer(t *testing.T) {
	data := random(600 << 10)
	linear := testmd.Member{Version: "1.2", Level: -1, Disks: 2, Resync: testmd.All, DataSize: 777}
	disks := testmd.Set(linear, size, data)
	all := members(t, append(disks, bytes.Clone(disks[0])))
	a, err := Assemble(all, Options{})
	if err != nil {
		t.Fatal(err)
	}
	part := make([]byte, 4096)
	if _, err := a.Array.ReadAt(part, 0); err != nil || !bytes.Equal(part, data[:4096]) {
		t.Errorf("equal copies: %v", err)
	}
	changed := bytes.Clone(disks[0])
	changed[bytes.Index(changed, data[:512])] ^= 1
	all = members(t, [][]byte{disks[0], disks[1], changed})
	for range all {
		all = append(all[1:], all[0])
		a, err := Assemble(all, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if n, err := a.Array.ReadAt(part, 0); n != 0 || !errors.Is(err, ErrContradiction) || !strings.Contains(err.Error(), "d0 and d2 differ") {
			t.Errorf("got %d bytes, %v", n, err)
		}
		if _, err := a.Array.ReadAt(part, 777*512); err != nil {
			t.Errorf("beside the copies: %v", err)
		}
	}
}

func TestTwoDisksInOnePlaceAreRefused(t *testing.T) {
	disks := testmd.Set(raid5(), size, nil)
	superOf(disks[2], func(b []byte) { b[168] = 77 })
	other := bytes.Clone(disks[2])
	superOf(other, func(b []byte) { b[168] = 78 })
	if _, err := Assemble(members(t, append(disks, other)), Options{}); !errors.Is(err, ErrContradiction) {
		t.Errorf("got %v", err)
	}
}

func TestAReplacementYieldsToWhatItIsToReplace(t *testing.T) {
	data := random(600 << 10)
	m := raid5()
	m.Roles = []int{0, 1, 2, 1}
	for _, order := range [][]int{{0, 1, 2, 3}, {3, 2, 1, 0}} {
		disks := testmd.Set(m, size, data)
		replacement := bytes.Clone(disks[1])
		clear(replacement[8192+100<<10:])
		superOf(replacement, func(b []byte) {
			b[8] |= isReplacement | hasRecovery
			le.PutUint64(b[152:], 200)
			le.PutUint32(b[160:], 3)
			b[168] = 99
		})
		all := members(t, append(disks, replacement))
		var ordered []Member
		for _, i := range order {
			ordered = append(ordered, all[i])
		}
		a, err := Assemble(ordered, Options{})
		if err != nil {
			t.Fatal(err)
		}
		a.holds(t, data)
		if len(a.LeftOut) != 1 || a.LeftOut[0].Member.Device.Name() != "d3" {
			t.Errorf("got %v", a.LeftOut)
		}
	}
}

func TestAMemberThatIsBeingRebuiltCountsAsFarAsItIsBuilt(t *testing.T) {
	data := random(600 << 10)
	disks := testmd.Set(raid5(), size, data)
	const built = 100 // sectors
	for i := range disks[1][8192+built*512:] {
		disks[1][8192+built*512+i] ^= 0xff
	}
	superOf(disks[1], func(b []byte) { b[8] |= hasRecovery; le.PutUint64(b[152:], built) })
	a := assemble(t, disks)
	a.holds(t, data)
	if e, _ := a.Array.Map(4096, 100); e.Kind != mapping.Data {
		t.Errorf("where it is built: got %v", e.Kind)
	}
	// With another member lost, the kernel does not start the array.
	disks[0] = nil
	if _, err := Assemble(members(t, disks), Options{}); !errors.Is(err, ErrIncomplete) {
		t.Errorf("got %v", err)
	}
}

func TestASpareIsNoMemberAndNoTrouble(t *testing.T) {
	data := random(600 << 10)
	m := raid5()
	m.Roles = []int{0, 1, 2, testmd.Spare}
	disks := testmd.Set(m, size, data)
	spare := bytes.Clone(disks[0])
	superOf(spare, func(b []byte) { le.PutUint32(b[160:], 3); le.PutUint64(b[200:], 2) })
	a := assemble(t, append(disks, spare))
	a.holds(t, data)
	if len(a.LeftOut)+len(a.Warnings) > 0 {
		t.Errorf("got %v, %v", a.LeftOut, a.Warnings)
	}
}

func TestOldMembersThatAreNotInSyncAreNotUsed(t *testing.T) {
	data := random(600 << 10)
	m := raid1()
	m.Version = "0.90"
	disks := testmd.Set(m, size, data)
	clear(disks[0][:size/2])
	for _, d := range disks {
		testmd.Change(d, "0.90", func(b []byte) { le.PutUint32(b[4*(128+4):], diskActive) })
	}
	testmd.Change(disks[0], "0.90", func(b []byte) { le.PutUint32(b[4*(992+4):], diskActive) })
	a := assemble(t, disks)
	a.holds(t, data)
}

func TestBadBlocksAreReadFromTheOthers(t *testing.T) {
	data := random(600 << 10)
	m := raid5()
	m.BadBlocks = []uint64{}
	m.BadAt = 8 - 16
	m.Version, m.Features = "1.1", hasBadBlocks
	m.DataOffset = 32
	m.BadAt = 16
	disks := testmd.Set(m, size, data)
	// 16 sectors of the member's data, from its 40th, and one sector far off.
	bad := []uint64{(32+40)<<10 | 16, 1000<<10 | 1}
	for i, e := range bad {
		le.PutUint64(disks[1][16*512+8*i:], e)
	}
	for i := range 16 * 512 {
		disks[1][(32+40)*512+i] ^= 0xff
	}
	disks[1][1000*512] ^= 0xff
	a := assemble(t, disks)
	a.holds(t, data)
	// Where another member is lost, the bad blocks are lost too.
	disks[0] = nil
	a = assemble(t, disks)
	if n, err := a.Array.ReadAt(make([]byte, len(data)), 0); !errors.Is(err, mapping.ErrMissing) {
		t.Errorf("got %d bytes, %v", n, err)
	}
	testmd.Change(disks[1], "1.1", func(b []byte) { b[185] = 200 }) // the shift of the list
	if _, err := Assemble(members(t, disks), Options{}); !errors.Is(err, ErrIncomplete) {
		t.Errorf("with a list that makes no sense: got %v", err)
	}
}

func TestParityIsBelievedOnlyWhereItIsInSync(t *testing.T) {
	data := random(256 << 10)
	m := raid5()
	m.Resync = 100 // sectors of each member
	disks := testmd.Set(m, size, data)
	disks[0] = nil
	a := assemble(t, disks)
	const known = 2 * (100 / 8) * 4096
	p := make([]byte, len(data))
	if n, err := a.Array.ReadAt(p[:known], 0); n != known || err != nil || !bytes.Equal(p[:known], data[:known]) {
		t.Errorf("where it is in sync: got %d of %d bytes, %v", n, known, err)
	}
	if _, err := a.Array.ReadAt(p, 0); !errors.Is(err, mapping.ErrMissing) {
		t.Errorf("behind: got %v", err)
	}
	// Nothing has to be rebuilt where nothing is missing.
	assemble(t, testmd.Set(m, size, data)).holds(t, data)
}

// withBitmap is a raid5 that was cut off, with a bitmap of regions of 16 KiB, one dirty, at byte 8192.
func withBitmap(data []byte, dirty byte) [][]byte {
	m := raid5()
	m.Resync, m.Features, m.Bitmap, m.DataOffset = 0, hasBitmap, 8, 64
	disks := testmd.Set(m, size, data)
	for _, d := range disks {
		b := d[8192:]
		copy(b, "bitm")
		b[4] = 4
		copy(b[8:], m.Array[:])
		le.PutUint64(b[24:], 10)
		le.PutUint64(b[40:], size/512-64)
		le.PutUint32(b[52:], 16<<10)
		b[256] = dirty
	}
	return disks
}

func TestABitmapTellsWhereParityCanBeBelieved(t *testing.T) {
	data := random(256 << 10)
	disks := withBitmap(data, 0b100)
	disks[0] = nil
	a := assemble(t, disks)
	// The dirty region is 16 KiB of each member from 32 KiB on: 32 KiB of the array from 64 KiB on.
	p := make([]byte, len(data))
	const from, to = 64 << 10, 96 << 10
	for _, r := range [][2]int{{0, from}, {to, len(data)}} {
		if _, err := a.Array.ReadAt(p[r[0]:r[1]], int64(r[0])); err != nil || !bytes.Equal(p[r[0]:r[1]], data[r[0]:r[1]]) {
			t.Errorf("%v: %v", r, err)
		}
	}
	if _, err := a.Array.ReadAt(p[from:to], from); !errors.Is(err, mapping.ErrMissing) {
		t.Errorf("in the dirty region: got %v", err)
	}
}

func TestABitmapThatIsNotOfThisArrayOrOldIsNotBelieved(t *testing.T) {
	for name, change := range map[string]func(b []byte){
		"another array": func(b []byte) { b[8] ^= 1 },
		"old":           func(b []byte) { b[24] = 9 },
		"version 6":     func(b []byte) { b[4] = 6 },
		"not kept up":   func(b []byte) { b[48] = 2 },
	} {
		disks := withBitmap(random(64<<10), 0)
		for _, d := range disks {
			change(d[8192:])
		}
		disks[0] = nil
		a := assemble(t, disks)
		if _, err := a.Array.ReadAt(make([]byte, 64<<10), 0); !errors.Is(err, mapping.ErrMissing) {
			t.Errorf("%s: got %v", name, err)
		}
		if !slices.ContainsFunc(a.Warnings, func(err error) bool { return strings.Contains(err.Error(), "bitmap") }) {
			t.Errorf("%s: got warnings %v", name, a.Warnings)
		}
	}
}

func TestAMirrorThatWasCutOffIsReadFromItsFirstMemberAlone(t *testing.T) {
	data := random(256 << 10)
	m := raid1()
	m.Resync = 0
	disks := testmd.Set(m, size, data)
	clear(disks[1][8192:])
	a := assemble(t, disks)
	a.holds(t, data)
}

func TestWhatCannotBeReadWithCertaintyIsRefused(t *testing.T) {
	for name, change := range map[string]func(b []byte){
		"a journal":                          func(b []byte) { b[9] |= hasJournal >> 8 },
		"a reshape in place":                 func(b []byte) { b[8] |= reshaping; le.PutUint32(b[100:], 5); le.PutUint32(b[120:], 16) },
		"a level of no use":                  func(b []byte) { le.PutUint32(b[72:], 1<<32-5) },
		"a level that does not exist":        func(b []byte) { le.PutUint32(b[72:], 7) },
		"a layout that does not exist":       func(b []byte) { le.PutUint32(b[76:], 99) },
		"a place that the array has not got": func(b []byte) { le.PutUint16(b[256:], 9) },
	} {
		disks := testmd.Set(raid5(), size, nil)
		for _, d := range disks {
			superOf(d, change)
		}
		if a, err := Assemble(members(t, disks), Options{}); err == nil {
			t.Errorf("%s: got %v", name, a.Array)
		}
	}
}

// reshaped is a raid5 of 3 members in a reshape from chunks of 4 KiB to chunks of 8 KiB. It moves its data by 64
// sectors towards the start; what is before position is in the new place.
func reshaped(data []byte, position int64) [][]byte {
	old := raid5()
	old.DataOffset = 256
	disks := testmd.Set(old, size, data)
	to := old
	to.Chunk, to.DataOffset = 16, 192
	after := testmd.Set(to, size, data)
	old.Features = reshaping | hasNewOffset
	old.Roles, old.Events = []int{0, 1, 2}, 10
	old.DataSize = size/512 - 256
	old.Size = old.DataSize / 16 * 16
	old.NewLevel, old.NewLayout, old.NewChunk, old.NewOffset, old.Position = 5, 2, 16, -64, uint64(position/512)
	for i, d := range disks {
		copy(d[192*512:][:position/2], after[i][192*512:])
		old.Number, old.UUID = i, [16]byte{1, byte(i)}
		old.Write(d)
	}
	return disks
}

func TestAReshapeThatMovesTheDataIsReadFromBothPlaces(t *testing.T) {
	data := random(600 << 10)
	for _, position := range []int64{0, 64 << 10, 16 << 10} {
		a := assemble(t, reshaped(data, position))
		a.holds(t, data)
		disks := reshaped(data, position)
		disks[1] = nil
		assemble(t, disks).holds(t, data)
	}
}

func TestAReshapeOfWhatIsNotWholeIsRefused(t *testing.T) {
	for name, change := range map[string]func(disks [][]byte){
		"a member that is being rebuilt": func(disks [][]byte) {
			superOf(disks[1], func(b []byte) { b[8] |= hasRecovery; le.PutUint64(b[152:], 100) })
		},
		"members that do not agree where it is": func(disks [][]byte) {
			superOf(disks[1], func(b []byte) { le.PutUint64(b[104:], 8) })
		},
		"data that would begin before the member": func(disks [][]byte) {
			for _, d := range disks {
				superOf(d, func(b []byte) { le.PutUint32(b[124:], 1<<32-300) })
			}
		},
	} {
		disks := reshaped(random(64<<10), 0)
		change(disks)
		if _, err := Assemble(members(t, disks), Options{}); err == nil {
			t.Errorf("%s: it is assembled", name)
		}
	}
	// Parity that is not in sync counts for nothing.
	disks := reshaped(random(64<<10), 0)
	for _, d := range disks {
		superOf(d, func(b []byte) { le.PutUint64(b[208:], 100) })
	}
	disks[0] = nil
	a := assemble(t, disks)
	if _, err := a.Array.ReadAt(make([]byte, 64<<10), 0); !errors.Is(err, mapping.ErrMissing) {
		t.Errorf("out of sync: got %v", err)
	}
}

func TestAMemberThatFailsToReadIsReadRound(t *testing.T) {
	data := random(600 << 10)
	disks := testmd.Set(raid5(), size, data)
	var all []Member
	for i, d := range disks {
		dev := device(i, d)
		all = append(all, member(t, dev))
		if i == 1 {
			dev.Break(8192+100, 8192+200)
		}
	}
	var told []int64
	a, err := Assemble(all, Options{OnError: func(m mapping.Device, off, n int64, err error) {
		if m.Name() != "d1" || err == nil {
			t.Errorf("told of %s: %v", m.Name(), err)
		}
		told = append(told, off, n)
	}})
	if err != nil {
		t.Fatal(err)
	}
	a.holds(t, data)
	if len(told) == 0 || told[0] < 8192 || told[0] > 8192+200 {
		t.Errorf("told of %v", told)
	}
}

func TestASetIsCompleteWithAMemberForEachPlace(t *testing.T) {
	disks := testmd.Set(raid5(), size, nil)
	all := members(t, disks)
	if !Complete(all) || Complete(all[:2]) || Complete([]Member{all[0], all[1], all[1]}) {
		t.Error("it is not")
	}
	superOf(disks[2], func(b []byte) { le.PutUint64(b[200:], 9) })
	if Complete(members(t, disks)) {
		t.Error("it is, with one that is behind")
	}
}

// withDamaged assembles the disks that are not nil. It first makes the superblocks of damaged unreadable.
func withDamaged(t *testing.T, version string, disks [][]byte, damaged ...int) (*Assembly, error) {
	t.Helper()
	var opts Options
	disks = slices.Clone(disks)
	for _, i := range damaged {
		disk := bytes.Clone(disks[i])
		disks[i] = nil
		disk[testmd.SuperOffset(version, size)+200] ^= 0x10 // of the events, or of what nobody uses
		_, err := Find(bytes.NewReader(disk), size)
		var e *DamagedError
		if !errors.As(err, &e) {
			t.Fatalf("got %v", err)
		}
		opts.Damaged = append(opts.Damaged, DamagedMember{device(i, disk), e.Claim})
	}
	return Assemble(members(t, disks), opts)
}

func TestADamagedSuperblockMayTellThatTheOthersAreOld(t *testing.T) {
	data := random(600 << 10)
	for _, version := range []string{"0.90", "1.0", "1.1", "1.2"} {
		t.Run(version, func(t *testing.T) {
			m := raid1()
			m.Version = version
			disks := testmd.Set(m, size, data)
			a, err := withDamaged(t, version, disks, 0)
			if err != nil {
				t.Fatal(err)
			}
			a.holds(t, data)
			if len(a.Warnings) == 0 || a.Array.Settled() {
				t.Errorf("warnings %v, settled %v", a.Warnings, a.Array.Settled())
			}

			// The second member has missed a write.
			const at = 300 << 10
			lead := find(t, disks[1]).DataOffset
			disks[0][lead+at] ^= 0xff
			if a, err = withDamaged(t, version, disks, 0); err != nil {
				t.Fatal(err)
			}
			if n, err := a.Array.ReadAt(make([]byte, 4096), at&^4095); !errors.Is(err, mapping.ErrMissing) {
				t.Errorf("where they differ: got %d bytes, %v", n, err)
			}
			a.holds(t, data[:at&^4095])
		})
	}
}

func TestADamagedSuperblockOfAnArrayThatCannotDoWithoutTheOthersIsOfNoConsequence(t *testing.T) {
	data := random(600 << 10)
	disks := testmd.Set(raid5(), size, data)
	clear(disks[2][8192:])
	a, err := withDamaged(t, "1.2", disks, 2)
	if err != nil {
		t.Fatal(err)
	}
	a.holds(t, data)

	m := testmd.Member{Version: "1.2", Name: "lab:r6", Array: [16]byte{6}, Level: 6, Layout: 2, Chunk: 8, Disks: 4, Resync: testmd.All}
	disks = testmd.Set(m, size, data)
	if a, err = withDamaged(t, "1.2", disks, 1); err != nil {
		t.Fatal(err)
	}
	a.holds(t, data)
	if _, err = withDamaged(t, "1.2", disks, 1, 3); !errors.Is(err, ErrContradiction) {
		t.Errorf("two could go on without the other two: got %v", err)
	}
}

func TestADamagedSuperblockOfADiskThatHadFailedOrIsASpareIsOfNoConsequence(t *testing.T) {
	data := random(600 << 10)
	disks := testmd.Set(raid1(), size, data)
	clear(disks[0][8192:])
	superOf(disks[1], func(b []byte) { le.PutUint16(b[256:], testmd.Faulty) })
	a, err := withDamaged(t, "1.2", disks, 0)
	if err != nil {
		t.Fatal(err)
	}
	a.holds(t, data)
}

func TestNothingStandsInForADamagedMemberWhereTheArrayIsNotInSync(t *testing.T) {
	data := random(600 << 10)
	m := raid1()
	m.Resync = 100
	disks := testmd.Set(m, size, data)
	a, err := withDamaged(t, "1.2", disks, 0)
	if err != nil {
		t.Fatal(err)
	}
	a.holds(t, data[:100*512])
	if n, err := a.Array.ReadAt(make([]byte, 512), 100*512); !errors.Is(err, mapping.ErrMissing) {
		t.Errorf("got %d bytes, %v", n, err)
	}
	// The first stands for itself.
	if a, err = withDamaged(t, "1.2", disks, 1); err != nil {
		t.Fatal(err)
	}
	a.holds(t, data)
}

func TestADamagedMemberIsKnownByItsArrayOrByWhenThatWasMade(t *testing.T) {
	s := find(t, testmd.Set(raid1(), size, nil)[0])
	s.Created = 7
	for name, c := range map[string]struct {
		claim Claim
		want  bool
	}{
		"the array":          {Claim{Set: s.Set()}, true},
		"when it was made":   {Claim{Set: Set{UUID{9}, '1'}, Created: 7}, true},
		"another, made then": {Claim{Set: Set{UUID{9}, '0'}, Created: 7}, false},
		"another":            {Claim{Set: Set{UUID{9}, '1'}, Created: 8}, false},
	} {
		if got := (DamagedMember{Claim: c.claim}).MayBelongTo(s); got != c.want {
			t.Errorf("%s: got %v", name, got)
		}
	}
}

func TestWhereTheOlderOfTwoIsNotInSyncTheFirstCounts(t *testing.T) {
	data := random(600 << 10)
	m := raid1()
	m.Resync = 100
	disks := testmd.Set(m, size, data)
	clear(disks[1][8192+100*512:])
	superOf(disks[0], func(b []byte) { le.PutUint64(b[200:], 9) })
	a, err := Assemble(members(t, disks), Options{})
	if err != nil {
		t.Fatal(err)
	}
	a.holds(t, data)

	// If it is too old, nobody stands in for it there.
	superOf(disks[0], func(b []byte) { le.PutUint64(b[200:], 8) })
	if a, err = Assemble(members(t, disks), Options{}); err != nil {
		t.Fatal(err)
	}
	a.holds(t, data[:100*512])
	if n, err := a.Array.ReadAt(make([]byte, 512), 100*512); !errors.Is(err, mapping.ErrMissing) {
		t.Errorf("got %d bytes, %v", n, err)
	}
}

func TestAMemberThatIsListedAsFaultyAndIsWholeAndNoOlderIsAContradiction(t *testing.T) {
	for _, older := range []int{0, 1} {
		disks := testmd.Set(raid5(), size, nil)
		superOf(disks[0], func(b []byte) { le.PutUint16(b[256+2:], testmd.Faulty); le.PutUint64(b[200:], uint64(10-older)) })
		if _, err := Assemble(members(t, disks), Options{}); !errors.Is(err, ErrContradiction) {
			t.Errorf("%d events older: got %v", older, err)
		}
	}
}
