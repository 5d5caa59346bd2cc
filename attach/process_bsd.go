//go:build freebsd || darwin

package attach

import (
	"os/exec"
	"strconv"
	"strings"
)

// startOf is when a process was started, in the system's words; "" if there is no such process.
func startOf(pid int) string {
	said, err := exec.Command("ps", "-o", "lstart=", "-p", strconv.Itoa(pid)).Output()
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(said))
}
