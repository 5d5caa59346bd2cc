package blockdev

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

func systemDisks() ([]string, error) {
	names, err := unix.Sysctl("kern.disks")
	if err != nil {
		return nil, fmt.Errorf("looking for disks: kern.disks: %w", err)
	}
	var paths []string
	for _, name := range strings.Fields(names) {
		if !strings.HasPrefix(name, "cd") { // optical disks
			paths = append(paths, "/dev/"+name)
		}
	}
	return paths, nil
}

// partitionNodes: of a GPT ada0p2, of an MBR ada0s2.
func (d *Device) partitionNodes(number int, _, _ int64) []string {
	return []string{fmt.Sprintf("%sp%d", d.path, number), fmt.Sprintf("%ss%d", d.path, number)}
}
