package vdisk

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"

	"lvm2fs/mapping"
)

// A VMDK disk is written extent by extent. Before the first change of each claim its content ID is made another one:
// what was laid over the disk knows by that that it no longer fits.

// vmdkPart is an extent that can be written.
type vmdkPart interface {
	layout
	readOnly() error
	file() mapping.Device
	start() error
	begin() error
	inPlace(off, max int64) (mapping.Extent, bool, error)
	assign(p []byte, off int64) (int64, error)
	unmap(off, n int64) (int64, error)
	pending() int
	commit() error
	finish() error
}

func (v *vmdk) readOnly() error {
	if v.tracked {
		return unsupported("writing to a VMDK disk whose changes are tracked (changeTrackPath): what the tracking says would be wrong")
	}
	if at, n := cidPlace(v.text); n == 0 || at/sectorSize != (at+n-1)/sectorSize {
		return unsupported("writing to a VMDK disk whose descriptor has no content ID of 32 bits")
	}
	for i, e := range v.extents {
		p, ok := e.layout.(vmdkPart)
		switch {
		case !ok:
			return unsupported("writing to a VMDK disk with an extent of zeros that has no file")
		case e.readOnly:
			return unsupported("writing to an extent of a VMDK disk that its descriptor calls read-only")
		case slices.ContainsFunc(v.extents[:i], func(o vmdkExtent) bool { return mapping.Same(o.layout.(vmdkPart).file(), p.file()) }):
			return unsupported("writing to a VMDK disk with two extents in %s", p.file().Name())
		}
		if err := p.readOnly(); err != nil {
			return err
		}
	}
	return nil
}

// cidPlace is where in a descriptor the digits of the content ID are, and how many: 0 if they are not as they should be.
func cidPlace(text []byte) (at, digits int) {
	for line := range bytes.Lines(text) {
		key, value, ok := strings.Cut(string(line), "=")
		if ok && strings.EqualFold(strings.TrimSpace(key), "cid") {
			value := strings.TrimSpace(value)
			if _, err := strconv.ParseUint(value, 16, 32); err != nil {
				return 0, 0
			}
			return at + len(key) + bytes.Index(line[len(key):], []byte(value)), len(value)
		}
		at += len(line)
	}
	return 0, 0
}

// newCID is another content ID of as many digits.
func newCID(old string) string {
	for {
		// The first digit is none of those of the IDs that stand for no parent.
		id := strconv.FormatUint(uint64(1+rand.IntN(14)), 16)
		for len(id) < len(old) {
			id += strconv.FormatUint(rand.Uint64N(16), 16)
		}
		if id != strings.ToLower(old) {
			return id
		}
	}
}

func (v *vmdk) files() []mapping.Device {
	all := []mapping.Device{v.dev}
	for _, p := range v.parts() {
		if !slices.Contains(all, p.file()) {
			all = append(all, p.file())
		}
	}
	return all
}

// parts are the extents, if all can be written.
func (v *vmdk) parts() (all []vmdkPart) {
	for _, e := range v.extents {
		if p, ok := e.layout.(vmdkPart); ok {
			all = append(all, p)
		}
	}
	return all
}

func (v *vmdk) each(do func(p vmdkPart) error) error {
	for _, p := range v.parts() {
		if err := do(p); err != nil {
			return fmt.Errorf("%s: %w", p.file().Name(), err)
		}
	}
	return nil
}

func (v *vmdk) start() error {
	now := make([]byte, len(v.text))
	if _, err := mapping.ReadFull(v.dev, now, v.textPlace); err != nil {
		return err
	}
	if !bytes.Equal(now, v.text) {
		return ErrChanged
	}
	return v.each(vmdkPart.start)
}

// begin marks the extents as open, and the contents as others than they were.
func (v *vmdk) begin() error {
	if err := v.each(vmdkPart.begin); err != nil {
		return err
	}
	at, n := cidPlace(v.text)
	text := bytes.Clone(v.text)
	copy(text[at:], newCID(string(text[at:at+n])))
	t := newTable(v.dev, nil)
	if err := t.write(text[at:at+n], v.textPlace+int64(at)); err != nil {
		return err
	}
	v.text = text
	return t.sync()
}

// part is the extent with the byte at off, where that is in it, and how many of n bytes it has.
func (v *vmdk) part(off, n int64) (p vmdkPart, in, length int64) {
	e := v.at(off)
	return e.layout.(vmdkPart), off - e.start, min(n, e.start+e.length-off)
}

func (v *vmdk) inPlace(off, max int64) (mapping.Extent, bool, error) {
	p, in, n := v.part(off, max)
	return p.inPlace(in, n)
}

func (v *vmdk) assign(b []byte, off int64) (int64, error) {
	p, in, n := v.part(off, int64(len(b)))
	return p.assign(b[:n], in)
}

func (v *vmdk) unmap(off, n int64) (int64, error) {
	p, in, n := v.part(off, n)
	return p.unmap(in, n)
}

func (v *vmdk) pending() (n int) {
	for _, p := range v.parts() {
		n += p.pending()
	}
	return n
}

func (v *vmdk) commit() error { return v.each(vmdkPart.commit) }
func (v *vmdk) finish() error { return v.each(vmdkPart.finish) }

func (f flat) readOnly() error      { return nil }
func (f flat) file() mapping.Device { return f.dev }
func (f flat) start() error         { return nil }
func (f flat) begin() error         { return nil }
func (f flat) pending() int         { return 0 }
func (f flat) commit() error        { return newTable(f.dev, nil).sync() }
func (f flat) finish() error        { return nil }

func (f flat) inPlace(off, max int64) (mapping.Extent, bool, error) {
	return inOwnFile(f, f.dev, off, max)
}

func (f flat) assign(_ []byte, off int64) (int64, error) { return 0, beyond(f.dev, f.offset+off) }
func (f flat) unmap(_, _ int64) (int64, error)           { return 0, nil }
