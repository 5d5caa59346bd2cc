//go:build linux

// Bench measures lvm2fs as ratios taken in one run: against the plain file, against dd,
// against the kernel's loop device, against lvm2 and, where VSLVMMOUNT names it, against
// libvslvm's vslvmmount. It needs root, fio and lvm2.
//
//	make bench
//	VSLVMMOUNT=/path/to/vslvmmount BENCHSIZE=2048 BENCHDIR=/var/tmp make bench
//	BENCHONLY="raid thin" go run ./integration/bench
//	BENCHJSON=before.json make bench
package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// bench is one run: its disk, and what it has to undo.
type bench struct {
	program  string // lvm2fs
	peer     string // vslvmmount; empty if there is none
	images   string // the collection of images; empty if there is none
	dir      string
	size     int64  // bytes of the LV
	image    string // a PV with the one LV
	start    int64  // bytes from the start of image to the LV
	undo     []func()
	tempName int
}

func main() {
	b, err := setUp()
	if err == nil {
		err = b.measure()
	}
	b.cleanUp()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func setUp() (*bench, error) {
	b := &bench{peer: os.Getenv("VSLVMMOUNT"), images: os.Getenv("LVM2FS_IMAGES"), size: 1 << 30}
	if os.Geteuid() != 0 {
		return b, errors.New("needs root")
	}
	for _, tool := range []string{"fio", "lvm", "losetup", "mkfs.ext4", "dd"} {
		if _, err := exec.LookPath(tool); err != nil {
			return b, err
		}
	}
	if s := os.Getenv("BENCHSIZE"); s != "" {
		mib, err := strconv.ParseInt(s, 10, 64)
		if err != nil || mib < 64 {
			return b, fmt.Errorf("BENCHSIZE is %q, not a number of MiB from 64", s)
		}
		b.size = mib << 20
	}
	if b.images == "" {
		b.images = "../shared/images"
	}
	var err error
	if b.program, err = filepath.Abs("lvm2fs"); err != nil {
		return b, err
	}
	base := os.Getenv("BENCHDIR")
	if base == "" {
		base = "/var/tmp"
	}
	if b.dir, err = os.MkdirTemp(base, "lvm2fs-bench-"); err != nil {
		return b, err
	}
	b.later(func() { os.RemoveAll(b.dir) })
	return b, b.makeDisk()
}

func (b *bench) measure() error {
	only := strings.Fields(os.Getenv("BENCHONLY"))
	for _, part := range []struct {
		name string
		run  func() error
	}{
		{"sequential", b.sequential},
		{"random", b.random},
		{"filesystem", b.fileSystem},
		{"attach", b.attached},
		{"reading", b.reading},
		{"attributes", b.attributes},
		{"dump", b.dump},
		{"reflink", b.reflink},
		{"thin", b.thin},
		{"thinwrites", b.thinWrites},
		{"raid", b.raid},
		{"md", b.md},
		{"below", b.below},
		{"cached", b.cached},
		{"snapshots", b.snapshots},
		{"written", b.written},
		{"overlay", b.overlay},
		{"computing", b.inMemory},
		{"list", b.list},
		{"large", b.large},
		{"start", b.firstBytes},
		{"history", b.history},
		{"memory", b.memory},
	} {
		if len(only) > 0 && !slices.Contains(only, part.name) {
			continue
		}
		if err := b.scope(part.run); err != nil {
			return fmt.Errorf("%s: %w", part.name, err)
		}
	}
	return summary()
}

func (b *bench) later(f func()) { b.undo = append(b.undo, f) }

func (b *bench) cleanUp() { b.undoTo(0) }

// undoTo undoes what was done since there were n things to undo.
func (b *bench) undoTo(n int) {
	for len(b.undo) > n {
		last := b.undo[len(b.undo)-1]
		b.undo = b.undo[:len(b.undo)-1]
		last()
	}
}

// scope runs f and undoes what f did.
func (b *bench) scope(f func() error) error {
	n := len(b.undo)
	defer b.undoTo(n)
	return f()
}

func (b *bench) temp(name string) string {
	b.tempName++
	return filepath.Join(b.dir, fmt.Sprintf("%d-%s", b.tempName, name))
}

func (b *bench) mkdir(name string) (string, error) {
	dir := b.temp(name)
	return dir, os.Mkdir(dir, 0o755)
}

func run(name string, args ...string) (string, error) {
	var stderr strings.Builder
	cmd := exec.Command(name, args...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, stderr.String())
	}
	return strings.TrimSpace(string(out)), nil
}

// timed is how long a program runs.
func timed(name string, args ...string) (time.Duration, error) {
	start := time.Now()
	_, err := run(name, args...)
	return time.Since(start), err
}
