package vdisk

import (
	"bytes"
	"strconv"
	"strings"
)

const (
	vmdkMaxDescriptor = 1 << 20
	vmdkMaxExtents    = 4096
	vmdkMaxSectors    = maxSize / 512
)

// descriptor is the text that describes a VMDK disk.
type descriptor struct {
	cid, parentCID string
	parentFile     string
	extents        []extentLine
	tracked        bool // another file says what was changed
}

// extentLine is a line such as
//
//	RW 4192256 SPARSE "disk-s001.vmdk"
//	RW 20480 FLAT "disk-flat.vmdk" 0
type extentLine struct {
	sectors  int64
	readOnly bool
	kind     string
	file     string
	offset   int64 // sectors from the start of the file, of FLAT
}

func parseDescriptor(text []byte) (*descriptor, error) {
	text, _, _ = bytes.Cut(text, []byte{0})
	d := &descriptor{}
	for number, line := range strings.Split(string(text), "\n") {
		line = strings.TrimSpace(line)
		switch word, _, _ := strings.Cut(line, " "); word {
		case "RW", "RDONLY", "NOACCESS":
			e, err := parseExtent(line)
			if err != nil {
				return nil, damaged("line %d of the descriptor, %q: %w", number+1, line, err)
			}
			if len(d.extents) == vmdkMaxExtents {
				return nil, damaged("more than %d extents", vmdkMaxExtents)
			}
			d.extents = append(d.extents, e)
			continue
		}
		key, value, _ := strings.Cut(line, "=")
		value = strings.Trim(strings.TrimSpace(value), `"`)
		switch strings.ToLower(strings.TrimSpace(key)) {
		case "cid":
			d.cid = value
		case "parentcid":
			d.parentCID = value
		case "parentfilenamehint":
			d.parentFile = value
		case "changetrackpath":
			d.tracked = true
		case "encoding":
			if value = strings.ToLower(value); value != "utf-8" && value != "windows-1252" {
				return nil, unsupported("a descriptor in %s", value)
			}
		}
	}
	if len(d.extents) == 0 {
		return nil, damaged("a descriptor without extents")
	}
	return d, nil
}

func parseExtent(line string) (e extentLine, err error) {
	before, rest, named := strings.Cut(line, `"`)
	fields := strings.Fields(before)
	if len(fields) != 3 {
		return e, strconv.ErrSyntax
	}
	e.kind, e.readOnly = fields[2], fields[0] != "RW"
	if e.sectors, err = strconv.ParseInt(fields[1], 10, 64); err != nil {
		return e, err
	}
	if e.sectors < 1 || e.sectors > vmdkMaxSectors/vmdkMaxExtents {
		return e, strconv.ErrRange
	}
	file, after, closed := strings.Cut(rest, `"`)
	if e.kind == "ZERO" && !named {
		return e, nil
	}
	if !closed || file == "" || fields[0] == "NOACCESS" {
		return e, strconv.ErrSyntax
	}
	e.file = file
	if after = strings.TrimSpace(after); after != "" {
		// VMFS and SPARSE extents may say more behind the offset.
		e.offset, err = strconv.ParseInt(strings.Fields(after)[0], 10, 64)
		if err == nil && (e.offset < 0 || e.offset > vmdkMaxSectors) {
			err = strconv.ErrRange
		}
	}
	return e, err
}
