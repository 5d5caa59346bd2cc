package vdisk

import (
	"encoding/binary"
	"fmt"
	"strings"

	"lvm2fs/mapping"
)

// The parent locator of a differencing VHDX, an item of its metadata, is a list of texts in UTF-16, which says what
// the disk lies over and what that is called:
//
//	16 GUID of the kind | u16 | u16 count | entries | texts
//	entry  u32 place of the key in the item | u32 place of the value | u16 length of the key in bytes | u16 of the value
const (
	vhdxLocatorCount  = 18
	vhdxLocatorEntry  = 20 // the first of them
	vhdxLocatorLength = 12 // of one
	vhdxMaxTexts      = 64
)

// vhdxLocatorKind is the one kind of locator that there is.
var vhdxLocatorKind = guid("\xb7\xef\x4a\xb0\x9e\xd1\x81\x4a\xb7\x89\x25\xb8\xe9\x44\x59\x13")

// vhdxParent opens the disk beneath a differencing image. The header of that disk has a GUID that changes with what
// the disk holds.
func (o *opening) vhdxParent(locator []byte, sector int64) (mapping.Volume, error) {
	texts, err := vhdxLocatorTexts(locator)
	if err != nil {
		return nil, err
	}
	linked := texts["parent_linkage"]
	if linked == "" {
		return nil, damaged("it lies over another image, and does not say which state of it")
	}
	names := &parentNames{}
	for _, key := range []string{"relative_path", "volume_path", "absolute_win32_path"} {
		names.add(texts[key])
	}
	parent, err := o.parent(names.all(), "VHDX", func(dev mapping.Device) error {
		is, err := startsWith("vhdxfile")(dev)
		if err != nil {
			return err
		}
		if !is {
			return damaged("%s is no VHDX image", dev.Name())
		}
		header, _, err := vhdxCurrentHeader(dev)
		if err != nil {
			return fmt.Errorf("%s: %w", dev.Name(), err)
		}
		state := guidText(header[vhdxDataWrite:][:16])
		if !strings.EqualFold(state, linked) && !strings.EqualFold(state, texts["parent_linkage2"]) {
			return damaged("%s is another image or was changed: its state is %s, and that of what lies beneath is %s", dev.Name(), state, linked)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if m, ok := parent.(*image); ok && m.sector() != sector {
		return nil, damaged("sectors of %d bytes, over a disk with sectors of %d", sector, m.sector())
	}
	return parent, nil
}

// vhdxLocatorTexts decodes a parent locator.
func vhdxLocatorTexts(b []byte) (map[string]string, error) {
	if len(b) < vhdxLocatorEntry {
		return nil, damaged("it lies over another image, and names it in %d bytes", len(b))
	}
	if guid(b[:16]) != vhdxLocatorKind {
		return nil, unsupported("another image named in the manner of %s", guidText(b[:16]))
	}
	count := int(binary.LittleEndian.Uint16(b[vhdxLocatorCount:]))
	if count > vhdxMaxTexts || vhdxLocatorEntry+count*vhdxLocatorLength > len(b) {
		return nil, damaged("%d texts in a parent locator of %d bytes", count, len(b))
	}
	text := func(place uint32, length uint16) (string, error) {
		if int64(place)+int64(length) > int64(len(b)) || length%2 != 0 {
			return "", damaged("a text of %d bytes at byte %d of a parent locator of %d", length, place, len(b))
		}
		return decodeUTF16(b[place:][:length], binary.LittleEndian), nil
	}
	texts := map[string]string{}
	for i := range count {
		e := b[vhdxLocatorEntry+i*vhdxLocatorLength:][:vhdxLocatorLength]
		key, err := text(binary.LittleEndian.Uint32(e), binary.LittleEndian.Uint16(e[8:]))
		if err != nil {
			return nil, err
		}
		if _, twice := texts[key]; twice {
			return nil, damaged("the text %q twice in a parent locator", key)
		}
		if texts[key], err = text(binary.LittleEndian.Uint32(e[4:]), binary.LittleEndian.Uint16(e[10:])); err != nil {
			return nil, err
		}
	}
	return texts, nil
}

// guidText is how a GUID is written: its first three numbers are little-endian on disk.
func guidText(b []byte) string {
	return fmt.Sprintf("{%08x-%04x-%04x-%x-%x}", binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint16(b[4:]), binary.LittleEndian.Uint16(b[6:]), b[8:10], b[10:16])
}
