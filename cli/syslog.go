package cli

import (
	"log/slog"
	"log/syslog"
	"time"
)

// toSyslog writes lines to the system's log. Where there is none they are lost; it is
// looked for again at each line, as it may be started later than a mount of fstab.
func toSyslog() func(time.Time, slog.Level, string) {
	var w *syslog.Writer
	return func(_ time.Time, level slog.Level, line string) {
		if w == nil {
			var err error
			if w, err = syslog.New(syslog.LOG_DAEMON|syslog.LOG_INFO, "lvm2fs"); err != nil {
				return
			}
		}
		// syslog.Writer connects again by itself when the system's log was restarted.
		switch {
		case level >= slog.LevelError:
			_ = w.Err(line)
		case level >= slog.LevelWarn:
			_ = w.Warning(line)
		case level >= slog.LevelInfo:
			_ = w.Info(line)
		default:
			_ = w.Debug(line)
		}
	}
}
