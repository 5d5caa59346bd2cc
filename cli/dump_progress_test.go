package cli

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestTheMeterShowsPercentRateAndTimeLeft(t *testing.T) {
	var out strings.Builder
	var now time.Time
	m := &meter{w: &out, now: func() time.Time { return now }, title: "banana/split", size: 4 << 30}
	for _, step := range []struct {
		after time.Duration
		done  int64
	}{
		{0, 1 << 30}, // what an earlier run has done says nothing of the rate
		{100 * time.Millisecond, 1<<30 + 1<<20},
		{900 * time.Millisecond, 1<<30 + 100<<20},
		{time.Second, 1<<30 + 200<<20},
		{20 * time.Second, 1<<30 + 400<<20},
		{time.Hour, 1<<30 + 401<<20},
		{time.Second, 4 << 30},
	} {
		now = now.Add(step.after)
		m.set(step.done)
	}
	m.finish()
	got := strings.Split(out.String(), clearLine)[1:]
	want := []string{
		"banana/split   25%  of 4.0 GiB",
		"banana/split   27%  of 4.0 GiB  100 MiB/s  0:30 left",
		"banana/split   29%  of 4.0 GiB  100 MiB/s  0:29 left",
		"banana/split   34%  of 4.0 GiB  10 MiB/s  4:27 left",
		"banana/split   34%  of 4.0 GiB  291 B/s  2671h00m left",
		"banana/split  100%  of 4.0 GiB  760 KiB/s  0:00 left",
		"",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestAMeterThatHasShownNothingTakesNothingAway(t *testing.T) {
	var out strings.Builder
	m := &meter{w: &out, now: time.Now, title: "vg/lv", size: 1}
	m.finish()
	if out.String() != "" {
		t.Errorf("printed %q", out.String())
	}
}

func TestSizesAreForPeople(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 10 << 10: "10 KiB", 1536 << 20: "1.5 GiB", 10475274: "10 MiB",
		1 << 50: "1.0 PiB", 1<<63 - 1: "8.0 EiB",
	} {
		if got := formatSize(n); got != want {
			t.Errorf("%d is %q, want %q", n, got, want)
		}
	}
}
