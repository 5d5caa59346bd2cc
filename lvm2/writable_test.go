package lvm2

import (
	"errors"
	"slices"
	"testing"
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

func TestAStateIsStartedForTheFirstWriterAndStoppedForTheLast(t *testing.T) {
	// Two LVs on one beneath.
	low := &LV{Segments: []*Segment{{Mapping: &RAID{}}}}
	on := func() *LV { return &LV{Segments: []*Segment{{Mapping: &Striped{Stripes: []Area{{LV: low}}}}}} }
	a, b := on(), on()
	for _, lv := range []*LV{low, a, b} {
		lv.findBeneath(nil)
	}
	var s states
	var trace []string
	s.add(a.Segments[0], &tracedState{name: "a", trace: &trace})
	s.add(low.Segments[0], &tracedState{name: "low", trace: &trace})

	started, err := s.start(s.beneath(a))
	if err != nil {
		t.Fatal(err)
	}
	other, err := s.start(s.beneath(b))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.stop(started), s.stop(other)); err != nil {
		t.Fatal(err)
	}
	if want := []string{"start low", "start a", "stop a", "stop low"}; !slices.Equal(trace, want) {
		t.Errorf("got %v, want %v", trace, want)
	}
}

func TestWhenAStateDoesNotStartThoseBeneathAreStopped(t *testing.T) {
	low := &LV{Segments: []*Segment{{Mapping: &RAID{}}}}
	lv := &LV{Segments: []*Segment{{Mapping: &Striped{Stripes: []Area{{LV: low}}}}}}
	lv.findBeneath(nil)
	var s states
	var trace []string
	s.add(lv.Segments[0], &tracedState{name: "lv", trace: &trace, fail: ErrStale})
	s.add(low.Segments[0], &tracedState{name: "low", trace: &trace})
	if _, err := s.start(s.beneath(lv)); !errors.Is(err, ErrStale) {
		t.Errorf("got %v", err)
	}
	if want := []string{"start low", "start lv", "stop low"}; !slices.Equal(trace, want) {
		t.Errorf("got %v, want %v", trace, want)
	}
}
