// Package cli is the command line of lvm2fs: a file per command, over the packages
// that do the work.
package cli

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/alecthomas/kong"
)

// Exit codes of every command.
const (
	exitOK         = 0
	exitError      = 1 // one line on standard error says why
	exitUsage      = 2 // the command line makes no sense
	exitIncomplete = 3 // done, but some LVs are incomplete or damaged
)

// errIncomplete is wrapped by the error of a command that has done its work as far
// as the disks allow: what is lost has been named on standard error, LV by LV.
var errIncomplete = errors.New("incomplete")

// usageError is wrapped by errors about the command line itself.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func usagef(format string, args ...any) error {
	return usageError{fmt.Errorf(format, args...)}
}

// CLI is the grammar of the command line: a field per command. The tag usage is
// the synopsis that help and the manual show, since kong's own knows nothing of a
// MOUNTPOINT after any number of DEVICEs.
type CLI struct {
	Mount      mountCmd      `cmd:"" help:"Mount the volume groups on DEVICEs." usage:"lvm2fs [mount] [flags] DEVICE... MOUNTPOINT [-o OPTIONS]"`
	Umount     umountCmd     `cmd:"" aliases:"unmount" help:"Unmount, and wait until it is done." usage:"lvm2fs umount MOUNTPOINT..."`
	Dump       dumpCmd       `cmd:"" help:"Write logical volumes out as image files; needs no FUSE." usage:"lvm2fs dump [flags] DEVICE..."`
	List       listCmd       `cmd:"" help:"Show physical volumes, volume groups and logical volumes." usage:"lvm2fs list [flags] DEVICE..."`
	Map        mapCmd        `cmd:"" help:"Show where the bytes of a logical volume are." usage:"lvm2fs map [flags] --lv VG/LV DEVICE..."`
	Check      checkCmd      `cmd:"" help:"Read everything, and compare the legs of RAIDs and mirrors." usage:"lvm2fs check [flags] DEVICE..."`
	Undelete   undeleteCmd   `cmd:"" help:"List the logical volumes that are gone, and how much of them is untouched." usage:"lvm2fs undelete [flags] DEVICE..."`
	History    historyCmd    `cmd:"" help:"Show the metadata that volume groups had, and what has changed." usage:"lvm2fs history [flags] DEVICE..."`
	Rescue     rescueCmd     `cmd:"" help:"Search the metadata of a thin pool that does not activate." usage:"lvm2fs rescue [flags] --pool VG/POOL DEVICE..."`
	Attach     attachCmd     `cmd:"" help:"Make block devices of logical volumes." usage:"lvm2fs attach [flags] (--lv VG/LV | --all) DEVICE..."`
	Detach     detachCmd     `cmd:"" help:"Take block devices of logical volumes away." usage:"lvm2fs detach VG/LV|DEVICE... | --all"`
	Overlay    overlayCmd    `cmd:"" help:"List and discard what mounts with -o overlay=DIR have kept." usage:"lvm2fs overlay list [--json] DIR [VG/LV...] | overlay discard DIR [VG/LV...]"`
	Completion completionCmd `cmd:"" help:"Print a completion script for a shell." usage:"lvm2fs completion bash|zsh|fish"`
	Help       helpCmd       `cmd:"" help:"Show help for a command, or for all of them." usage:"lvm2fs help [COMMAND]"`
	Version    versionCmd    `cmd:"" help:"Show the version." usage:"lvm2fs version"`

	Complete completeCmd `cmd:"" name:"__complete" hidden:""`

	HelpFlag    helpFlag    `name:"help" short:"h" help:"Show help for the command and exit."`
	VersionFlag versionFlag `name:"version" short:"V" help:"Show the version and exit."`
}

// errShown ends parsing after --help or --version have said all.
var errShown = errors.New("shown")

type helpFlag bool

func (helpFlag) BeforeReset(ctx *kong.Context) error {
	printHelp(ctx.Stdout, ctx.Model, ctx.Selected())
	return errShown
}

type versionFlag bool

func (versionFlag) BeforeReset(ctx *kong.Context) error {
	printVersion(ctx.Stdout)
	return errShown
}

// Main runs the command line args, which do not include the program's name, and
// returns the exit code. Errors are one line on stderr that starts with "lvm2fs: ".
func Main(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	a := newApp(args, stdin, stdout, stderr)
	parser, err := newParser(new(CLI), stdout, stderr)
	if err != nil {
		return a.fail(err)
	}
	if len(args) == 0 {
		printHelp(stderr, parser.Model, nil)
		return exitUsage
	}
	if err := checkCommand(parser.Model, args); err != nil {
		return a.fail(err)
	}
	ctx, err := parser.Parse(canonicalArgs(parser.Model, args))
	if err != nil {
		return a.fail(err)
	}
	return a.fail(ctx.Run(a))
}

func newParser(line *CLI, stdout, stderr io.Writer) (*kong.Kong, error) {
	return kong.New(line,
		kong.Name("lvm2fs"),
		kong.Description("Mount LVM2 volume groups without device-mapper."),
		kong.NoDefaultHelp(),
		verbatim(),
		kong.Writers(stdout, stderr),
	)
}

// fail says what went wrong and picks the exit code.
func (a *app) fail(err error) int {
	var parseError *kong.ParseError
	var usage usageError
	var status exitStatus
	switch {
	case err == nil, errors.Is(err, errShown):
		return exitOK
	case errors.As(err, &status):
		return int(status)
	case errors.As(err, &parseError), errors.As(err, &usage):
		a.printError(err)
		fmt.Fprintln(a.stderr, "Try 'lvm2fs --help'.")
		return exitUsage
	case errors.Is(err, errIncomplete):
		a.printError(err)
		return exitIncomplete
	}
	a.printError(err)
	return exitError
}

func (a *app) printError(err error) {
	fmt.Fprintf(a.stderr, "lvm2fs: %s\n", oneLine(err))
}

func oneLine(err error) string {
	return printable(strings.Join(strings.Fields(strings.ReplaceAll(err.Error(), "\n", "; ")), " "))
}
