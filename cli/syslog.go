package cli

import (
	"log/slog"
	"log/syslog"
	"time"
)

// systemLog writes lines to the system's log. Where there is none they are lost; it is looked for again at each line, as it may
// be started later than a mount of fstab.
type systemLog struct {
	connect func() (*syslog.Writer, error)
	to      *syslog.Writer // nil: not yet connected
}

func newSystemLog() *systemLog {
	return &systemLog{connect: func() (*syslog.Writer, error) { return syslog.New(syslog.LOG_DAEMON|syslog.LOG_INFO, "lvm2fs") }}
}

// there says whether there is a log now.
func (l *systemLog) there() bool {
	if l.to == nil {
		if w, err := l.connect(); err == nil {
			l.to = w
		}
	}
	return l.to != nil
}

func (l *systemLog) write(_ time.Time, level slog.Level, line string) {
	if !l.there() {
		return
	}
	// syslog.Writer connects again by itself when the system's log was restarted.
	switch {
	case level >= slog.LevelError:
		_ = l.to.Err(line)
	case level >= slog.LevelWarn:
		_ = l.to.Warning(line)
	case level >= slog.LevelInfo:
		_ = l.to.Info(line)
	default:
		_ = l.to.Debug(line)
	}
}
