package cli

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"time"
)

// logTarget is where log lines go: standard error at first, and for a mount in the
// background a file or syslog later. It is safe for concurrent use.
type logTarget struct {
	level slog.LevelVar

	mu    sync.Mutex
	write func(t time.Time, level slog.Level, line string)
}

func newLogTarget(stderr io.Writer) *logTarget {
	target := &logTarget{}
	target.write = func(_ time.Time, level slog.Level, line string) {
		fmt.Fprintf(stderr, "lvm2fs: %s%s\n", levelPrefix(level), line)
	}
	return target
}

func (l *logTarget) switchTo(write func(t time.Time, level slog.Level, line string)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.write = write
}

// toFile writes lines with a time, each by one Write, so that several mounts can
// share a file that is open for appending.
func toFile(w io.Writer) func(time.Time, slog.Level, string) {
	return func(t time.Time, level slog.Level, line string) {
		fmt.Fprintf(w, "%s lvm2fs: %s%s\n", t.Format(time.RFC3339), levelPrefix(level), line)
	}
}

func levelPrefix(level slog.Level) string {
	switch {
	case level >= slog.LevelError:
		return "error: "
	case level >= slog.LevelWarn:
		return "warning: "
	case level < slog.LevelInfo:
		return "debug: "
	}
	return ""
}

// lineHandler writes log records for people, a line each: "message key=value".
type lineHandler struct {
	target *logTarget
	attrs  string // already formatted
	group  string
}

func (h *lineHandler) Enabled(_ context.Context, level slog.Level) bool {
	return level >= h.target.level.Level()
}

func (h *lineHandler) Handle(_ context.Context, r slog.Record) error {
	var line strings.Builder
	line.WriteString(strings.ReplaceAll(r.Message, "\n", "; "))
	line.WriteString(h.attrs)
	r.Attrs(func(attr slog.Attr) bool {
		line.WriteString(h.format(attr))
		return true
	})
	h.target.mu.Lock()
	defer h.target.mu.Unlock()
	h.target.write(r.Time, r.Level, printable(line.String()))
	return nil
}

func (h *lineHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	with := *h
	for _, attr := range attrs {
		with.attrs += h.format(attr)
	}
	return &with
}

func (h *lineHandler) WithGroup(name string) slog.Handler {
	with := *h
	if name != "" {
		with.group += name + "."
	}
	return &with
}

// format is " key=value", with the quoting of slog's own text.
func (h *lineHandler) format(attr slog.Attr) string {
	var b bytes.Buffer
	record := slog.Record{}
	record.AddAttrs(slog.Attr{Key: h.group + attr.Key, Value: attr.Value})
	text := slog.NewTextHandler(&b, &slog.HandlerOptions{ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
		if len(groups) == 0 && (a.Key == slog.LevelKey || a.Key == slog.MessageKey) {
			return slog.Attr{}
		}
		return a
	}})
	if text.Handle(context.Background(), record) != nil || b.Len() <= 1 {
		return ""
	}
	return " " + strings.TrimSuffix(b.String(), "\n")
}
