//go:build freebsd || darwin

package attach

import "path/filepath"

// Partitions are the devices of the partitions of a disk: "/dev/ggate0p1", "/dev/ggate0s1", "/dev/disk4s1".
func Partitions(device string) []string {
	found, _ := filepath.Glob(device + "[ps][0-9]*")
	return found
}
