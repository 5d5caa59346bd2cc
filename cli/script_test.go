package cli

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"lvm2fs/internal/test/testenv"
	"lvm2fs/internal/test/testimages"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"lvm2fs": func() { os.Exit(Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) },
	})
}

// The scripts in testdata/script hold what a user sees of the command line.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			env.Setenv("LC_ALL", "C.UTF-8")
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits":     exits,
			"disks":     disks,
			"bytes":     writeBytes,
			"sized":     sized,
			"lines":     lines,
			"powerless": powerless,
		},
		Condition: condition,
	})
}

// exits CODE PROGRAM ARGS...: runs a program that has to end with this exit code.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE PROGRAM ARGS...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	code := 0
	var exit *exec.ExitError
	if err := ts.Exec(args[1], args[2:]...); errors.As(err, &exit) {
		code = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if code != want {
		ts.Fatalf("exit code %d, want %d", code, want)
	}
}

// disks CASE: unpacks the disks of a case of testdata/images, or of the collection.
func disks(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: disks CASE")
	}
	ts.Check(testimages.Extract(archive(args[0]), ts.MkAbs(".")))
}

func archive(name string) string {
	path := filepath.Join(testenv.Root(), "testdata", "images", name, "disks.tar.zst")
	if _, err := os.Stat(path); err != nil {
		path = filepath.Join(testenv.ImagesDir(), name, "disks.tar.zst")
	}
	return path
}

// bytes FILE OFFSET STRING: writes a Go string, without quotes, into a file.
func writeBytes(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: bytes FILE OFFSET STRING")
	}
	off, err := strconv.ParseInt(args[1], 0, 64)
	ts.Check(err)
	data, err := strconv.Unquote(`"` + args[2] + `"`)
	ts.Check(err)
	f, err := os.OpenFile(ts.MkAbs(args[0]), os.O_WRONLY|os.O_CREATE, 0o644)
	ts.Check(err)
	_, err = f.WriteAt([]byte(data), off)
	ts.Check(errors.Join(err, f.Close()))
}

// sized FILE SIZE: gives a file a size, with zeros.
func sized(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: sized FILE SIZE")
	}
	size, err := strconv.ParseInt(args[1], 0, 64)
	ts.Check(err)
	path := ts.MkAbs(args[0])
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o644)
	ts.Check(err)
	ts.Check(errors.Join(f.Truncate(size), f.Close()))
}

// lines FILE N: the file has N lines.
func lines(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: lines FILE N")
	}
	want, err := strconv.Atoi(args[1])
	ts.Check(err)
	text := ts.ReadFile(args[0])
	n := 0
	for _, c := range text {
		if c == '\n' {
			n++
		}
	}
	if n != want {
		ts.Fatalf("%d lines, want %d:\n%s", n, want, text)
	}
}

// powerless CODE lvm2fs ARGS...: like exits, without the rights of root.
func powerless(ts *testscript.TestScript, neg bool, args []string) {
	if os.Geteuid() != 0 {
		exits(ts, neg, args)
		return
	}
	path, err := exec.LookPath("setpriv")
	if err != nil {
		ts.Fatalf("root needs setpriv for this: %v", err)
	}
	exits(ts, neg, append([]string{args[0], path, "--bounding-set", "-all", "--inh-caps", "-all"}, args[1:]...))
}

// condition knows [root], and [images:CASE] for scripts whose disks are not in testdata.
func condition(name string) (bool, error) {
	if name == "root" {
		return os.Geteuid() == 0, nil
	}
	if images, ok := strings.CutPrefix(name, "images:"); ok {
		_, err := os.Stat(archive(images))
		if err != nil && testenv.Required() {
			return false, fmt.Errorf("required here (LVM2FS_REQUIRE, CI): images of %s", images)
		}
		return err == nil, nil
	}
	return false, fmt.Errorf("unknown condition %q", name)
}
