package attach

import "os"

// ProcessOf is a running process; nil if there is none with this number.
func ProcessOf(pid int) *PID {
	if started := startOf(pid); started != "" {
		return &PID{pid, started}
	}
	return nil
}

// Self is this process.
func Self() *PID { return ProcessOf(os.Getpid()) }

// Alive says whether the process still runs.
func (p *PID) Alive() bool { return p != nil && startOf(p.Number) == p.Started }
