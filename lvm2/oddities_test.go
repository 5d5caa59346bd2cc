package lvm2

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"lvm2fs/internal/test/testpv"
	"lvm2fs/lvm2/metadata"
)

// outcome is what became of an odd text, in the words of testpv.OddText.
func outcome(s *Scan) string {
	if len(s.VGs) == 0 {
		return testpv.Refused
	}
	var lvs []string
	for _, lv := range s.VGs[0].LVs {
		if _, err := lv.Open(); err != nil {
			lvs = append(lvs, lv.Name+"!")
		} else {
			lvs = append(lvs, fmt.Sprintf("%s %d", lv.Name, lv.ExtentCount()))
		}
	}
	slices.Sort(lvs)
	return strings.Join(lvs, " ")
}

func TestWhatIsOddInAMetadataTextFailsAlone(t *testing.T) {
	for _, odd := range testpv.OddTexts() {
		t.Run(odd.Name, func(t *testing.T) {
			disks := testpv.OddDisks(odd.Text)
			s := Open(devices(disks...), Options{})
			if got := outcome(s); got != odd.Ours {
				t.Errorf("got %s, want %s (lvm2: %s)\n%v", got, odd.Ours, odd.LVM, s.Warnings)
			}
			switch {
			case odd.Said == "" && len(s.Warnings) > 0:
				t.Errorf("warned of %v", s.Warnings)
			case !warned(s, odd.Said):
				if odd.Said != "" {
					t.Errorf("not said: %s, but %v", odd.Said, s.Warnings)
				}
			}
		})
	}
}

func TestAVGOfWhichMoreMayBeLostIsNotWritten(t *testing.T) {
	for _, odd := range testpv.OddTexts() {
		s := Open(devices(testpv.OddDisks(odd.Text)...), Options{})
		if len(s.VGs) == 0 || s.VGs[0].Damage() == nil {
			continue
		}
		if !errors.Is(s.VGs[0].Damage(), ErrMetadata) {
			t.Errorf("%s: %v", odd.Name, s.VGs[0].Damage())
		}
		for _, lv := range s.VGs[0].LVs {
			if lv.ReadOnlyReason() == nil {
				t.Errorf("%s: %s can be written", odd.Name, lv)
			}
		}
	}
	for name, want := range map[string]bool{"logical_volumes misspelt": true, "a value among the LVs": true, "seqno twice": false, "the UUID of an LV without": false} {
		i := slices.IndexFunc(testpv.OddTexts(), func(odd testpv.OddText) bool { return odd.Name == name })
		s := Open(devices(testpv.OddDisks(testpv.OddTexts()[i].Text)...), Options{})
		if got := s.VGs[0].Damage() != nil; got != want {
			t.Errorf("%s: damage is %v", name, s.VGs[0].Damage())
		}
	}
}

func TestAHostileNumberOfOdditiesIsToldInAFewLines(t *testing.T) {
	text := strings.Replace(testpv.OddTexts()[0].Text, "seqno = 3", strings.Repeat("seqno = 3\n", 3000), 1)
	s := Open(devices(testpv.OddDisks(text)...), Options{})
	if got := outcome(s); got != "alpha 3 beta 5" || len(s.Warnings) != metadata.MostTold+1 || !warned(s, "2979 more") {
		t.Errorf("%s, %d warnings: %v", got, len(s.Warnings), s.Warnings)
	}
}
