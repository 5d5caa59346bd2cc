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
	args           []string // the command line, without the program's name
	stdin          io.Reader
	stdout, stderr io.Writer
	stdoutTerminal bool // progress and widths are for people only
	stderrTerminal bool
	ask            asker        // who knows passphrases
	log            *slog.Logger // to stderr, each line starting with "lvm2fs: "
	logTo          *logTarget   // lets a daemon log elsewhere
}

func newApp(args []string, stdin io.Reader, stdout, stderr io.Writer) *app {
	target := newLogTarget(stderr)
	return &app{
		args:           args,
		stdin:          stdin,
		ask:            person{stdin},
		stdout:         stdout,
		stderr:         stderr,
		stdoutTerminal: isTerminal(stdout),
		stderrTerminal: isTerminal(stderr),
		log:            slog.New(&lineHandler{target: target}),
		logTo:          target,
	}
}

// warnf says in one line what is wrong but does not stop the command.
func (a *app) warnf(format string, args ...any) {
	a.log.Warn(oneLine(fmt.Errorf(format, args...)))
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
