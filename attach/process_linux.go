package attach

import (
	"bytes"
	"fmt"
	"os"
)

// startOf is when a process was started, in the kernel's words; "" if there is no such process.
func startOf(pid int) string {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return ""
	}
	// PID (NAME) STATE ..., and a name may be any text.
	fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
	const state, start = 0, 19 // the fields 3 and 22 of proc(5)
	if len(fields) <= start || fields[state][0] == 'Z' {
		return ""
	}
	return string(fields[start])
}
