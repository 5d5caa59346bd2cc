//go:build freebsd || darwin

package cli

import "runtime"

// usersOf names what tells who keeps the mount at dir busy.
func usersOf(dir string) []string {
	if runtime.GOOS == "freebsd" {
		return []string{"see fstat -f " + dir}
	}
	return []string{"see lsof " + dir}
}
