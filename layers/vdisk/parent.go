package vdisk

import (
	"encoding/binary"
	"fmt"
	"net/url"
	"path"
	"slices"
	"strings"
	"unicode/utf16"

	"lvm2fs/mapping"
)

// parentNames are what an image says that the one beneath it is called. Windows writes most of them, and
// images are moved.
type parentNames struct {
	said    []string // paths, in the order in which they are to be tried
	guessed []string // the last components of these, for a file that was moved beside the image
}

// add takes over a path as Windows or Unix have it.
func (n *parentNames) add(name string) {
	if name == "" {
		return
	}
	slashed := strings.ReplaceAll(name, `\`, "/")
	base := path.Base(slashed)
	drive, _, hasDrive := strings.Cut(slashed, ":")
	switch {
	case strings.HasPrefix(name, "/"):
		n.said = append(n.said, name)
	case strings.HasPrefix(slashed, "/"), hasDrive && len(drive) == 1:
		// Only Windows knows where that is.
	default:
		// A path that begins so is none in the manner of "nbd:".
		n.said = append(n.said, "./"+slashed)
	}
	if base != "." && base != ".." && base != "/" {
		n.guessed = append(n.guessed, "./"+base)
	}
}

// addURL takes over "file://./name" or "file:///directory/name".
func (n *parentNames) addURL(name string) {
	name = strings.TrimPrefix(name, "file://")
	name = strings.TrimPrefix(name, "localhost")
	if plain, err := url.PathUnescape(name); err == nil {
		name = plain
	}
	n.add(name)
}

// all are the names said, and then those guessed.
func (n *parentNames) all() []string { return slices.Concat(n.said, n.guessed) }

// parent opens the image that this one is an overlay of: the first of the files that go by these names and
// of which is says nothing against it. A file is asked before what it names in turn is opened, so that an image
// cannot make many others be opened.
func (o *opening) parent(names []string, format string, is func(mapping.Device) error) (mapping.Volume, error) {
	if err := o.deeper(); err != nil {
		return nil, err
	}
	var failed error
	tried := map[string]bool{}
	for _, name := range names {
		if clean := path.Clean(name); tried[clean] {
			continue
		} else {
			tried[clean] = true
		}
		dev, err := o.file(name)
		if err == nil {
			if err = is(dev); err == nil {
				o.based = true
				return o.lay(dev, name, format)
			}
			o.files = slices.DeleteFunc(o.files, func(f mapping.Device) bool { return f == dev })
			_ = closeAll([]mapping.Device{dev})
		}
		if failed == nil {
			failed = err
		} else {
			failed = fmt.Errorf("%w; %w", failed, err)
		}
	}
	if failed == nil {
		return nil, damaged("it lies over another image, and does not name a file that could be that")
	}
	return nil, fmt.Errorf("the image that it lies over: %w", failed)
}

// decodeUTF16 decodes a text that a NUL ends. usual is the order of its bytes if the first character does not
// tell: specifications have one order, and programs have written the other.
func decodeUTF16(b []byte, usual binary.ByteOrder) string {
	order := usual
	if len(b) >= 2 {
		switch {
		case b[0] == 0 && b[1] != 0, b[0] == 0xfe && b[1] == 0xff:
			order = binary.BigEndian
		case b[0] != 0 && b[1] == 0, b[0] == 0xff && b[1] == 0xfe:
			order = binary.LittleEndian
		}
	}
	var units []uint16
	for ; len(b) >= 2; b = b[2:] {
		u := order.Uint16(b)
		if u == 0 {
			break
		}
		units = append(units, u)
	}
	return strings.TrimPrefix(string(utf16.Decode(units)), "\ufeff")
}
