package md

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	"lvm2fs/mapping"
	"lvm2fs/raid"
)

// ErrDamaged is wrapped by the error of a superblock that is there but cannot be believed.
var ErrDamaged = errors.New("superblock damaged")

// ErrUnsupported is wrapped by the error of an array with features that are unknown here.
var ErrUnsupported = errors.New("unsupported")

// All is an offset beyond every other: of a member or array that is wholly in sync.
const All = raid.All

const (
	magic  = 0xa92b4efc
	sector = 512

	// maxDisks is more than any array has.
	maxDisks = raid.MaxLegs
)

// Level is the level of an array, by MD's number.
type Level int

// Linear is the level of members one after the other. The others are those of package raid.
const Linear Level = -1

func (l Level) String() string {
	switch l {
	case Linear:
		return "linear"
	case -4:
		return "multipath"
	case -5:
		return "faulty"
	}
	return raid.Level(l).String()
}

// Role is what a disk is for an array: the number of its place in it, or one of the below.
type Role int

// The roles of disks that hold no place in the array.
const (
	Spare   Role = -1
	Faulty  Role = -2 // or removed
	Journal Role = -3
)

func (r Role) String() string {
	switch r {
	case Spare:
		return "spare"
	case Faulty:
		return "faulty"
	case Journal:
		return "journal"
	}
	return fmt.Sprintf("member %d", int(r))
}

// UUID is that of an array or a member.
type UUID [16]byte

// String is as mdadm prints it.
func (u UUID) String() string { return fmt.Sprintf("%x:%x:%x:%x", u[:4], u[4:8], u[8:12], u[12:]) }

// Geometry is how a superblock describes the layout of an array.
type Geometry struct {
	Level  Level
	Layout uint32
	Chunk  int64
	Disks  int
}

// Superblock is what a member says of its array and of itself.
type Superblock struct {
	Version string // "0.90", "1.0", "1.1", "1.2"
	Offset  int64  // of the superblock, on the member

	// Of the array.
	Array    UUID
	Name     string // "" for 0.90
	Created  uint64 // when, in the form of the version; nothing but a means to tell arrays apart
	Geometry Geometry
	Size     int64 // used on each member; of no meaning for linear and raid0
	Events   uint64
	Resync   int64  // copies and parity are in sync below; All for an array that was stopped in order
	Roles    []Role // of all disks, by their number
	Reshape  *Reshape

	// Of this member.
	Number      int // of the disk, for good
	Role        Role
	UUID        UUID
	DataOffset  int64
	DataSize    int64
	Recovery    int64 // the member's data is in sync below, from DataOffset; All if it is whole
	Replacement bool  // for a member that is still there
	WriteMostly bool
	Bitmap      int64 // offset on the member; 0 for none
	bitmapUUID  [16]byte
	badBlocks   badBlockList

	features   uint32 // of 1.x
	bigEndian  bool   // of 0.90
	journal    bool   // with a journal, which may hold what the members do not
	layoutTold bool   // the layout of raid0 means something

	sum [sha256.Size]byte
}

// Reshape is a change of geometry that is under way; Superblock.Geometry is the old one.
type Reshape struct {
	To        Geometry
	Position  int64 // of the array
	Backwards bool
	NewOffset int64 // what the data offset changes by
}

// Set tells the members of one array: they have the same.
type Set struct {
	Array UUID
	Major byte
}

// Set is the array that the member belongs to.
func (s *Superblock) Set() Set { return Set{s.Array, s.Version[0]} }

// ArrayName is what messages call the array.
func (s *Superblock) ArrayName() string {
	if s.Name == "" || strings.ContainsFunc(s.Name, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "MD array " + s.Array.String()
	}
	return "MD array " + s.Name
}

// Fingerprint is equal for two readings of a superblock if it has not changed in between.
func (s *Superblock) Fingerprint() [sha256.Size]byte { return s.sum }

// String says what the member is.
func (s *Superblock) String() string {
	return fmt.Sprintf("%s of %s (%v, superblock %s)", s.Role, s.ArrayName(), s.Geometry.Level, s.Version)
}

// Covers says whether off, on the member, belongs to what the array keeps there.
func (s *Superblock) Covers(off int64) bool {
	return off >= s.DataOffset && off-s.DataOffset < s.DataSize
}

// Find reads the superblock that makes a member of a device of size bytes. It returns nil where there
// is none. The error wraps ErrDamaged or ErrUnsupported, or is that of r.
//
// A superblock at the end shows on the device as well when it belongs to what lies in a partition, or in
// a PV at the device's start: whether one at the end counts is for the caller to find out.
func Find(r io.ReaderAt, size int64) (*Superblock, error) {
	var starts, ends []*Superblock
	var failures []error
	for _, p := range places {
		s, err := p.read(r, p.offset(size/sector), size)
		switch {
		case err != nil:
			failures = append(failures, err)
		case s == nil:
		case p.atEnd:
			ends = append(ends, s)
		default:
			starts = append(starts, s)
		}
	}
	switch {
	case len(starts) > 1 || len(ends) > 1:
		all := slices.Concat(starts, ends)
		return nil, fmt.Errorf("%w: there are two, of %s at byte %d and of %s at byte %d", ErrDamaged,
			all[0].ArrayName(), all[0].Offset, all[1].ArrayName(), all[1].Offset)
	case len(starts) == 1 && len(ends) == 1:
		// An array can be a member of another one, and then shows its superblock in the other
		// one's data.
		if starts[0].Covers(ends[0].Offset) {
			return starts[0], nil
		}
	case len(starts) == 1 && (len(failures) == 0 || starts[0].coversEnds(size)):
		return starts[0], nil
	}
	// What is at the start may be what counts, so nothing else does if it cannot be read.
	switch {
	case len(failures) > 0:
		return nil, failures[0]
	case len(ends) == 1:
		return ends[0], nil
	}
	return nil, nil
}

// coversEnds says whether all superblocks at the end of a device of size bytes belong to what the array keeps there.
func (s *Superblock) coversEnds(size int64) bool {
	for _, p := range places {
		if off := p.offset(size / sector); p.atEnd && off >= 0 && !s.Covers(off) {
			return false
		}
	}
	return true
}

// place is where a version has its superblock.
type place struct {
	version string
	atEnd   bool
	offset  func(sectors int64) int64
	decode  func(b []byte, version string, off, size int64) (*Superblock, error)
	put     func(b []byte, s state)
	fail    func(b []byte, places []int)
	align   func(b, newest []byte)
	marked  func(b []byte) bool
	claim   func(b []byte) Claim
}

const superSize = 4096 // of all versions, at most

var places = []place{
	{"1.1", false, func(int64) int64 { return 0 }, decode1, put1, fail1, align1, marked1, claim1},
	{"1.2", false, func(int64) int64 { return 8 * sector }, decode1, put1, fail1, align1, marked1, claim1},
	{"1.0", true, func(n int64) int64 { return (n - 16) &^ 7 * sector }, decode1, put1, fail1, align1, marked1, claim1},
	{"0.90", true, func(n int64) int64 { return (n&^127 - 128) * sector }, decode090, put090, fail090, align090, marked090, claim090},
}

// read returns nil where there is no superblock.
func (p place) read(r io.ReaderAt, off, size int64) (*Superblock, error) {
	if off < 0 || off > size-superSize {
		return nil, nil
	}
	b := make([]byte, superSize)
	if _, err := mapping.ReadFull(r, b, off); err != nil {
		return nil, fmt.Errorf("superblock %s at byte %d: %w", p.version, off, err)
	}
	return p.parse(b, off, size)
}

// parse is the superblock that b holds, of which there is none if b lacks its mark.
func (p place) parse(b []byte, off, size int64) (*Superblock, error) {
	if !p.marked(b) {
		return nil, nil
	}
	s, err := p.decode(b, p.version, off, size)
	if err != nil {
		err = fmt.Errorf("superblock %s at byte %d: %w", p.version, off, err)
		if errors.Is(err, ErrDamaged) {
			err = &DamagedError{p.claim(b), err}
		}
		return nil, err
	}
	if s != nil {
		s.sum = sha256.Sum256(b)
	}
	return s, nil
}

// fields turns sectors into bytes, and keeps the first thing that makes no sense.
type fields struct{ err error }

func (f *fields) damaged(format string, args ...any) {
	if f.err == nil {
		f.err = fmt.Errorf("%w: "+format, append([]any{ErrDamaged}, args...)...)
	}
}

// bytes is n sectors, of what name says.
func (f *fields) bytes(name string, n uint64) int64 {
	if n > math.MaxInt64/sector/(maxDisks+1) { // so that even all members together can be counted
		f.damaged("%s is %d sectors", name, n)
		return 0
	}
	return int64(n) * sector
}

// offset is n sectors, of which all ones mean the end of everything.
func (f *fields) offset(name string, n uint64) int64 {
	if n == math.MaxUint64 {
		return All
	}
	return f.bytes(name, n)
}

// at is the place n sectors from the superblock.
func (f *fields) at(name string, super int64, n int32, size int64) int64 {
	off := super + int64(n)*sector
	if off < 0 || off >= size {
		f.damaged("%s would be at byte %d", name, off)
		return 0
	}
	return off
}

func (f *fields) disks(n int64) int {
	if n < 1 || n > maxDisks {
		f.damaged("array of %d disks", n)
		return 1
	}
	return int(n)
}

// data checks that what the array keeps on the member fits it.
func (f *fields) data(s *Superblock, size int64) {
	if s.DataOffset > size {
		f.damaged("data begins at byte %d of %d", s.DataOffset, size)
	}
	s.Size = min(s.Size, math.MaxInt64/sector)
}
