package vdisk

import (
	"fmt"
	"sort"
	"strings"

	"lvm2fs/mapping"
)

// VMDK. A descriptor, a file of its own or a part of the only one, lists the extents that
// make up the disk one after the other.
type vmdk struct {
	extents []vmdkExtent
	bytes   int64

	dev       mapping.Device // with the descriptor
	text      []byte         // the descriptor
	textPlace int64          // bytes from the start of the file
	tracked   bool           // another file says what was changed
}

type vmdkExtent struct {
	start, length int64 // bytes of the disk
	layout        layout
	readOnly      bool
}

// openSparseVMDK opens a disk of one sparse extent, which holds its descriptor.
func openSparseVMDK(o *opening) (layout, error) {
	extent, err := openSparse(o.dev)
	if err != nil {
		return nil, err
	}
	text, err := extent.descriptor()
	if err != nil {
		return nil, err
	}
	if text == nil {
		return nil, unsupported("one of the extents of a disk, without the descriptor, which is to be given instead")
	}
	d, err := parseDescriptor(text)
	if err != nil {
		return nil, err
	}
	if len(d.extents) != 1 {
		return nil, unsupported("%d extents described in one of them", len(d.extents))
	}
	if extent.beneath, err = d.openParent(o); err != nil {
		return nil, err
	}
	n := extent.size()
	return &vmdk{
		extents: []vmdkExtent{{0, n, extent, d.extents[0].readOnly}}, bytes: n,
		dev: o.dev, text: text, textPlace: extent.textPlace, tracked: d.tracked,
	}, nil
}

// openDescribedVMDK opens a disk whose descriptor is a file of its own.
func openDescribedVMDK(o *opening) (layout, error) {
	if o.dev.Size() > vmdkMaxDescriptor {
		return nil, damaged("a descriptor of %d bytes", o.dev.Size())
	}
	text := make([]byte, o.dev.Size())
	if _, err := mapping.ReadFull(o.dev, text, 0); err != nil {
		return nil, err
	}
	d, err := parseDescriptor(text)
	if err != nil {
		return nil, err
	}
	parent, err := d.openParent(o)
	if err != nil {
		return nil, err
	}
	v := &vmdk{dev: o.dev, text: text, tracked: d.tracked}
	for _, e := range d.extents {
		l, err := e.open(o, parent, v.bytes)
		if err != nil {
			return nil, fmt.Errorf("extent %q: %w", e.file, err)
		}
		v.extents = append(v.extents, vmdkExtent{v.bytes, e.sectors * 512, l, e.readOnly})
		v.bytes += e.sectors * 512
	}
	return v, nil
}

// open opens an extent, which begins at start of the disk.
func (e *extentLine) open(o *opening, parent mapping.Volume, start int64) (layout, error) {
	length := e.sectors * 512
	switch e.kind {
	case "ZERO":
		return zeros(length), nil
	case "FLAT", "VMFS":
		dev, err := o.file(e.file)
		if err != nil {
			return nil, err
		}
		return flat{dev, e.offset * 512, length}, nil
	case "SPARSE":
		dev, err := o.file(e.file)
		if err != nil {
			return nil, err
		}
		s, err := openSparse(dev)
		if err != nil {
			return nil, err
		}
		if s.size() < length {
			return nil, damaged("it holds %d bytes and is to hold %d", s.size(), length)
		}
		s.beneath, s.from = parent, start
		return s, nil
	}
	return nil, unsupported("extents of type %s", e.kind)
}

func (v *vmdk) size() int64   { return v.bytes }
func (v *vmdk) sector() int64 { return 512 }

// at returns the extent that holds the byte at off.
func (v *vmdk) at(off int64) vmdkExtent {
	return v.extents[sort.Search(len(v.extents), func(i int) bool { return v.extents[i].start > off })-1]
}

func (v *vmdk) Map(off, max int64) (mapping.Extent, error) {
	e := v.at(off)
	return e.layout.Map(off-e.start, min(max, e.start+e.length-off))
}

func (v *vmdk) compute(p []byte, off int64) error {
	for len(p) > 0 {
		e := v.at(off)
		n := min(int64(len(p)), e.start+e.length-off)
		if err := e.layout.compute(p[:n], off-e.start); err != nil {
			return err
		}
		p, off = p[n:], off+n
	}
	return nil
}

// flat is bytes of a file as they are.
type flat struct {
	dev            mapping.Device
	offset, length int64
}

func (f flat) size() int64                 { return f.length }
func (f flat) sector() int64               { return 512 }
func (f flat) compute([]byte, int64) error { return damaged("nothing in it is computed") }

func (f flat) Map(off, max int64) (mapping.Extent, error) {
	return mapping.Extent{Kind: mapping.Data, Length: min(max, f.length-off), Device: f.dev, Offset: f.offset + off}, nil
}

// zeros is an extent without a file.
type zeros int64

func (z zeros) size() int64                 { return int64(z) }
func (z zeros) sector() int64               { return 512 }
func (z zeros) compute([]byte, int64) error { return damaged("nothing in it is computed") }

func (z zeros) Map(off, max int64) (mapping.Extent, error) {
	return mapping.Extent{Kind: mapping.Zero, Length: min(max, int64(z)-off)}, nil
}

// openParent opens the disk that this one is an overlay of, nil if there is none. Both name
// its state by a number that changes with it.
func (d *descriptor) openParent(o *opening) (mapping.Volume, error) {
	const none = "ffffffff"
	if d.parentCID == "" || strings.EqualFold(d.parentCID, none) {
		o.based = true
		return nil, nil
	}
	dev, err := o.base(d.parentFile)
	if err != nil {
		return nil, err
	}
	parent, err := o.lay(dev, d.parentFile, "VMDK")
	if err != nil {
		return nil, err
	}
	cid, err := contentID(dev)
	if err != nil {
		return nil, err
	}
	if !strings.EqualFold(cid, d.parentCID) {
		return nil, damaged("the disk beneath it, %s, was changed: it is %s, and was %s", dev.Name(), cid, d.parentCID)
	}
	return parent, nil
}

// contentID returns the CID of the VMDK image on dev.
func contentID(dev mapping.Device) (string, error) {
	var text []byte
	described, err := startsWith("# Disk DescriptorFile")(dev)
	if err != nil {
		return "", err
	}
	if described {
		text = make([]byte, min(dev.Size(), vmdkMaxDescriptor))
		_, err = mapping.ReadFull(dev, text, 0)
	} else {
		var s *sparse
		if s, err = openSparse(dev); err == nil {
			text, err = s.descriptor()
		}
	}
	if err != nil {
		return "", err
	}
	d, err := parseDescriptor(text)
	if err != nil {
		return "", err
	}
	return d.cid, nil
}
