package fusefs

import (
	"fmt"
	"slices"
	"strings"
)

// Report is what a reload found.
type Report struct {
	Changes  []string // of what is shown, a line each
	Warnings []string // what mounting anew would warn of, a line each
	Failed   string   // why the metadata stays as it was; "" if it does not
}

// MaxReport is the most bytes of an encoded report: the most of an extended attribute on Linux.
const MaxReport = 64 << 10

// Only our own words begin a line, so the beginning of a line tells what it is about.
const (
	reportsFailure = "error: "
	reportsWarning = "warning: "
)

// encode gives the report as lines, the worst first. Those that a buffer of this size has no room for are left
// out, and counted if there is room for that.
func (r *Report) encode(size int) string {
	var lines []string
	add := func(prefix string, all ...string) {
		for _, line := range all {
			lines = append(lines, prefix+strings.Join(strings.Fields(line), " ")+"\n")
		}
	}
	if r.Failed != "" {
		add(reportsFailure, r.Failed)
	}
	add(reportsWarning, r.Warnings...)
	add("", r.Changes...)
	const note = 64 // bytes, enough for the last line
	var text strings.Builder
	total := len(strings.Join(lines, ""))
	for i, line := range lines {
		if total > size && text.Len()+len(line) > size-note {
			fmt.Fprintf(&text, "%d more lines are in the log\n", len(lines)-i)
			break
		}
		text.WriteString(line)
	}
	return text.String()
}

// DecodeReport reads what the attribute user.lvm2.reload of a mount's root gave.
func DecodeReport(text string) Report {
	var r Report
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if failed, ok := strings.CutPrefix(line, reportsFailure); ok {
			r.Failed = failed
		} else if warning, ok := strings.CutPrefix(line, reportsWarning); ok {
			r.Warnings = append(r.Warnings, warning)
		} else {
			r.Changes = append(r.Changes, line)
		}
	}
	return r
}

// maxChanges bounds the lines about what has changed. Whoever has more of them wants to know how many.
const maxChanges = 200

// differences says what of the names and LVs that users see differs between a tree and the next one. lvs are the LVs of the next
// one; those of old are still what its files are made of.
func differences(old, next *tree, lvs map[fileKey]*currentLV) []string {
	var lines []string
	say := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	for _, was := range old.dirs {
		is := next.byUUID[was.vg.UUID]
		switch {
		case was.gone:
			continue
		case is == nil || is.gone:
			say("VG %s: gone, with %d LVs", was.name, len(was.entries))
			continue
		case is.name != was.name:
			say("VG %s: called %s now", was.name, is.name)
		}
		if is.vg.Seqno != was.vg.Seqno {
			say("VG %s: metadata %d, before %d", is.name, is.vg.Seqno, was.vg.Seqno)
		}
		lines = append(lines, lvDifferences(was, is, lvs)...)
	}
	for _, is := range next.dirs {
		if was := old.byUUID[is.vg.UUID]; !is.gone && (was == nil || was.gone) {
			say("VG %s: new, with %d LVs", is.name, len(is.entries))
		}
	}
	if more := len(lines) - maxChanges; more > 0 {
		lines = append(lines[:maxChanges], fmt.Sprintf("%d more changes", more))
	}
	return lines
}

// lvDifferences are those between the LVs of one VG.
func lvDifferences(was, is *directory, lvs map[fileKey]*currentLV) (lines []string) {
	now, before := map[fileKey]string{}, map[fileKey]bool{}
	for _, e := range is.entries {
		now[e.file.key] = e.name
	}
	for _, e := range was.entries {
		before[e.file.key] = true
		name, shown := now[e.file.key]
		if !shown {
			lines = append(lines, fmt.Sprintf("LV %s/%s: gone", is.name, e.name))
			continue
		}
		var what []string
		if name != e.name {
			what = append(what, fmt.Sprintf("called %s/%s now", is.name, name))
		}
		if lv := e.file.lv.Load(); lv != nil {
			what = append(what, lv.differences(lvs[e.file.key])...)
		}
		if len(what) > 0 {
			lines = append(lines, fmt.Sprintf("LV %s/%s: %s", is.name, e.name, strings.Join(what, "; ")))
		}
	}
	for _, e := range is.entries {
		if !before[e.file.key] {
			lines = append(lines, fmt.Sprintf("LV %s/%s: new, %d bytes", is.name, e.name, lvs[e.file.key].DeviceSize()))
		}
	}
	return lines
}

// differences are phrases for what is otherwise in another reading of an LV.
func (c *currentLV) differences(is *currentLV) (phrases []string) {
	if size := is.DeviceSize(); size != c.DeviceSize() {
		phrases = append(phrases, fmt.Sprintf("%d bytes, before %d", size, c.DeviceSize()))
	}
	switch {
	case is.Partial() && !c.Partial():
		phrases = append(phrases, "a part of it is missing now")
	case c.Partial() && !is.Partial():
		phrases = append(phrases, "whole now")
	case !c.InPlacesOf(is.LV) || !slices.Equal(c.Devices(), is.Devices()):
		phrases = append(phrases, "mapped otherwise")
	}
	// For a stateful LV that takes a look at the disks, which are no longer what they were.
	if !c.Stateful() && !is.Stateful() {
		switch writable := is.readOnly() == nil; {
		case writable && c.readOnly() != nil:
			phrases = append(phrases, "can be written now")
		case !writable && c.readOnly() == nil:
			phrases = append(phrases, "read-only now")
		}
	}
	return phrases
}
