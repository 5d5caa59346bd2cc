package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// usersOf names what keeps the mount at dir busy, with the command that frees it where
// there is one. It reads only names in /proc and /sys and so cannot hang on the mount.
// Processes of others show only to root.
func usersOf(dir string) []string {
	var users []string
	backing, _ := filepath.Glob("/sys/block/loop*/loop/backing_file")
	for _, file := range backing {
		name, err := os.ReadFile(file)
		if err == nil && inside(strings.TrimSuffix(string(name), "\n"), dir) {
			users = append(users, "losetup -d /dev/"+strings.Split(file, "/")[3])
		}
	}
	if mounts, err := mountTable(); err == nil {
		for _, m := range mounts {
			if m.dir != dir && inside(m.dir, dir) {
				users = append(users, "umount "+m.dir)
			}
		}
	}
	processes, _ := filepath.Glob("/proc/[0-9]*")
	self := fmt.Sprintf("/proc/%d", os.Getpid())
	for _, process := range processes {
		if process != self && usesFilesIn(process, dir) {
			name, _ := os.ReadFile(process + "/comm")
			users = append(users, fmt.Sprintf("%s (process %s)", strings.TrimSpace(string(name)), filepath.Base(process)))
		}
	}
	return users
}

func usesFilesIn(process, dir string) bool {
	links := []string{process + "/cwd", process + "/root", process + "/exe"}
	fds, _ := filepath.Glob(process + "/fd/*")
	maps, _ := filepath.Glob(process + "/map_files/*")
	return slices.ContainsFunc(slices.Concat(links, fds, maps), func(link string) bool {
		target, err := os.Readlink(link)
		return err == nil && inside(target, dir)
	})
}

func inside(path, dir string) bool {
	return path == dir || strings.HasPrefix(path, strings.TrimSuffix(dir, "/")+"/")
}
