package cli

import (
	"slices"
	"strconv"
	"strings"

	"lvm2fs/mapping"
)

// offset is one --offset.
type offset struct {
	arg    string
	device string // what list --tree calls it, or the path of one that was given; "" for each that was
	bytes  int64
	used   bool // there is such a device
}

// parseOffsets takes [DEVICE=]BYTES apart. A DEVICE may have a = in its name.
func parseOffsets(args []string) ([]*offset, error) {
	var all []*offset
	for _, arg := range args {
		o := &offset{arg: arg}
		number := arg
		if i := strings.LastIndexByte(arg, '='); i >= 0 {
			o.device, number = arg[:i], arg[i+1:]
		}
		var err error
		if o.bytes, err = strconv.ParseInt(number, 10, 64); err != nil || o.bytes < 0 {
			return nil, usagef("--offset %s: %q is not a number of bytes", arg, number)
		}
		all = append(all, o)
	}
	return all, nil
}

// offset is where a PV begins on a device by the word of the user; see [probe.Options]. What names the device
// counts before what is for each, and the last before the others.
func (s *session) offset(dev mapping.Device, disk bool) (off int64, ok bool) {
	for _, o := range slices.Backward(s.offsets) {
		if o.device != "" && (dev.Name() == o.device || disk && liesOn(dev, o.device)) {
			o.used = true
			return o.bytes, true
		}
	}
	for _, o := range slices.Backward(s.offsets) {
		if o.device == "" && disk {
			o.used = true
			return o.bytes, true
		}
	}
	return 0, false
}
