package cli

import "strings"

// bashWord is the word at the cursor of a line of bash.
type bashWord struct {
	plain string // without quotes
	kept  int    // bytes of plain before what readline replaces
	quote byte   // the quote that is open; 0 for none
}

// splitBash splits a line that ends at the cursor into the plain words before the cursor and the word at
// it, which may be empty. breaks are the characters of COMP_WORDBREAKS: readline replaces what follows the
// last of them in a word, or what follows an open quote. Nothing is expanded.
func splitBash(line, breaks string) (words []string, current bashWord) {
	var plain []byte
	inWord, keptOutside := false, 0
	for i := 0; i < len(line); i++ {
		b := line[i]
		switch {
		case b == '\\' && current.quote != '\'' && i+1 < len(line) &&
			(current.quote == 0 || strings.IndexByte("$`\"\\", line[i+1]) >= 0):
			i++
			plain, inWord = append(plain, line[i]), true
		case current.quote != 0 && b == current.quote:
			current.quote = 0
			current.kept = keptOutside
		case current.quote != 0:
			plain = append(plain, b)
		case b == '"' || b == '\'':
			current.quote, inWord = b, true
			keptOutside, current.kept = current.kept, len(plain)
		case b == ' ' || b == '\t' || b == '\n':
			if inWord {
				words = append(words, string(plain))
			}
			plain, inWord, current.kept = nil, false, 0
		default:
			plain, inWord = append(plain, b), true
			if strings.IndexByte(breaks, b) >= 0 {
				current.kept = len(plain)
			}
			if b == '@' && current.kept == len(plain) {
				current.kept-- // tells readline that a host follows, and is replaced with it
			}
		}
	}
	current.plain = string(plain)
	return words, current
}

// replacement is what readline has to put in place of what it replaces, to make the word c, which begins
// with the plain word.
func (w bashWord) replacement(c candidate) string {
	rest := c.word[w.kept:]
	switch w.quote {
	case '\'':
		rest = strings.ReplaceAll(rest, `'`, `'\''`)
	case '"':
		rest = escape(rest, func(b byte) bool { return strings.IndexByte("$`\"\\", b) >= 0 })
	default:
		home := ""
		if w.kept == 0 && strings.HasPrefix(rest, "~/") {
			home, rest = "~/", rest[2:]
		}
		rest = home + escape(rest, isSpecialToBash)
	}
	switch {
	case c.more:
		return rest
	case w.quote != 0:
		return rest + string(w.quote)
	}
	return rest + " "
}

func isSpecialToBash(b byte) bool {
	return strings.IndexByte(" \t\"'\\$`!#&*()[]{}<>?;|~^", b) >= 0
}

// escape puts a backslash before the bytes that need one.
func escape(s string, needed func(byte) bool) string {
	var b strings.Builder
	for i := range len(s) {
		if needed(s[i]) {
			b.WriteByte('\\')
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
