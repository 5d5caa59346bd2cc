package metadata

import (
	"fmt"
	"strings"
)

// UUID is a PV's, VG's or LV's identifier: 32 characters without dashes.
type UUID string

// ParseUUID reads a UUID with or without dashes.
// (docs/format/01-label-and-metadata-area.md, section 5)
func ParseUUID(s string) (UUID, error) {
	bare := strings.ReplaceAll(s, "-", "")
	if len(bare) != 32 {
		return "", fmt.Errorf("UUID %q has %d characters, not 32", s, len(bare))
	}
	for i := range len(bare) {
		c := bare[i]
		if !('0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c == '!' || c == '#') {
			return "", fmt.Errorf("UUID %q contains %q", s, c)
		}
	}
	return UUID(bare), nil
}

// String is the form with dashes that lvm prints.
func (u UUID) String() string {
	if len(u) != 32 {
		return string(u)
	}
	return string(u[:6] + "-" + u[6:10] + "-" + u[10:14] + "-" + u[14:18] + "-" + u[18:22] + "-" + u[22:26] + "-" + u[26:])
}
