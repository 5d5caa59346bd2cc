package cli

import (
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
	"strings"
)

// release is set by the linker in packages: -X lvm2fs/cli.release=1.0.
var release string

type versionCmd struct{}

// Help is shown by lvm2fs version --help, between the synopsis and the flags.
func (versionCmd) Help() string {
	return `Examples:
  lvm2fs version`
}

func (versionCmd) Run(a *app) error {
	printVersion(a.stdout)
	return nil
}

func printVersion(w io.Writer) { fmt.Fprintln(w, "lvm2fs", version()) }

// version says which build this is, from what the go command recorded in it.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return strings.TrimSpace(release + " (unknown build)")
	}
	v := info.Main.Version
	if release != "" {
		v = release
	}
	var revision, modified string
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			revision = s.Value[:min(12, len(s.Value))]
		case "vcs.modified":
			if s.Value == "true" {
				modified = "+changes"
			}
		}
	}
	if revision != "" && !strings.Contains(v, revision) {
		v += " " + revision + modified
	}
	return v + " " + runtime.Version() + " " + runtime.GOOS + "/" + runtime.GOARCH
}
