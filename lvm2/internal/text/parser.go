package text

import (
	"bytes"
	"fmt"
	"strings"
)

// Bounds on what is parsed. The largest VGs in use stay far below.
const (
	maxSize  = 64 << 20
	maxDepth = 16
	maxNodes = 4 << 20 // keys and list elements; 100 000 LVs have half of it
)

// Parse reads a metadata text up to its first NUL. What it returns stands for the top
// level and has the Key "". Time and memory are linear in the length of src, which is
// not kept. The error is a *SyntaxError.
// (docs/format/02-metadata-text.md, section 1)
func Parse(src []byte) (*Section, error) {
	if len(src) > maxSize {
		return nil, &SyntaxError{Pos{1, 1}, fmt.Sprintf("%d bytes of text, more than %d", len(src), maxSize)}
	}
	if end := bytes.IndexByte(src, 0); end >= 0 {
		src = src[:end]
	}
	top := &Section{Pos: Pos{1, 1}}
	p := parser{lexer: lexer{src: string(src), line: 1}}
	if err := p.nodes(top, 0); err != nil {
		return nil, err
	}
	return top, nil
}

type parser struct {
	lexer   lexer
	nodeNum int

	// Entries of all open sections and values of the open list wait here until
	// their number is known.
	openEntries []entry
	openValues  []Value
	entries     arena[entry]
	values      arena[Value]
}

// nodes reads what is between the braces of s, and the closing one.
func (p *parser) nodes(s *Section, depth int) error {
	base := len(p.openEntries)
	for {
		key, err := p.lexer.next(false)
		if err != nil {
			return err
		}
		if key.kind == tokenEnd && depth == 0 || key.is('}') && depth > 0 {
			break
		}
		e, err := p.node(s, key, depth)
		if err != nil {
			return err
		}
		p.openEntries = append(p.openEntries, e)
	}
	s.entries = p.entries.keep(p.openEntries[base:])
	p.openEntries = p.openEntries[:base]
	s.index()
	return nil
}

// node reads a key's section or value.
func (p *parser) node(parent *Section, key token, depth int) (entry, error) {
	if key.kind != tokenWord && key.kind != tokenString {
		want := "a key"
		if depth > 0 {
			want = `a key or "}"`
		}
		return entry{}, unexpected(key, want)
	}
	if strings.Contains(key.text, "/") {
		return entry{}, &SyntaxError{key.pos, fmt.Sprintf("the key %s contains a slash", key)}
	}
	e := entry{key: key.text, pos: key.pos}
	if err := p.count(key.pos); err != nil {
		return e, err
	}
	t, err := p.lexer.next(false)
	if err != nil {
		return e, err
	}
	switch {
	case t.is('{'):
		if depth == maxDepth {
			return e, &SyntaxError{t.pos, fmt.Sprintf("sections are nested deeper than %d", maxDepth)}
		}
		e.section = &Section{Key: e.key, Pos: e.pos, parent: parent}
		return e, p.nodes(e.section, depth+1)
	case t.is('='):
		e.values, err = p.value()
		return e, err
	}
	return e, unexpected(t, `"=" or "{"`)
}

// value reads a scalar or a list.
func (p *parser) value() ([]Value, error) {
	p.openValues = p.openValues[:0]
	t, err := p.lexer.next(true)
	if err != nil {
		return nil, err
	}
	if t.is('[') {
		err = p.list()
	} else {
		err = p.scalar(t, "a value")
	}
	return p.values.keep(p.openValues), err
}

// list reads up to the closing bracket. A comma may follow the last element, and may be
// left out before a string.
func (p *parser) list() error {
	comma := true // the next element has all that it needs before it
	for first := true; ; first = false {
		t, err := p.lexer.next(true)
		if err != nil {
			return err
		}
		switch {
		case t.is(']'):
			return nil
		case t.is(',') && !comma && !first:
			comma = true
			continue
		case !comma && t.kind != tokenString:
			return unexpected(t, `"," or "]"`)
		}
		if err := p.scalar(t, `a value or "]"`); err != nil {
			return err
		}
		comma = false
	}
}

func (p *parser) scalar(t token, want string) error {
	v := Value{Pos: t.pos, Str: t.text}
	switch t.kind {
	case tokenInt:
		v.Kind, v.Int, v.overflow = Int, t.num, t.overflow
	case tokenFloat:
		v.Kind = Float
	case tokenString:
		v.Kind = String
	case tokenWord:
		// By the rules a word may hold these, as in [a,b]. But then it would not be what it looks like.
		if strings.ContainsAny(t.text, "[],\"'") {
			return &SyntaxError{t.pos, fmt.Sprintf("the unquoted value %s is ambiguous", t)}
		}
		v.Kind = String
	default:
		return unexpected(t, want)
	}
	p.openValues = append(p.openValues, v)
	return p.count(t.pos)
}

func (p *parser) count(pos Pos) error {
	if p.nodeNum++; p.nodeNum > maxNodes {
		return &SyntaxError{pos, fmt.Sprintf("more than %d keys and values", maxNodes)}
	}
	return nil
}

func unexpected(t token, want string) error {
	return &SyntaxError{t.pos, fmt.Sprintf("unexpected %s, want %s", t, want)}
}

// arena hands out slices cut from larger allocations.
type arena[T any] struct{ free []T }

func (a *arena[T]) keep(items []T) []T {
	const chunk = 128
	n := len(items)
	if n > len(a.free) {
		if n >= chunk {
			return append([]T(nil), items...)
		}
		a.free = make([]T, chunk)
	}
	kept := a.free[:n:n]
	a.free = a.free[n:]
	copy(kept, items)
	return kept
}
