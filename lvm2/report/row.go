package report

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"lvm2fs/lvm2"
	"lvm2fs/lvm2/metadata"
)

// Row is a row of one of lvm's reports: its fields in lvm's order, without those that are
// empty.
type Row []Field

// Field is one field of a row.
type Field struct {
	Name string
	Text string // as lvm prints it; "" for a size
	Size int64  // bytes
}

// text adds a field, unless it is empty.
func (r *Row) text(name, value string) {
	if value != "" {
		*r = append(*r, Field{Name: name, Text: value})
	}
}

// flag adds a field whose value says that it is set.
func (r *Row) flag(name, value string, set bool) {
	if set {
		r.text(name, value)
	}
}

// list adds a field of several values.
func (r *Row) list(name string, values []string) { r.text(name, strings.Join(values, ",")) }

// number adds a count.
func (r *Row) number(name string, n uint64) { r.text(name, strconv.FormatUint(n, 10)) }

// count is number for what is counted here.
func (r *Row) count(name string, n int) { r.number(name, uint64(n)) }

// size adds a number of bytes, one that lvm would show in any unit asked for.
func (r *Row) size(name string, bytes int64) { *r = append(*r, Field{Name: name, Size: bytes}) }

// sizeUnlessZero is size where 0 means that there is none.
func (r *Row) sizeUnlessZero(name string, bytes int64) {
	if bytes != 0 {
		r.size(name, bytes)
	}
}

// Value is the field as text, "" for none.
func (f Field) Value() string {
	if f.Name == "" || f.Text != "" {
		return f.Text
	}
	return fmt.Sprint(f.Size)
}

// PVName is what lvm calls a PV: by its device, or [unknown].
func PVName(pv *lvm2.PV) string {
	if pv.Device == nil {
		return "[unknown]"
	}
	return pv.Device.Name()
}

// LVName is what lvm calls an LV: in brackets if it is internal; "" for none.
func LVName(lv *metadata.LV) string {
	switch {
	case lv == nil:
		return ""
	case lv.Listed():
		return lv.Name
	}
	return "[" + lv.Name + "]"
}

func lvUUID(lv *metadata.LV) string {
	if lv == nil {
		return ""
	}
	return lv.UUID.String()
}

// Tags are tags as lvm lists them, each once.
func Tags(tags []string) string {
	return strings.Join(slices.Compact(slices.Sorted(slices.Values(tags))), ",")
}
