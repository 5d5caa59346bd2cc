package text

import (
	"fmt"
	"strconv"
	"strings"
)

// Pos is a place in the text, both counted from 1; columns are bytes.
type Pos struct{ Line, Column int }

func (p Pos) String() string { return fmt.Sprintf("line %d, column %d", p.Line, p.Column) }

// SyntaxError says where and why bytes are not metadata text. Parse returns it as
// *SyntaxError.
type SyntaxError struct {
	Pos Pos
	Msg string
}

func (e *SyntaxError) Error() string { return e.Pos.String() + ": " + e.Msg }

type tokenKind uint8

const (
	tokenEnd tokenKind = iota
	tokenPunct
	tokenWord
	tokenString
	tokenInt
	tokenFloat
)

type token struct {
	kind     tokenKind
	punct    byte // of tokenPunct: one of { } [ ] = ,
	overflow bool // of tokenInt: beyond 64 bits, num is the nearest that fits
	pos      Pos
	text     string // of strings without quotes and escapes, of all others as in the source
	num      int64  // of tokenInt
}

func (t token) is(punct byte) bool { return t.kind == tokenPunct && t.punct == punct }

func (t token) String() string {
	switch t.kind {
	case tokenEnd:
		return "the end of the text"
	case tokenString:
		return "a string"
	}
	const most = 40
	if len(t.text) > most {
		return strconv.Quote(t.text[:most]) + "..."
	}
	return strconv.Quote(t.text)
}

// The classes of bytes, for the places where a word ends.
// (docs/format/02-metadata-text.md, section 1)
const (
	space   = " \t\r\n\v\f"
	wordEnd = space + "#={}"
	punct   = "{}[]=,"
)

type classes [256]bool

func classOf(members string) (c classes) {
	for i := range len(members) {
		c[members[i]] = true
	}
	return c
}

var (
	isSpace    = classOf(space)
	endsWord   = classOf(wordEnd)
	isPunct    = classOf(punct)
	isDigit    = classOf("0123456789")
	endsNumber = classOf(space + "#,]}")
)

// lexer cuts the text into tokens. Texts of tokens share the source's memory.
type lexer struct {
	src       string
	at        int
	line      int
	lineStart int
}

func (l *lexer) pos() Pos { return Pos{l.line, l.at - l.lineStart + 1} }

func (l *lexer) newline() {
	l.line++
	l.lineStart = l.at + 1
}

// next reads the token after white space and comments. Whether a run of bytes may be
// a number depends on what comes before it, which the parser knows: an LV may be
// called 1.
func (l *lexer) next(valueWanted bool) (token, error) {
	l.skipSpace()
	t := token{pos: l.pos()}
	if l.at == len(l.src) {
		return t, nil
	}
	switch c := l.src[l.at]; {
	case isPunct[c]:
		t.kind, t.punct, t.text = tokenPunct, c, l.src[l.at:l.at+1]
		l.at++
		return t, nil
	case c == '"' || c == '\'':
		return l.quoted(t, c)
	case valueWanted && (isDigit[c] || c == '+' || c == '-' || c == '.'):
		return l.number(t)
	}
	start := l.at
	for l.at < len(l.src) && !endsWord[l.src[l.at]] {
		l.at++
	}
	t.kind, t.text = tokenWord, l.src[start:l.at]
	return t, nil
}

func (l *lexer) skipSpace() {
	for l.at < len(l.src) {
		switch c := l.src[l.at]; {
		case c == '\n':
			l.newline()
		case c == '#':
			end := strings.IndexByte(l.src[l.at:], '\n')
			if end < 0 {
				l.at = len(l.src)
				return
			}
			l.at += end
			continue
		case !isSpace[c]:
			return
		}
		l.at++
	}
}

// quoted reads a string. Only \" and \\ are escapes, and only in double quotes.
func (l *lexer) quoted(t token, quote byte) (token, error) {
	t.kind = tokenString
	l.at++
	start := l.at
	escapes := false
	for l.at < len(l.src) {
		switch c := l.src[l.at]; {
		case c == quote:
			t.text = l.src[start:l.at]
			l.at++
			if escapes {
				t.text = unescaper.Replace(t.text)
			}
			return t, nil
		case c == '\n':
			l.newline()
		case c == '\\' && quote == '"' && l.at+1 < len(l.src):
			escapes = true
			if l.src[l.at+1] != '\n' {
				l.at++
			}
		}
		l.at++
	}
	return t, &SyntaxError{t.pos, "a string without its closing quote"}
}

var unescaper = strings.NewReplacer(`\\`, `\`, `\"`, `"`)

// number reads an integer, octal with a leading 0, or a float.
func (l *lexer) number(t token) (token, error) {
	start := l.at
	if c := l.src[l.at]; c == '+' || c == '-' {
		l.at++
	}
	digits := l.at
	l.skipDigits()
	count := l.at - digits
	t.kind = tokenInt
	if l.at < len(l.src) && l.src[l.at] == '.' {
		t.kind = tokenFloat
		l.at++
		count += l.skipDigits()
	}
	t.text = l.src[start:l.at]
	if count == 0 || l.at < len(l.src) && !endsNumber[l.src[l.at]] {
		return t, &SyntaxError{t.pos, "a malformed number (a string needs quotes)"}
	}
	if t.kind == tokenFloat {
		return t, nil
	}
	base := 10
	if count > 1 && l.src[digits] == '0' {
		base = 8
	}
	num, err := strconv.ParseInt(t.text, base, 64)
	if err != nil {
		if base == 8 && strings.ContainsAny(t.text, "89") {
			return t, &SyntaxError{t.pos, "a number with a leading 0 is octal, and has no digit above 7"}
		}
		t.overflow = true
	}
	t.num = num
	return t, nil
}

func (l *lexer) skipDigits() int {
	start := l.at
	for l.at < len(l.src) && isDigit[l.src[l.at]] {
		l.at++
	}
	return l.at - start
}
