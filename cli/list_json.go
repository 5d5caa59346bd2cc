package cli

import (
	"bufio"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"

	fit "lvm2fs/internal/printable"
	"lvm2fs/lvm2/report"
)

// writeJSON writes the listing as lvm's fullreport does, but all VGs in one report. If columns are chosen, the
// reports have those of them that they know, and one that knows none has no rows.
func (l *listing) writeJSON(w *bufio.Writer, chosen []string) error {
	w.WriteString("{\n  \"report\": [\n    {\n")
	writeRows(w, "vg", l.vgs, report.VGRow, chosen, ",")
	writeRows(w, "pv", l.pvs, l.pvRow, chosen, ",")
	writeRows(w, "lv", l.lvs, l.rows.LVRow, chosen, ",")
	var segments []report.Segment
	for _, lv := range l.lvs {
		segments = append(segments, report.Segments(lv)...)
	}
	writeRows(w, "seg", segments, report.Segment.Row, chosen, "")
	w.WriteString("    }\n  ]\n}\n")
	return nil
}

func writeRows[T any](w *bufio.Writer, name string, items []T, toRow func(T) report.Row, chosen []string, after string) {
	if chosen != nil && !slices.ContainsFunc(chosen, report.Of(name).Has) {
		items = nil
	}
	fmt.Fprintf(w, "      %q: [", name)
	for i, item := range items {
		if i > 0 {
			w.WriteByte(',')
		}
		w.WriteString("\n        ")
		r := toRow(item)
		if chosen != nil {
			r = slices.DeleteFunc(r, func(f report.Field) bool { return !slices.Contains(chosen, f.Name) })
		}
		writeRow(w, r)
	}
	if len(items) > 0 {
		w.WriteString("\n      ")
	}
	w.WriteString("]" + after + "\n")
}

func writeRow(w *bufio.Writer, r report.Row) {
	w.WriteByte('{')
	for i, f := range r {
		if i > 0 {
			w.WriteString(", ")
		}
		w.WriteString(jsonString(f.Name))
		w.WriteString(": ")
		if f.Text != "" {
			w.WriteString(jsonString(f.Text))
		} else {
			w.WriteString(strconv.FormatInt(f.Size, 10))
		}
	}
	w.WriteByte('}')
}

// jsonString is s in JSON, in a form that does nothing to a terminal either.
func jsonString(s string) string {
	plain := true
	for i := 0; i < len(s) && plain; i++ {
		plain = ' ' <= s[i] && s[i] <= '~' && s[i] != '"' && s[i] != '\\'
	}
	if plain {
		return `"` + s + `"`
	}
	encoded, err := json.Marshal(fit.UTF8(s))
	if err != nil {
		panic(err) // a string has a JSON form
	}
	var b strings.Builder
	for _, r := range string(encoded) {
		switch {
		case unicode.IsPrint(r):
			b.WriteRune(r)
		case r < 0x10000:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			r -= 0x10000
			fmt.Fprintf(&b, `\u%04x\u%04x`, 0xd800+r>>10, 0xdc00+r&0x3ff)
		}
	}
	return b.String()
}
