package blockdev

import (
	"strconv"
	"strings"
)

// Holder is something that uses a device.
type Holder struct {
	What    string // "mounted on /mnt", "active LV vg/lv (dm-3)", "MD array md0"
	Release string // the command that ends the use: "umount /mnt"; "" if none is known
}

// mountedOn is a file system that is mounted on dir. Nobody can take away the root of the system.
func mountedOn(dir string) Holder {
	h := Holder{What: "mounted on " + shellWord(dir)}
	if dir != "/" {
		h.Release = "umount " + shellWord(dir)
	}
	return h
}

func (h Holder) String() string {
	if h.Release == "" {
		return h.What
	}
	return h.What + " (release it with: " + h.Release + ")"
}

// shellWord quotes a word for a command that is shown to the user. Names of mount
// points may hold anything.
func shellWord(s string) string {
	plain := func(r rune) bool {
		return r < 0x80 && (r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("/._-+:@,=%", r))
	}
	odd := func(r rune) bool { return !plain(r) }
	switch {
	case s != "" && !strings.ContainsFunc(s, odd):
		return s
	case strings.ContainsFunc(s, func(r rune) bool { return !strconv.IsPrint(r) }):
		return "$'" + strings.ReplaceAll(strings.Trim(strconv.QuoteToASCII(s), `"`), "'", `\'`) + "'"
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
