package signature

import (
	"io"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Advice says, to someone who wanted volumes, what to do with what looks like this instead; "" if there is nothing to
// say.
func (s Signature) Advice() string {
	switch {
	case s.Kind == KindFilesystem && strings.HasSuffix(s.Name, "file system"):
		return "mount it directly"
	case s.Kind == KindSwap:
		return "there are no volumes in it"
	case s.Kind == KindCompressed:
		return "decompress it first"
	case s.Kind == KindImage:
		return "convert it to a raw image first"
	}
	return ""
}

// IsText says whether a file of size bytes begins as text does.
func IsText(r io.ReaderAt, size int64) bool {
	b := make([]byte, min(size, blockSize))
	if n, _ := r.ReadAt(b, 0); n < len(b) || n == 0 {
		return false
	}
	for len(b) > 0 {
		c, n := utf8.DecodeRune(b)
		if cut := !utf8.FullRune(b); cut && size > blockSize {
			return true
		}
		if c == utf8.RuneError && n == 1 || !unicode.IsPrint(c) && !strings.ContainsRune("\t\n\r\f\ufeff", c) {
			return false
		}
		b = b[n:]
	}
	return true
}
