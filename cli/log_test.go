package cli

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"
)

func TestLogLinesOnStandardErrorBeginWithTheProgramAndHaveNoTime(t *testing.T) {
	var stderr strings.Builder
	a := newApp(nil, nil, nil, &stderr)
	a.log.Info("mounted", "mountpoint", "/mnt/my disk", "n", 2)
	a.log.With("vg", "banana").WithGroup("device").Warn("slow", "name", "/dev/sdb")
	a.log.Error("two\nlines", "err", errors.New("a\nb"))
	a.log.Debug("not shown")
	a.warnf("%w", errors.New("first\nsecond"))
	want := `lvm2fs: mounted mountpoint="/mnt/my disk" n=2
lvm2fs: warning: slow vg=banana device.name=/dev/sdb
lvm2fs: error: two; lines err="a\nb"
lvm2fs: warning: first; second
`
	if stderr.String() != want {
		t.Errorf("got\n%swant\n%s", stderr.String(), want)
	}
}

func TestALogFileHasATimeOnEachLine(t *testing.T) {
	var stderr, file strings.Builder
	a := newApp(nil, nil, nil, &stderr)
	a.logTo.switchTo(toFile(&file))
	before := time.Now().Truncate(time.Second)
	a.log.Warn("slow")
	stamp, rest, _ := strings.Cut(file.String(), " ")
	when, err := time.Parse(time.RFC3339, stamp)
	if err != nil || when.Before(before) || rest != "lvm2fs: warning: slow\n" {
		t.Errorf("%q: %v", file.String(), err)
	}
	if stderr.String() != "" {
		t.Errorf("still on standard error: %q", stderr.String())
	}
}

func TestDebugIsLoggedWhenAskedFor(t *testing.T) {
	var stderr strings.Builder
	a := newApp(nil, nil, nil, &stderr)
	a.logTo.level.Set(slog.LevelDebug)
	a.log.Debug("LOOKUP")
	if got := stderr.String(); got != "lvm2fs: debug: LOOKUP\n" {
		t.Errorf("got %q", got)
	}
}

func TestTheExitCodeFollowsFromTheError(t *testing.T) {
	for _, c := range []struct {
		err    error
		code   int
		stderr string
	}{
		{nil, 0, ""},
		{errors.New("broken"), 1, "lvm2fs: broken\n"},
		{errors.Join(errors.New("a"), errors.New("b")), 1, "lvm2fs: a; b\n"},
		{fmt.Errorf("2 LVs are %w", errIncomplete), 3, "lvm2fs: 2 LVs are incomplete\n"},
		{usagef("no %s", "sense"), 2, "lvm2fs: no sense\nTry 'lvm2fs --help'.\n"},
		{exitStatus(1), 1, ""}, // the background process has said it
	} {
		var stderr strings.Builder
		a := newApp(nil, nil, nil, &stderr)
		if code := a.fail(c.err); code != c.code || stderr.String() != c.stderr {
			t.Errorf("%v: exit code %d, %q; want %d, %q", c.err, code, stderr.String(), c.code, c.stderr)
		}
	}
}
