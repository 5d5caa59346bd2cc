// Package packaging holds no code, but files from which packages are made; these are their tests.
package packaging

import (
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"lvm2fs/internal/test/testenv"
)

func run(t *testing.T, dir string, env []string, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

func TestAReleaseBuildsWithoutANetworkAndInstallsWhatThePortLists(t *testing.T) {
	testenv.Long(t) // it builds everything anew
	testenv.NeedTools(t, "git", "make", "tar", "install")
	clone, unpacked := t.TempDir(), t.TempDir()
	run(t, "..", nil, "git", "clone", "-q", ".", clone)
	run(t, clone, nil, "make", "-s", "dist", "VERSION=9.9")

	run(t, clone, nil, "tar", "-xzf", "build/lvm2fs-9.9.tar.gz", "-C", unpacked)
	source := filepath.Join(unpacked, "lvm2fs-9.9")
	offline := []string{"GOPROXY=off", "GOFLAGS=-mod=vendor", "GOMODCACHE=" + t.TempDir()}
	run(t, source, offline, "make", "-s", "install", "VERSION=9.9", "DESTDIR="+unpacked, "PREFIX=/usr/local")
	if v := run(t, unpacked, nil, "usr/local/bin/lvm2fs", "--version"); !strings.HasPrefix(v, "lvm2fs 9.9 ") {
		t.Errorf("the version is %q", v)
	}

	var installed []string
	root := os.DirFS(filepath.Join(unpacked, "usr/local"))
	err := fs.WalkDir(root, ".", func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			installed = append(installed, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	port := filepath.Join(clone, "build/freebsd/lvm2fs")
	plist := strings.Fields(read(t, filepath.Join(port, "pkg-plist")))
	for i := range plist { // the ports tree compresses manual pages
		plist[i] = strings.TrimSuffix(plist[i], ".gz")
	}
	slices.Sort(plist)
	if diff := cmp.Diff(installed, plist); diff != "" {
		t.Errorf("pkg-plist (-installed +listed):\n%s", diff)
	}

	digest := regexp.MustCompile(`[0-9a-f]{64}`)
	want := digest.FindString(read(t, filepath.Join(port, "distinfo")))
	if got := digest.FindString(read(t, filepath.Join(clone, "build/lvm2fs.rb"))); want == "" || got != want {
		t.Errorf("the checksum of the release is %q in the port and %q in the formula", want, got)
	}
	if makefile := read(t, filepath.Join(port, "Makefile")); !strings.Contains(makefile, "DISTVERSION=\t9.9\n") {
		t.Errorf("the version of the port:\n%s", makefile)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// rc runs the script of the port with stand-ins for rc.subr(8), mount(8) and lvm2fs. It returns what lvm2fs was called
// with.
func rc(t *testing.T, conf, mounted, command string) (calls string, err error) {
	t.Helper()
	testenv.NeedTools(t, "sh", "awk")
	dir := t.TempDir()
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	write("rc.subr", `warn() { echo "$name: WARNING: $*" >&2; }
load_rc_config() { . `+dir+`/rc.conf; }
run_rc_command() { eval "\${$1_cmd}"; }
`)
	write("rc.conf", conf)
	write("table", mounted)
	write("mount", "#!/bin/sh\n[ \"$*\" = -p ] && cat "+dir+"/table\n")
	if err := os.Mkdir(filepath.Join(dir, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	write("bin/lvm2fs", "#!/bin/sh\nfor a; do printf '[%s]' \"$a\"; done >>"+dir+"/calls\necho >>"+dir+"/calls\n[ \"$2\" != /dev/gone ]\n")
	script := strings.NewReplacer("%%PREFIX%%", dir, "/etc/rc.subr", filepath.Join(dir, "rc.subr")).Replace(read(t, "freebsd/files/lvm2fs.in"))
	write("lvm2fs", script)
	cmd := exec.Command("sh", filepath.Join(dir, "lvm2fs"), command)
	cmd.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"))
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	err = cmd.Run()
	t.Logf("%s", stderr.String())
	b, _ := os.ReadFile(filepath.Join(dir, "calls"))
	return string(b), err
}

func TestTheScriptForBootMountsAndUnmountsWhatRCConfNames(t *testing.T) {
	const (
		conf = `lvm2fs_enable=YES
lvm2fs_mounts="lab nas"
lvm2fs_lab_devices="/dev/ada1 /dev/ada2"
lvm2fs_lab_mountpoint=/mnt/lab
lvm2fs_lab_flags=-r
lvm2fs_nas_devices=/dev/ada3
lvm2fs_nas_mountpoint=/mnt/nas
`
		lab = "/dev/ada1 /mnt/lab fusefs.lvm2fs ro 0 0\n"
	)
	for _, c := range []struct {
		what, conf, mounted, command, want string
		fails                              bool
	}{
		{"all are mounted", conf, "", "start", "[mount][-r][/dev/ada1][/dev/ada2][/mnt/lab]\n[mount][/dev/ada3][/mnt/nas]\n", false},
		{"what is mounted stays", conf, lab, "start", "[mount][/dev/ada3][/mnt/nas]\n", false},
		{"what another file system is mounted on is none of ours", conf, "/dev/ada9 /mnt/lab ufs rw 1 1\n", "stop", "", false},
		{"what is mounted is unmounted", conf, lab, "stop", "[umount][/mnt/lab]\n", false},
		{"what is mounted is read again", conf, lab, "reload", "[-o][remount][/mnt/lab]\n", false},
		{"what is not mounted is told by the status", conf, lab, "status", "", true},
		{"one that fails keeps no other from being mounted", "lvm2fs_lab_devices=/dev/gone\n" + strings.Replace(strings.Replace(conf, "/dev/ada1 /dev/ada2", "/dev/gone", 1), "=-r", "=", 1), "", "start", "[mount][/dev/gone][/mnt/lab]\n[mount][/dev/ada3][/mnt/nas]\n", true},
		{"one that is not described is an error", "lvm2fs_mounts=lab\n", "", "start", "", true},
	} {
		calls, err := rc(t, c.conf, c.mounted, c.command)
		if diff := cmp.Diff(c.want, calls); diff != "" || (err != nil) != c.fails {
			t.Errorf("%s: %v (-want +got):\n%s", c.what, err, diff)
		}
	}
}
