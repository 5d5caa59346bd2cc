package fusefs

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
)

// processOf is the process that a request came from: Linux names the thread. It is the thread if it cannot be
// found out.
func processOf(pid uint32) uint32 {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return pid
	}
	for line := range bytes.Lines(status) {
		if rest, ok := bytes.CutPrefix(line, []byte("Tgid:")); ok {
			if n, err := strconv.ParseUint(string(bytes.TrimSpace(rest)), 10, 32); err == nil {
				return uint32(n)
			}
		}
	}
	return pid
}
