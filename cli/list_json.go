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
	"lvm2fs/lvm2"
)

// row is a row of one of lvm's reports: its fields in lvm's order, without those that are
// empty.
type row []field

type field struct {
	name string
	text string // as lvm prints it; "" for a size
	size int64  // bytes
}

// text adds a field, unless it is empty.
func (r *row) text(name, value string) {
	if value != "" {
		*r = append(*r, field{name: name, text: value})
	}
}

// flag adds a field whose value says that it is set.
func (r *row) flag(name, value string, set bool) {
	if set {
		r.text(name, value)
	}
}

// list adds a field of several values.
func (r *row) list(name string, values []string) { r.text(name, strings.Join(values, ",")) }

// number adds a count.
func (r *row) number(name string, n uint64) { r.text(name, strconv.FormatUint(n, 10)) }

// count is number for what is counted here.
func (r *row) count(name string, n int) { r.number(name, uint64(n)) }

// size adds a number of bytes, one that lvm would show in any unit asked for.
func (r *row) size(name string, bytes int64) { *r = append(*r, field{name: name, size: bytes}) }

// sizeUnlessZero is size where 0 means that there is none.
func (r *row) sizeUnlessZero(name string, bytes int64) {
	if bytes != 0 {
		r.size(name, bytes)
	}
}

// writeJSON writes the listing as lvm's fullreport does, but all VGs in one report. If columns are chosen, the
// reports have those of them that they know, and one that knows none has no rows.
func (l *listing) writeJSON(w *bufio.Writer, chosen []string) error {
	w.WriteString("{\n  \"report\": [\n    {\n")
	writeRows(w, "vg", l.vgs, vgRow, chosen, ",")
	writeRows(w, "pv", l.pvs, l.pvRow, chosen, ",")
	writeRows(w, "lv", l.lvs, l.lvRow, chosen, ",")
	var segments []*lvm2.Segment
	for _, lv := range l.lvs {
		segments = append(segments, lv.Segments...)
	}
	writeRows(w, "seg", segments, segmentRow, chosen, "")
	w.WriteString("    }\n  ]\n}\n")
	return nil
}

func writeRows[T any](w *bufio.Writer, name string, items []T, toRow func(T) row, chosen []string, after string) {
	if chosen != nil && !slices.ContainsFunc(chosen, reportOf(name).has) {
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
			r = slices.DeleteFunc(r, func(f field) bool { return !slices.Contains(chosen, f.name) })
		}
		r.write(w)
	}
	if len(items) > 0 {
		w.WriteString("\n      ")
	}
	w.WriteString("]" + after + "\n")
}

func (r row) write(w *bufio.Writer) {
	w.WriteByte('{')
	for i, f := range r {
		if i > 0 {
			w.WriteString(", ")
		}
		w.WriteString(jsonString(f.name))
		w.WriteString(": ")
		if f.text != "" {
			w.WriteString(jsonString(f.text))
		} else {
			w.WriteString(strconv.FormatInt(f.size, 10))
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
