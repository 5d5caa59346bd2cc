package ondisk_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"lvm2fs/internal/test/testimages"
	"lvm2fs/lvm2/internal/ondisk"
	"lvm2fs/lvm2/internal/text"
)

// States of a metadata area of an image.
const (
	current       = "current"
	old           = "old"
	empty         = "empty"
	damagedText   = "damaged text"
	damagedHeader = "damaged header"
)

func TestDisksOfTheRealKernelGiveTheTextOfTheirBackups(t *testing.T) {
	for name, disks := range map[string][]struct {
		labelSector int
		areas       []string
		bootAreas   int
	}{
		"banana":           {{1, []string{current}, 0}},
		"meta-bootarea":    {{1, []string{current}, 1}},
		"meta-copies0":     {{1, nil, 0}, {1, []string{current}, 0}},
		"meta-copies2":     {{1, []string{current, current}, 0}},
		"meta-corrupt":     {{1, []string{damagedText, current}, 0}, {1, []string{damagedHeader, current}, 0}},
		"meta-exported":    {{1, []string{current}, 0}},
		"meta-labelsector": {{0, []string{current}, 0}, {2, []string{current}, 0}, {3, []string{current}, 0}},
		"meta-orphan":      {{1, []string{empty}, 0}, {1, []string{current}, 0}},
		"meta-systemid":    {{1, []string{current}, 0}},
		"meta-wrap":        {{1, []string{current}, 0}},
		"outdated-pv":      {{1, []string{current}, 0}, {1, []string{current}, 0}, {1, []string{old}, 0}},
	} {
		t.Run(name, func(t *testing.T) {
			c := testimages.Load(t, name)
			backup := readBackup(t, c)
			paths := c.Unpack(t)
			if len(paths) != len(disks) {
				t.Fatalf("%d disks, want %d", len(paths), len(disks))
			}
			for i, want := range disks {
				f, err := os.Open(paths[i])
				if err != nil {
					t.Fatal(err)
				}
				defer f.Close()
				size := c.Disks[i].Size
				h, err := ondisk.ReadHeader(f, size)
				if err != nil {
					t.Fatalf("disk %d: %v", i, err)
				}
				if h.LabelSector != want.labelSector || h.DeviceSize != size || len(h.DataAreas) != 1 || len(h.BootAreas) != want.bootAreas || h.Version != 2 {
					t.Errorf("disk %d: %+v", i, h)
				}
				var areas []string
				for _, a := range h.MetadataAreas {
					areas = append(areas, state(t, f, a, size, backup))
				}
				if diff := cmp.Diff(want.areas, areas); diff != "" {
					t.Errorf("disk %d: areas (-want +got)\n%s", i, diff)
				}
				if inUse := !strings.Contains(strings.Join(areas, ""), empty); h.InUse() != inUse {
					t.Errorf("disk %d: in use is %v", i, h.InUse())
				}
			}
		})
	}
}

// state says what is in a metadata area, and fails the test if a text that claims to be
// that of the backup is another.
func state(t *testing.T, f *os.File, a ondisk.Area, size int64, backup *text.Section) string {
	t.Helper()
	m, err := ondisk.ReadMetadataArea(f, a, size)
	if errors.Is(err, ondisk.ErrChecksum) {
		return damagedHeader
	}
	if err != nil {
		t.Fatal(err)
	}
	if m.Empty() {
		return empty
	}
	src, err := m.ReadText(f)
	if errors.Is(err, ondisk.ErrChecksum) {
		return damagedText
	}
	if err != nil {
		t.Fatal(err)
	}
	if src[len(src)-1] != 0 {
		t.Errorf("the text at byte %d does not end with a NUL", a.Offset+m.Committed.Offset)
	}
	top, err := text.Parse(src)
	if err != nil {
		t.Fatal(err)
	}
	vg := top.Sections()[0]
	if backup == nil {
		return current
	}
	if vg.Key != backup.Key {
		t.Errorf("VG %s, want %s", vg.Key, backup.Key)
	}
	seqno, newest := seqno(t, vg), seqno(t, backup)
	if seqno < newest {
		return old
	}
	if diff := cmp.Diff(plain(backup), plain(vg)); diff != "" {
		t.Errorf("the backup and the text with seqno %d differ (-backup +disk)\n%s", seqno, diff)
	}
	return current
}

func seqno(t *testing.T, vg *text.Section) uint64 {
	t.Helper()
	n, err := vg.Uint("seqno", 1<<32)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// readBackup is the VG section of what vgcfgbackup wrote; nil if the case has none.
func readBackup(t *testing.T, c *testimages.Case) *text.Section {
	t.Helper()
	backups, err := filepath.Glob(filepath.Join(c.Dir, "metadata-*.vg"))
	if err != nil || len(backups) == 0 {
		return nil
	}
	src, err := os.ReadFile(backups[0])
	if err != nil {
		t.Fatal(err)
	}
	top, err := text.Parse(src)
	if err != nil {
		t.Fatal(err)
	}
	return top.Sections()[0]
}

// plain is a section as lines of path and value, without the hints where devices were.
func plain(s *text.Section) (lines []string) {
	for _, key := range s.Keys() {
		if key == "device" {
			continue
		}
		values, _ := s.Lookup(key)
		line := s.Key + "." + key + " ="
		for _, v := range values {
			line += fmt.Sprintf(" %d:%s", v.Kind, v.Str)
		}
		lines = append(lines, line)
	}
	for _, sub := range s.Sections() {
		for _, line := range plain(sub) {
			lines = append(lines, s.Key+"."+line)
		}
	}
	return lines
}
