package cli

import (
	"fmt"
	"io"
	"log/slog"
	"os"

	"golang.org/x/term"
)

// app is what a command's Run gets: where to read and write, and where to log.
type app struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	stdoutTerminal bool // progress and widths are for people only
	stderrTerminal bool
	log            *slog.Logger // to stderr, each line starting with "lvm2fs: "
}

func newApp(stdin io.Reader, stdout, stderr io.Writer) *app {
	return &app{
		stdin:          stdin,
		stdout:         stdout,
		stderr:         stderr,
		stdoutTerminal: isTerminal(stdout),
		stderrTerminal: isTerminal(stderr),
		log:            slog.New(newLineHandler(stderr, slog.LevelInfo)),
	}
}

// warnf prints one line on standard error about something that does not stop the
// command.
func (a *app) warnf(format string, args ...any) {
	fmt.Fprintf(a.stderr, "lvm2fs: warning: %s\n", oneLine(fmt.Errorf(format, args...)))
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
