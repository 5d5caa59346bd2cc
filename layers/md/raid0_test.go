package md

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"lvm2fs/internal/test/testmd"
	"lvm2fs/mapping"
	"lvm2fs/raid"
)

// formula is where the formula of docs/format/04-below-lvm.md, section 4.5, has chunk s of a raid0 over
// members of so many chunks.
func formula(chunks []int64, layout uint32, s int64) (member int, x int64) {
	sorted := slices.Clone(chunks)
	slices.Sort(sorted)
	var start, b int64
	for _, e := range sorted {
		var members []int
		for i, z := range chunks {
			if z > b {
				members = append(members, i)
			}
		}
		m := int64(len(members))
		if m > 0 && s < start+(e-b)*m {
			r := s - start
			which := r % m
			if layout == raid.Original {
				which = s % m
			}
			return members[which], b + r/m
		}
		start += (e - b) * m
		b = e
	}
	panic("beyond the end")
}

// unequal is the members of a raid0 with so many chunks each, and data that says where it lies.
func unequal(t *testing.T, m testmd.Member, chunks []int64) []Member {
	t.Helper()
	m.Level, m.Chunk, m.Disks, m.Resync = 0, 8, len(chunks), testmd.All
	for i := range chunks {
		m.Roles = append(m.Roles, i)
	}
	var all []Member
	for i, n := range chunks {
		m.Number, m.DataOffset, m.DataSize = i, 16+8*int64(i), n*8+int64(i) // offsets differ, sizes are not whole
		disk := make([]byte, (m.DataOffset+m.DataSize)*512)
		m.Write(disk)
		all = append(all, member(t, device(i, disk)))
	}
	return all
}

var someChunks = [][]int64{{7, 6, 4, 3}, {3, 4, 6, 7}, {5, 5, 2}, {2, 5, 5}, {9, 1, 9, 4, 4}, {4, 4}, {1, 8}, {6}}

func TestStripesOverUnequalMembersLieWhereTheFormulaHasThem(t *testing.T) {
	for _, layout := range []uint32{raid.Original, raid.Alternate} {
		for _, chunks := range someChunks {
			m := testmd.Member{Version: "1.2", Layout: layout, Features: layoutOfRAID0}
			a, err := Assemble(unequal(t, m, chunks), Options{})
			if err != nil {
				t.Fatal(err)
			}
			var total int64
			for _, n := range chunks {
				total += n
			}
			if a.Array.Size() != total*4096 {
				t.Errorf("%v: %d bytes", chunks, a.Array.Size())
			}
			for s := range total {
				i, x := formula(chunks, layout, s)
				e, err := a.Array.Map(s*4096+100, 4096)
				name, off := fmt.Sprintf("d%d", i), (16+8*int64(i))*512+x*4096+100
				if err != nil || e.Kind != mapping.Data || e.Device.Name() != name || e.Offset != off {
					t.Fatalf("%v, layout %d, chunk %d: got %+v, %v, want %s at %d", chunks, layout, s, e, err, name, off)
				}
			}
		}
	}
}

func TestOfALayoutThatIsNotToldOnlyWhatIsCertainIsRead(t *testing.T) {
	lost := 0
	for _, chunks := range someChunks {
		a, err := Assemble(unequal(t, testmd.Member{Version: "1.2"}, chunks), Options{})
		if err != nil {
			t.Fatal(err)
		}
		differs := false
		for s := range a.Array.Size() / 4096 {
			i, x := formula(chunks, raid.Original, s)
			j, y := formula(chunks, raid.Alternate, s)
			e, err := a.Array.Map(s*4096, 4096)
			if err != nil {
				t.Fatal(err)
			}
			_, readErr := a.Array.ReadAt(make([]byte, 4096), s*4096)
			certain := i == j && x == y
			differs = differs || !certain
			if certain != (e.Kind == mapping.Data) || certain != (readErr == nil) || !certain && !errors.Is(readErr, mapping.ErrMissing) {
				t.Fatalf("%v, chunk %d: got %v, %v", chunks, s, e.Kind, readErr)
			}
		}
		if differs {
			lost++
		}
		if differs != (len(a.Warnings) > 0) {
			t.Errorf("%v: got warnings %v", chunks, a.Warnings)
		}
	}
	if lost == 0 {
		t.Error("no case differs")
	}
}

func TestAUserMayTellTheLayout(t *testing.T) {
	chunks := []int64{7, 6, 4, 3}
	for _, layout := range []uint32{raid.Original, raid.Alternate} {
		a, err := Assemble(unequal(t, testmd.Member{Version: "1.2"}, chunks), Options{RAID0Layout: layout})
		if err != nil {
			t.Fatal(err)
		}
		for s := range a.Array.Size() / 4096 {
			i, _ := formula(chunks, layout, s)
			if e, _ := a.Array.Map(s*4096, 4096); e.Kind != mapping.Data || e.Device.Name() != fmt.Sprintf("d%d", i) {
				t.Fatalf("layout %d, chunk %d: got %+v", layout, s, e)
			}
		}
	}
}

func TestALayoutOfRAID0ThatDoesNotExistIsRefused(t *testing.T) {
	m := testmd.Member{Version: "1.2", Layout: 7, Features: layoutOfRAID0}
	if _, err := Assemble(unequal(t, m, []int64{3, 2}), Options{}); !errors.Is(err, ErrUnsupported) {
		t.Errorf("got %v", err)
	}
}
