package cli

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"

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
	heard          *warnings    // nil, or what warnf says too
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
	line := oneLine(fmt.Errorf(format, args...))
	a.log.Warn(line)
	if a.heard != nil {
		a.heard.add(line)
	}
}

// warnings are those of a part of a command. They are safe for concurrent use.
type warnings struct {
	mu    sync.Mutex
	lines []string
	ended bool
}

func (w *warnings) add(line string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.ended {
		w.lines = append(w.lines, line)
	}
}

// end gives the warnings up to now. Later ones are not kept: what was opened meanwhile can warn for as long as it is used.
func (w *warnings) end() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ended = true
	return w.lines
}

// overheard is an app whose warnings are kept too.
func (a *app) overheard() *app {
	b := *a
	b.heard = new(warnings)
	return &b
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
