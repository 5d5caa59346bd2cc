package lvm2

import (
	"fmt"
	"strings"
)

// validName says whether lvm would allow a VG or LV of this name. A name from disk
// that fails could leave its directory, or hide as an option.
// (docs/format/01-label-and-metadata-area.md, section 9)
func validName(name string) bool {
	if len(name) < 1 || len(name) > 127 || name == "." || name == ".." || name[0] == '-' {
		return false
	}
	return !strings.ContainsFunc(name, func(r rune) bool {
		return !(r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || strings.ContainsRune("+_.-", r))
	})
}

// nameFiles gives every VG its directory's name and every LV its file's.
func nameFiles(vgs []*VG) {
	byName := map[string]int{}
	byGroup := map[string]int{}
	group := func(vg *VG) string { return vg.Name + "@" + string(vg.UUID[:6]) }
	for _, vg := range vgs {
		byName[vg.Name]++
		byGroup[group(vg)]++
	}
	for _, vg := range vgs {
		switch {
		case !validName(vg.Name):
			vg.dirName = "@" + vg.UUID.String()
		case byName[vg.Name] == 1:
			vg.dirName = vg.Name
		case byGroup[group(vg)] == 1:
			vg.dirName = group(vg)
		default:
			vg.dirName = vg.Name + "@" + vg.UUID.String()
		}
		for i, lv := range vg.LVs {
			switch {
			case validName(lv.Name):
				lv.fileName = lv.Name
			case lv.UUID == "":
				lv.fileName = fmt.Sprintf("@%d", i) // the metadata gives none that can be read
			default:
				lv.fileName = "@" + lv.UUID.String()
			}
		}
	}
}

// article puts "a" or "an" before a phrase.
func article(phrase string) string {
	if phrase != "" && strings.ContainsRune("aeioAEIO", rune(phrase[0])) {
		return "an " + phrase
	}
	return "a " + phrase
}
