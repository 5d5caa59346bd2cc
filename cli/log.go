package cli

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"strings"
	"sync"
)

// lineHandler writes log records for people: "lvm2fs: warning: message key=value".
// A sink per level lets syslog have its own priorities.
type lineHandler struct {
	level slog.Leveler
	sink  func(level slog.Level, line string) error
	attrs string // preformatted
	group string
}

// newLineHandler logs to w, one Write per record.
func newLineHandler(w io.Writer, level slog.Leveler) slog.Handler {
	var mu sync.Mutex
	return &lineHandler{level: level, sink: func(level slog.Level, line string) error {
		mu.Lock()
		defer mu.Unlock()
		_, err := io.WriteString(w, "lvm2fs: "+levelPrefix(level)+line+"\n")
		return err
	}}
}

func levelPrefix(level slog.Level) string {
	switch {
	case level >= slog.LevelError:
		return "error: "
	case level >= slog.LevelWarn:
		return "warning: "
	}
	return ""
}

func (h *lineHandler) Enabled(_ context.Context, level slog.Level) bool {
	return level >= h.level.Level()
}

func (h *lineHandler) Handle(_ context.Context, r slog.Record) error {
	var attrs strings.Builder
	attrs.WriteString(h.attrs)
	r.Attrs(func(attr slog.Attr) bool {
		attrs.WriteString(h.format(attr))
		return true
	})
	return h.sink(r.Level, strings.ReplaceAll(r.Message, "\n", "; ")+attrs.String())
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

// format borrows slog's own rules for quoting.
func (h *lineHandler) format(attr slog.Attr) string {
	if attr.Equal(slog.Attr{}) {
		return ""
	}
	var b bytes.Buffer
	text := slog.NewTextHandler(&b, &slog.HandlerOptions{ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
		if len(groups) == 0 && (a.Key == slog.LevelKey || a.Key == slog.MessageKey || a.Key == slog.TimeKey) {
			return slog.Attr{}
		}
		return a
	}})
	record := slog.Record{}
	record.AddAttrs(slog.Attr{Key: h.group + attr.Key, Value: attr.Value})
	if text.Handle(context.Background(), record) != nil {
		return ""
	}
	return " " + strings.TrimSpace(b.String())
}
