package blockdev

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
)

// systemDisks: rdisk4 is disk4 past the cache; rdisk4s2 is a partition of it.
func systemDisks() ([]string, error) {
	found, err := filepath.Glob("/dev/rdisk*")
	if err != nil {
		return nil, err
	}
	var paths []string
	for _, path := range found {
		if _, err := strconv.ParseUint(strings.TrimPrefix(path, "/dev/rdisk"), 10, 32); err == nil {
			paths = append(paths, path)
		}
	}
	return paths, nil
}

func (d *Device) partitionNodes(number int, _, _ int64) []string {
	return []string{fmt.Sprintf("%ss%d", d.path, number)}
}
