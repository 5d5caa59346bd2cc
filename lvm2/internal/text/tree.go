// Package text reads the text in which LVM2 describes a VG: keys with values and
// nested sections. It knows the grammar and nothing of what keys mean.
// (docs/format/02-metadata-text.md, section 1)
package text

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// ErrKey is wrapped by the error for a key that is missing, of the wrong type, or out
// of range.
var ErrKey = errors.New("invalid key")

// Kind is the type of a value.
type Kind uint8

const (
	Int Kind = iota
	Float
	String
)

func (k Kind) String() string {
	switch k {
	case Int:
		return "an integer"
	case Float:
		return "a float"
	case String:
		return "a string"
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// Value is a scalar, or an element of a list.
type Value struct {
	Pos      Pos
	Kind     Kind
	overflow bool
	Int      int64  // of Int; of one beyond 64 bits the nearest that fits
	Str      string // of String without quotes; of Int and Float as in the source
}

// Section is a section, or the top level of a text. It does not change after Parse, and
// is safe for concurrent use.
type Section struct {
	Key string
	Pos Pos // of the key

	parent   *Section
	entries  []entry
	sections []*Section
	places   map[string]int32 // in entries, the first of each key; nil where there are few
	repeats  []Repeat
}

// Repeat is a key that its section has had before. Look-up by the key finds the first. It is an error, for those who
// take it for one.
type Repeat struct {
	Key   string
	Pos   Pos
	First Pos

	in *Section
}

func (r Repeat) Error() string {
	return fmt.Sprintf("%s (%s) occurs twice, first at %s", r.in.path(r.Key), r.Pos, r.First)
}

// entry is a key with its section, or else its values.
type entry struct {
	key     string
	pos     Pos
	values  []Value
	section *Section
}

// few is the number of keys up to which trying one after the other is faster than a map.
const few = 16

// index prepares look-up once all entries are there.
func (s *Section) index() {
	if len(s.entries) > few {
		s.places = make(map[string]int32, len(s.entries))
	}
	for i := range s.entries {
		e := &s.entries[i]
		if e.section != nil {
			s.sections = append(s.sections, e.section)
		}
		var first *entry
		if s.places == nil {
			first = find(s.entries[:i], e.key)
		} else if place, ok := s.places[e.key]; ok {
			first = &s.entries[place]
		} else {
			s.places[e.key] = int32(i)
		}
		if first != nil {
			s.repeats = append(s.repeats, Repeat{e.key, e.pos, first.pos, s})
		}
	}
}

func find(entries []entry, key string) *entry {
	for i := range entries {
		if entries[i].key == key {
			return &entries[i]
		}
	}
	return nil
}

func (s *Section) entry(key string) *entry {
	if s.places == nil {
		return find(s.entries, key)
	}
	if place, ok := s.places[key]; ok {
		return &s.entries[place]
	}
	return nil
}

// Sections are the sections within s, in order, those of a repeated key too. The caller does not change
// the slice.
func (s *Section) Sections() []*Section { return s.sections }

// Repeats are the keys within s that have occurred before, in order. The caller does not change the slice.
func (s *Section) Repeats() []Repeat { return s.repeats }

// OnlyValues is s without the sections within it: a section does not hide the value of its name there.
func (s *Section) OnlyValues() *Section {
	values := &Section{Key: s.Key, Pos: s.Pos, parent: s.parent}
	for _, e := range s.entries {
		if e.section == nil {
			values.entries = append(values.entries, e)
		}
	}
	values.index()
	return values
}

// Section is the section of that name within s; nil if there is none.
func (s *Section) Section(key string) *Section {
	if e := s.entry(key); e != nil {
		return e.section
	}
	return nil
}

// Has says whether s has the key, be it a value or a section.
func (s *Section) Has(key string) bool { return s.entry(key) != nil }

// Lookup gives the values of a list; a scalar is like a list of one. It is false if there
// is no such key, or if it is a section. The caller does not change the slice.
func (s *Section) Lookup(key string) ([]Value, bool) {
	if e := s.entry(key); e != nil && e.section == nil {
		return e.values, true
	}
	return nil, false
}

// Str is the string at a key that must be there.
func (s *Section) Str(key string) (string, error) {
	v, err := s.one(key, String)
	if err == nil && v == nil {
		err = s.missing(key)
	}
	if err != nil {
		return "", err
	}
	return v.Str, nil
}

// OptStr is the string at a key; "" if there is none.
func (s *Section) OptStr(key string) (string, error) {
	v, err := s.one(key, String)
	if v == nil {
		return "", err
	}
	return v.Str, nil
}

// Uint is the integer from 0 to max at a key that must be there.
func (s *Section) Uint(key string, max uint64) (uint64, error) {
	if !s.Has(key) {
		return 0, s.missing(key)
	}
	return s.OptUint(key, 0, max)
}

// OptUint is the integer from 0 to max at a key; def if there is none.
func (s *Section) OptUint(key string, def, max uint64) (uint64, error) {
	v, err := s.one(key, Int)
	if v == nil {
		return def, err
	}
	if v.overflow || v.Int < 0 || uint64(v.Int) > max {
		return 0, s.invalid(key, v.Pos, "%s is not within 0 and %d", v.Str, max)
	}
	return uint64(v.Int), nil
}

// OptInt is the integer at a key; def if there is none.
func (s *Section) OptInt(key string, def int64) (int64, error) {
	v, err := s.one(key, Int)
	if v == nil {
		return def, err
	}
	if v.overflow {
		return 0, s.invalid(key, v.Pos, "%s does not fit 64 bits", v.Str)
	}
	return v.Int, nil
}

// Strs is the list of strings at a key; nil if there is none. A string is like a list
// of one.
func (s *Section) Strs(key string) ([]string, error) {
	e := s.entry(key)
	if e == nil {
		return nil, nil
	}
	if e.section != nil {
		return nil, s.invalid(key, e.pos, "want a list of strings, got a section")
	}
	strs := make([]string, 0, len(e.values))
	for _, v := range e.values {
		if v.Kind != String {
			return nil, s.invalid(key, v.Pos, "want a string, got %s", v.Kind)
		}
		strs = append(strs, v.Str)
	}
	return strs, nil
}

// one is the value at a key, of a list the first, as lvm2 takes it; nil without an error if there is no
// such key.
func (s *Section) one(key string, want Kind) (*Value, error) {
	e := s.entry(key)
	switch {
	case e == nil:
		return nil, nil
	case e.section != nil:
		return nil, s.invalid(key, e.pos, "want %s, got a section", want)
	case len(e.values) == 0:
		return nil, s.invalid(key, e.pos, "want %s, got an empty list", want)
	case e.values[0].Kind != want:
		return nil, s.invalid(key, e.values[0].Pos, "want %s, got %s", want, e.values[0].Kind)
	}
	return &e.values[0], nil
}

func (s *Section) missing(key string) error {
	return fmt.Errorf("%w %s: not in the section at %s", ErrKey, s.path(key), s.Pos)
}

func (s *Section) invalid(key string, pos Pos, format string, args ...any) error {
	return fmt.Errorf("%w %s (%s): %s", ErrKey, s.path(key), pos, fmt.Sprintf(format, args...))
}

// Errorf is fmt.Errorf with the path and the position of s in front.
func (s *Section) Errorf(format string, args ...any) error {
	err := fmt.Errorf(format, args...)
	if s.parent == nil {
		return err
	}
	return fmt.Errorf("%s (%s): %w", s.path(), s.Pos, err)
}

// path is the dotted path from the top level, of s or of keys beneath it.
func (s *Section) path(keys ...string) string {
	for at := s; at.parent != nil; at = at.parent {
		keys = append([]string{at.Key}, keys...)
	}
	for i, key := range keys {
		if key == "" || strings.ContainsAny(key, space+".\"'#={}") || strconv.Quote(key) != `"`+key+`"` {
			keys[i] = strconv.Quote(key)
		}
	}
	return strings.Join(keys, ".")
}

// Keys are the keys of s that have values, in order, each once.
func (s *Section) Keys() []string {
	var keys []string
	for i := range s.entries {
		e := &s.entries[i]
		if e.section == nil && (len(s.repeats) == 0 || s.entry(e.key) == e) {
			keys = append(keys, e.key)
		}
	}
	return keys
}
