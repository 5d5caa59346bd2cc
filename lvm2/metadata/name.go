package metadata

import (
	"fmt"
	"strings"
)

// ValidName says whether lvm would allow a VG or LV of this name. A name from disk
// that fails could leave its directory, or hide as an option.
// (docs/format/01-label-and-metadata-area.md, section 9)
func ValidName(name string) bool {
	if len(name) < 1 || len(name) > 127 || name == "." || name == ".." || name[0] == '-' {
		return false
	}
	return !strings.ContainsFunc(name, func(r rune) bool {
		return !(r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || strings.ContainsRune("+_.-", r))
	})
}

// fileName is the name of the file of the i-th LV of a VG.
func fileName(lv *LV, i int) string {
	switch {
	case ValidName(lv.Name):
		return lv.Name
	case lv.UUID == "":
		return fmt.Sprintf("@%d", i) // the metadata gives none that can be read
	}
	return "@" + lv.UUID.String()
}
