package cli

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// meter shows on a terminal how far an LV is, in one line that is written again and
// again: percent, rate and what time is left. It is for one goroutine.
type meter struct {
	w     io.Writer
	now   func() time.Time
	title string
	size  int64 // bytes

	samples []sample // of the last rateWindow, oldest first
	shown   time.Time
}

type sample struct {
	at   time.Time
	done int64
}

const (
	meterInterval = 200 * time.Millisecond
	rateWindow    = 10 * time.Second
	clearLine     = "\r\x1b[K"
)

// set says how many bytes are done. The first call says how many were to begin with.
func (m *meter) set(done int64) {
	now := m.now()
	if len(m.samples) > 0 && now.Sub(m.shown) < meterInterval {
		return
	}
	m.shown = now
	m.samples = append(m.samples, sample{now, done})
	for len(m.samples) > 2 && now.Sub(m.samples[1].at) >= rateWindow {
		m.samples = m.samples[1:]
	}
	fmt.Fprint(m.w, clearLine, m.line())
}

// finish takes the line away.
func (m *meter) finish() {
	if len(m.samples) > 0 {
		fmt.Fprint(m.w, clearLine)
	}
	m.samples = nil
}

func (m *meter) line() string {
	first, last := m.samples[0], m.samples[len(m.samples)-1]
	var b strings.Builder
	fmt.Fprintf(&b, "%s  %3d%%  of %s", m.title, percent(last.done, m.size), formatSize(m.size))
	seconds := last.at.Sub(first.at).Seconds()
	if n := last.done - first.done; n > 0 && seconds > 0 {
		rate := float64(n) / seconds
		left := time.Duration(float64(m.size-last.done) / rate * float64(time.Second))
		fmt.Fprintf(&b, "  %s/s  %s left", formatSize(int64(rate)), formatLeft(left))
	}
	return b.String()
}

// percent is 100 only when all is done.
func percent(done, size int64) int {
	if size == 0 {
		return 100
	}
	return int(float64(done) / float64(size) * 100)
}

// formatLeft is minutes and seconds, or hours and minutes.
func formatLeft(d time.Duration) string {
	if d = d.Round(time.Second); d >= time.Hour {
		return fmt.Sprintf("%dh%02dm", int64(d/time.Hour), int64(d%time.Hour/time.Minute))
	}
	return fmt.Sprintf("%d:%02d", int64(d/time.Minute), int64(d%time.Minute/time.Second))
}

// formatSize is a size in bytes for people: three digits or a little more.
func formatSize(n int64) string {
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	value, unit := float64(n), -1
	for value >= 1024 && unit < 5 {
		value /= 1024
		unit++
	}
	digits := 0
	if value < 9.95 {
		digits = 1
	}
	return fmt.Sprintf("%.*f %ciB", digits, value, "KMGTPE"[unit])
}
