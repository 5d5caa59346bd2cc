package vdisk

import (
	"bytes"
	"encoding/binary"
	"math"
	"time"

	"lvm2fs/mapping"
)

// The header of a differencing VHD says what it lies over, and what that is called. A raw disk has no ID.
//
//	locator  u32 platform | u32 room | u32 length in bytes | u32 | u64 place of a path in the file
const (
	vhdParentID   = 40 // 16, the ID in the parent's footer
	vhdParentTime = 56 // u32, seconds from 2000 on: when the parent's file was written last
	vhdParentName = 64 // UTF-16
	vhdNameSize   = 512

	vhdLocators      = 576
	vhdLocatorCount  = 8
	vhdLocatorSize   = 24
	vhdLocatorLength = 8  // u32
	vhdLocatorPlace  = 16 // u64

	// vhdTimeSlack is how far the times of a file and of what names it may lie apart. FAT keeps two seconds.
	vhdTimeSlack = 2 * time.Second
)

var vhdEpoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// vhdParent opens the disk beneath a differencing image, of which header is the header. Its ID says which it is;
// that it was not written since, only its file's time can tell.
func (o *opening) vhdParent(tables *table, header []byte) (mapping.Volume, error) {
	names, err := vhdParentNames(tables, header)
	if err != nil {
		return nil, err
	}
	id := [16]byte(header[vhdParentID:])
	if id == [16]byte{} {
		return o.parent(names.said, formatRaw, func(dev mapping.Device) error {
			footer, err := vhdFooter(dev)
			if err == nil && footer != nil {
				err = damaged("%s is a VHD image, and what lies beneath is to be a raw one: no ID is given", dev.Name())
			}
			return err
		})
	}
	return o.parent(names.all(), "VHD", func(dev mapping.Device) error {
		footer, err := vhdFooter(dev)
		switch {
		case err != nil:
			return err
		case footer == nil:
			return damaged("%s is no VHD image with a good checksum", dev.Name())
		case [16]byte(footer[vhdID:]) != id:
			return damaged("%s has the ID %x, and that of what lies beneath is %x", dev.Name(), footer[vhdID:][:16], id)
		}
		o.checkVHDTime(dev, binary.BigEndian.Uint32(header[vhdParentTime:]), binary.BigEndian.Uint32(footer[vhdMade:]))
		return nil
	})
}

// checkVHDTime warns if the file of the parent was not written last when it was by its child. A copy of a file
// has another time, too, and some programs give the time at which the parent was made.
func (o *opening) checkVHDTime(parent mapping.Device, said, made uint32) {
	written, want := mapping.ModTime(parent), vhdEpoch.Add(time.Duration(said)*time.Second)
	if said == 0 || said == made || written.IsZero() || written.Sub(want).Abs() <= vhdTimeSlack {
		return
	}
	o.warn("%s lies over %s as it was on %s, and that was written on %s: unless it is a copy, what is read is wrong",
		o.dev.Name(), parent.Name(), want.Format(time.DateTime), written.UTC().Format(time.DateTime))
}

// vhdParentNames reads what the parent is called, relative paths first.
func vhdParentNames(tables *table, header []byte) (*parentNames, error) {
	names := &parentNames{}
	for _, platform := range []string{"W2ru", "MacX", "W2ku"} {
		for i := range vhdLocatorCount {
			locator := header[vhdLocators+i*vhdLocatorSize:][:vhdLocatorSize]
			if string(locator[:4]) != platform {
				continue
			}
			length, place := binary.BigEndian.Uint32(locator[vhdLocatorLength:]), binary.BigEndian.Uint64(locator[vhdLocatorPlace:])
			if length > pageSize || place > math.MaxInt64/2 {
				return nil, damaged("the name of the image that it lies over: %d bytes at byte %d", length, place)
			}
			b, err := tables.at(int64(place), int64(length))
			if err != nil {
				return nil, err
			}
			if platform == "MacX" {
				names.addURL(string(bytes.TrimRight(b, "\x00")))
			} else {
				names.add(decodeUTF16(b, binary.LittleEndian))
			}
		}
	}
	names.add(decodeUTF16(header[vhdParentName:][:vhdNameSize], binary.BigEndian))
	return names, nil
}
