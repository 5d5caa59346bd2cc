package attach

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
)

func locked(t *testing.T, dir string) *State {
	t.Helper()
	s, err := Lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func save(t *testing.T, s *State) {
	t.Helper()
	if err := s.Save(); err != nil {
		t.Fatal(err)
	}
}

func entry(lv, device string) *Entry {
	return &Entry{LV: lv, VGUUID: "VGUUID-" + lv, LVUUID: "LVUUID-" + lv, Device: device, Way: Direct}
}

func TestWhatIsSavedIsReadByAll(t *testing.T) {
	dir := t.TempDir()
	if s, err := Read(dir); err != nil || len(s.Entries) != 0 {
		t.Errorf("an empty directory: %v, %v", s.Entries, err)
	}
	s := locked(t, dir)
	e := entry("vg/lv", "/dev/loop7")
	e.Process, e.Claims = &PID{12, "34"}, []ID{"8:1", "8:2/33"}
	s.Add(e)
	save(t, s)
	again, err := Read(dir)
	if err != nil || len(again.Entries) != 1 {
		t.Fatalf("%v, %v", again, err)
	}
	got := again.Entries[0]
	if got.LV != e.LV || got.Device != e.Device || *got.Process != *e.Process || !slices.Equal(got.Claims, e.Claims) {
		t.Errorf("read %+v, want %+v", got, e)
	}
	if err := again.Save(); err == nil {
		t.Error("a list that is not locked could be saved")
	}
}

func TestLinksAreThoseOfTheList(t *testing.T) {
	dir := t.TempDir()
	s := locked(t, dir)
	one, two, pending := entry("vg/one", "/dev/loop1"), entry("other/two", "/dev/loop2"), entry("vg/three", "/dev/loop3")
	pending.Pending = true
	for _, e := range []*Entry{one, two, pending} {
		s.Add(e)
	}
	save(t, s)
	links := func() (found []string) {
		paths, _ := filepath.Glob(filepath.Join(dir, "[a-z]*", "*"))
		for _, p := range paths {
			target, err := os.Readlink(p)
			if err != nil {
				t.Error(err)
			}
			rel, _ := filepath.Rel(dir, p)
			found = append(found, rel+" "+target)
		}
		return found
	}
	if got, want := links(), []string{"other/two /dev/loop2", "vg/one /dev/loop1"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	one.Device = "/dev/loop9"
	s.Remove(two)
	save(t, s)
	if got, want := links(), []string{"vg/one /dev/loop9"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if _, err := os.Stat(filepath.Join(dir, "other")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the directory of a VG without links: %v", err)
	}
}

func TestVGsOfOneNameGetNamesOfTheirOwn(t *testing.T) {
	s := locked(t, t.TempDir())
	first, second := entry("vg/lv", "/dev/loop1"), entry("vg/lv", "/dev/loop2")
	second.VGUUID = "ABCDEF-1234"
	s.Add(first)
	s.Add(second)
	if first.LV != "vg/lv" || second.LV != "vg@ABCDEF/lv" {
		t.Errorf("%s and %s", first.LV, second.LV)
	}
	if s.Find("vg/lv") != first || s.Find("/dev/loop2") != second || s.Find("loop2") != second || s.Find("vg@ABCDEF/lv") != second || s.Find("loop") != nil {
		t.Error("they are not found by their names")
	}
	if s.OfLV("ABCDEF-1234", "LVUUID-vg/lv") != second {
		t.Error("one is not found by its UUIDs")
	}
}

func TestAClaimIsKeptForThoseWhoShareIt(t *testing.T) {
	s := locked(t, t.TempDir())
	holder, sharer, other := entry("vg/holder", "/dev/loop1"), entry("vg/sharer", "/dev/loop2"), entry("vg/other", "/dev/loop3")
	holder.Claims, holder.HasClaim = []ID{"8:1"}, true
	sharer.Claims = []ID{"8:2", "8:1"}
	other.Claims, other.HasClaim = []ID{"8:3"}, true
	for _, e := range []*Entry{holder, sharer, other} {
		s.Add(e)
	}
	all := func(*Entry) bool { return true }
	if s.ClaimHolder("8:1", all) != holder || s.ClaimHolder("8:2", all) != nil {
		t.Error("another holder")
	}
	if s.ClaimHolder("8:1", func(e *Entry) bool { return e != holder }) != nil {
		t.Error("a holder that is gone")
	}
	if !s.NeedsClaim(holder) || s.NeedsClaim(sharer) || s.NeedsClaim(other) {
		t.Error("others need a claim")
	}
	holder.Way = Claim // detached
	if s.Find("vg/holder") != nil {
		t.Error("what is detached is found")
	}
	if idle := s.IdleClaims(); len(idle) != 0 {
		t.Errorf("a claim that is needed is idle: %v", idle)
	}
	s.Remove(sharer)
	if idle := s.IdleClaims(); !slices.Equal(idle, []*Entry{holder}) {
		t.Errorf("idle: %v", idle)
	}
}

func TestTwoWhoChangeTheListDoNotLoseAnEntry(t *testing.T) {
	dir := t.TempDir()
	var all sync.WaitGroup
	for _, lv := range []string{"vg/a", "vg/b", "vg/c", "vg/d"} {
		all.Go(func() {
			s, err := Lock(dir)
			if err != nil {
				t.Error(err)
				return
			}
			defer s.Close()
			s.Add(entry(lv, "/dev/"+lv))
			if err := s.Save(); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if s, err := Read(dir); err != nil || len(s.Entries) != 4 {
		t.Errorf("%d entries, %v", len(s.Entries), err)
	}
}

func TestAProcessIsToldFromOthersWithItsNumber(t *testing.T) {
	self := Self()
	if !self.Alive() {
		t.Error("this process is dead")
	}
	if (&PID{self.Number, self.Started + "1"}).Alive() || (&PID{1 << 30, self.Started}).Alive() || (*PID)(nil).Alive() {
		t.Error("another is alive")
	}
}
