package assembly

import (
	"errors"
	"slices"
	"testing"

	"lvm2fs/internal/test/testpv"
	"lvm2fs/lvm2/metadata"
)

// tracedState notes what is asked of it.
type tracedState struct {
	name  string
	trace *[]string
	fail  error
}

func (s *tracedState) ReadOnlyReason() string { return "" }

func (s *tracedState) StartWriting() error {
	*s.trace = append(*s.trace, "start "+s.name)
	return s.fail
}

func (s *tracedState) StopWriting() error {
	*s.trace = append(*s.trace, "stop "+s.name)
	return nil
}

func (s *tracedState) needsCheck() bool { return false }
func (s *tracedState) inherit(state)    {}
func (s *tracedState) usage() Usage     { return Usage{} }

// onOne are two LVs on one beneath, which is of a type that may have a state.
func onOne(t *testing.T) (low, a, b *metadata.LV) {
	t.Helper()
	vg, err := metadata.Decode([]byte(testpv.VG{Name: "vg", Seqno: 1, PVs: []string{"sda"}, LVs: []testpv.LV{
		{Name: "low", Segments: []string{"start_extent = 0\nextent_count = 1\ntype = \"zero\""}},
		{Name: "a", Segments: []string{testpv.Linear(0, 1, "low", 0)}},
		{Name: "b", Segments: []string{testpv.Linear(0, 1, "low", 0)}},
	}}.Text()))
	if err != nil {
		t.Fatal(err)
	}
	return vg.LV("low"), vg.LV("a"), vg.LV("b")
}

func TestAStateIsStartedForTheFirstWriterAndStoppedForTheLast(t *testing.T) {
	low, a, b := onOne(t)
	var s states
	s.reset()
	var trace []string
	s.add(a.Segments[0], &tracedState{name: "a", trace: &trace})
	s.add(low.Segments[0], &tracedState{name: "low", trace: &trace})

	started, err := start(s.written(a))
	if err != nil {
		t.Fatal(err)
	}
	other, err := start(s.written(b))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(started.Stop(), other.Stop(), other.Stop()); err != nil {
		t.Fatal(err)
	}
	if want := []string{"start low", "start a", "stop a", "stop low"}; !slices.Equal(trace, want) {
		t.Errorf("got %v, want %v", trace, want)
	}
}

func TestWhenAStateDoesNotStartThoseBeneathAreStopped(t *testing.T) {
	low, lv, _ := onOne(t)
	var s states
	s.reset()
	var trace []string
	s.add(lv.Segments[0], &tracedState{name: "lv", trace: &trace, fail: ErrStale})
	s.add(low.Segments[0], &tracedState{name: "low", trace: &trace})
	if _, err := start(s.written(lv)); !errors.Is(err, ErrStale) {
		t.Errorf("got %v", err)
	}
	if want := []string{"start low", "start lv", "stop low"}; !slices.Equal(trace, want) {
		t.Errorf("got %v, want %v", trace, want)
	}
}

func TestWhatAnExternalOriginLiesOnIsNotWrittenWithAThinLV(t *testing.T) {
	seg := func(text string) []string { return []string{"start_extent = 0\nextent_count = 1\n" + text} }
	vg, err := metadata.Decode([]byte(testpv.VG{Name: "vg", Seqno: 1, PVs: []string{"sda"}, LVs: []testpv.LV{
		{Name: "old", Segments: seg(`type = "zero"`)},
		{Name: "origin", Segments: []string{testpv.Linear(0, 1, "old", 0)}},
		{Name: "tmeta", Segments: seg(`type = "zero"`)},
		{Name: "tdata", Segments: seg(`type = "zero"`)},
		{Name: "pool", Segments: seg("type = \"thin-pool\"\nmetadata = \"tmeta\"\npool = \"tdata\"\ntransaction_id = 1\nchunk_size = 128")},
		{Name: "thin", Segments: seg("type = \"thin\"\nthin_pool = \"pool\"\ntransaction_id = 0\ndevice_id = 1\nexternal_origin = \"origin\"")},
	}}.Text()))
	if err != nil {
		t.Fatal(err)
	}
	var s states
	s.reset()
	var trace []string
	for _, lv := range vg.LVs {
		s.add(lv.Segments[0], &tracedState{name: lv.Name, trace: &trace})
	}
	if _, err := start(s.written(vg.LV("thin"))); err != nil {
		t.Fatal(err)
	}
	slices.Sort(trace)
	if want := []string{"start pool", "start tdata", "start thin", "start tmeta"}; !slices.Equal(trace, want) {
		t.Errorf("got %v, want %v", trace, want)
	}
}
