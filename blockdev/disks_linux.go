package blockdev

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

func systemDisks() ([]string, error) { return host.disks() }

// diskless are the devices that hold nothing from before: memory, floppies that take their time, optical
// disks.
var diskless = []string{"ram", "zram", "fd", "sr"}

func (k kernel) disks() ([]string, error) {
	list, err := os.ReadDir(filepath.Join(k.sys, "block"))
	if err != nil {
		return k.disksOfProc()
	}
	var paths []string
	for _, e := range list {
		dir, err := filepath.EvalSymlinks(filepath.Join(k.sys, "block", e.Name()))
		if err != nil || isDiskless(e.Name()) || k.read(dir, "hidden") == "1" || strings.HasPrefix(k.read(dir, "dm/uuid"), "LVM-") {
			continue
		}
		found := []string{dir}
		for _, part := range entries(dir) {
			if part := filepath.Join(dir, part); k.isPartition(part) {
				found = append(found, part)
			}
		}
		if len(found) > 1 {
			found = found[1:]
		}
		for _, dir := range found {
			if k.hasBytes(dir) && !k.isTaken(dir) {
				paths = append(paths, k.node(dir))
			}
		}
	}
	return paths, nil
}

func isDiskless(name string) bool {
	for _, prefix := range diskless {
		if digits, found := strings.CutPrefix(name, prefix); found && isNumber(digits) {
			return true
		}
	}
	return false
}

func isNumber(s string) bool {
	_, err := strconv.ParseUint(s, 10, 32)
	return err == nil
}

func (k kernel) hasBytes(dir string) bool {
	size := k.read(dir, "size")
	return size != "" && size != "0"
}

// isTaken says whether a device over this one offers what is on it.
func (k kernel) isTaken(dir string) bool {
	for _, name := range entries(filepath.Join(dir, "holders")) {
		upper, err := filepath.EvalSymlinks(filepath.Join(dir, "holders", name))
		if err != nil {
			upper = filepath.Join(k.sys, "block", name)
		}
		if k.hasBytes(upper) && !strings.HasPrefix(k.read(upper, "dm/uuid"), "LVM-") {
			return true
		}
	}
	return false
}

// node is the path of a device's node.
func (k kernel) node(dir string) string {
	if name := k.read(dir, "dm/name"); name != "" {
		path := "/dev/mapper/" + name
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	for line := range strings.Lines(k.read(dir, "uevent")) {
		if name, found := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "DEVNAME="); found {
			return "/dev/" + name
		}
	}
	// The name of a node may have slashes, that of a directory of sysfs has ! for them.
	return "/dev/" + strings.ReplaceAll(filepath.Base(dir), "!", "/")
}

// disksOfProc is for a system without sysfs: all there are, but a disk that has partitions.
func (k kernel) disksOfProc() ([]string, error) {
	text, err := os.ReadFile(filepath.Join(k.proc, "partitions"))
	if err != nil {
		return nil, fmt.Errorf("looking for disks: %w", err)
	}
	var names []string
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) == 4 && isNumber(f[0]) && f[2] != "0" && !isDiskless(f[3]) {
			names = append(names, f[3])
		}
	}
	var paths []string
	for _, name := range names {
		hasParts := false
		for _, other := range names {
			part, found := strings.CutPrefix(other, name)
			hasParts = hasParts || found && isNumber(strings.TrimPrefix(part, "p"))
		}
		if !hasParts {
			paths = append(paths, "/dev/"+name)
		}
	}
	return paths, nil
}

func (d *Device) partitionNodes(_ int, start, size int64) []string {
	if d.info == nil {
		return nil
	}
	dir, err := filepath.EvalSymlinks(filepath.Join(host.sys, "dev/block", string(numberOf(deviceNumber(d.info)))))
	if err != nil {
		return nil
	}
	return host.partitionNodes(dir, start, size)
}

func (k kernel) partitionNodes(dir string, start, size int64) []string {
	const sector = 512 // of sysfs, whatever the disk's is
	for _, name := range entries(dir) {
		part := filepath.Join(dir, name)
		if k.isPartition(part) && k.read(part, "start") == strconv.FormatInt(start/sector, 10) && k.read(part, "size") == strconv.FormatInt(size/sector, 10) {
			return []string{k.node(part)}
		}
	}
	return nil
}
