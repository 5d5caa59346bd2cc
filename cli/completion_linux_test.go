package cli

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"lvm2fs/internal/test/testenv"
	"lvm2fs/internal/test/testimages"
	"lvm2fs/internal/test/testpv"
)

// oddDisk has a name with all that shells split words at, and oddDirectory is beside it.
const (
	oddDisk      = "my disk:1,a=b@c.img"
	oddDirectory = "a dir's"
)

// completionFolder is a directory with disks, and the program on a PATH.
func completionFolder(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	disk := writeDisks(t, testpv.VG{Name: "vg", Seqno: 1, PVs: []string{"sda"}, LVs: []testpv.LV{{Name: "root", Segments: []string{testpv.Linear(0, 1, "pv0", 0)}}}})[0]
	if err := os.Rename(disk, filepath.Join(dir, oddDisk)); err != nil {
		t.Fatal(err)
	}
	if err := testimages.Extract(archive("thin"), dir); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{oddDirectory, "bin"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{oddDirectory + "/inside", "key file"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	program, err := exec.LookPath("lvm2fs") // of TestMain
	if err == nil {
		err = os.Symlink(program, filepath.Join(dir, "bin", "lvm2fs"))
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// In a completionCase Tab is pressed at the end of the line; then the line has these arguments. A + stands for what is
// typed next: after a blank it is an argument of its own.
type completionCase struct {
	line string
	want []string
}

var completions = []completionCase{
	{`lvm2fs umo`, []string{"umount", "+"}},
	{`lvm2fs list --js`, []string{"list", "--json", "+"}},
	{`lvm2fs pv0.img mnt --read`, []string{"pv0.img", "mnt", "--read-only", "+"}},
	{`lvm2fs completion f`, []string{"completion", "fish", "+"}},
	{`lvm2fs help du`, []string{"help", "dump", "+"}},
	{`lvm2fs list --raid0-layout o`, []string{"list", "--raid0-layout", "original", "+"}},

	{`lvm2fs list my`, []string{"list", oddDisk, "+"}},
	{`lvm2fs list my\ d`, []string{"list", oddDisk, "+"}},
	{`lvm2fs list 'my d`, []string{"list", oddDisk, "+"}},
	{`lvm2fs list "my disk:1`, []string{"list", oddDisk, "+"}},
	{`lvm2fs list my\ disk:1`, []string{"list", oddDisk, "+"}},
	{`lvm2fs list my\ disk:1,a=b`, []string{"list", oddDisk, "+"}},
	{`lvm2fs list my\ disk:1,a=b@`, []string{"list", oddDisk, "+"}},
	{`lvm2fs list a\ d`, []string{"list", oddDirectory + "/+"}},
	{`lvm2fs list "a dir's/i`, []string{"list", oddDirectory + "/inside", "+"}},
	{`lvm2fs list ~/a\ dir\'s/i`, []string{"list", "~/" + oddDirectory + "/inside", "+"}},
	{`lvm2fs my`, []string{oddDisk, "+"}},
	{`lvm2fs -- my`, []string{"--", oddDisk, "+"}},
	{`lvm2fs dump -C a`, []string{"dump", "-C", oddDirectory + "/+"}},
	{`lvm2fs dump -Ca`, []string{"dump", "-C" + oddDirectory + "/+"}},
	{`lvm2fs dump --directory=a`, []string{"dump", "--directory=" + oddDirectory + "/+"}},
	{`lvm2fs list --key-file k`, []string{"list", "--key-file", "key file", "+"}},
	{`lvm2fs list my\ disk:1,a=b@c.img --key-file=my`, []string{"list", oddDisk, "--key-file=" + oddDisk + "+"}}, // or that and =FILE
	{`lvm2fs list my\ disk:1,a=b@c.img --key-file my\ disk:1,a=b@c.img=k`, []string{"list", oddDisk, "--key-file", oddDisk + "=key file", "+"}},

	{`lvm2fs dump my\ disk:1,a=b@c.img --lv `, []string{"dump", oddDisk, "--lv", "vg/root", "+"}},
	{`lvm2fs dump --lv=v 'my disk:1,a=b@c.img' --lv=vg/r`, []string{"dump", "--lv=v", oddDisk, "--lv=vg/root", "+"}},
	{`lvm2fs dump ~/my\ disk:1,a=b@c.img --lv v`, []string{"dump", "~/" + oddDisk, "--lv", "vg/root", "+"}},
	{`lvm2fs rescue pv0.img pv1.img --pool `, []string{"rescue", "pv0.img", "pv1.img", "--pool", "vg_thin/pool", "+"}},
	{`lvm2fs map pv0.img pv1.img --lv vg_thin/vol_a --since vg_thin/em`, []string{"map", "pv0.img", "pv1.img", "--lv", "vg_thin/vol_a", "--since", "vg_thin/empty", "+"}},
	{`lvm2fs my\ disk:1,a=b@c.img mnt --trust-leg v`, []string{oddDisk, "mnt", "--trust-leg", "vg/root:+"}},
	{`lvm2fs pv0.img pv1.img --thin-metadata vg_thin/pool=k`, []string{"pv0.img", "pv1.img", "--thin-metadata", "vg_thin/pool=key file", "+"}},
	{`lvm2fs pv0.img pv1.img --thin-rebuild vg_thin/pool=`, []string{"pv0.img", "pv1.img", "--thin-rebuild", "vg_thin/pool=likely", "+"}},
	{`lvm2fs nothing.img --lv v`, []string{"nothing.img", "--lv", "v+"}},

	{`lvm2fs list -o lv_name,lv_layo`, []string{"list", "-o", "lv_name,lv_layout+"}},
	{`lvm2fs list pv0.img pv1.img --options +lv_layo`, []string{"list", "pv0.img", "pv1.img", "--options", "+lv_layout+"}},
	{`lvm2fs list pv0.img pv1.img --vg v`, []string{"list", "pv0.img", "pv1.img", "--vg", "vg_thin", "+"}},
	{`lvm2fs pv0.img mnt -o remou`, []string{"pv0.img", "mnt", "-o", "remount+"}},
	{`lvm2fs pv0.img mnt -oro,allow_o`, []string{"pv0.img", "mnt", "-oro,allow_other+"}},
	{`lvm2fs pv0.img mnt -o ro,nosuid,uma`, []string{"pv0.img", "mnt", "-o", "ro,nosuid,umask=+"}},
	{`lvm2fs pv0.img mnt --options=ro,device=my`, []string{"pv0.img", "mnt", `--options=ro,device=my disk:1\,a=b@c.img+`}},
	{`lvm2fs my\ disk:1,a=b@c.img mnt -o ro,origin-only=v`, []string{oddDisk, "mnt", "-o", "ro,origin-only=vg/root+"}},
}

func TestCompletion(t *testing.T) {
	testenv.Long(t)
	for name, drive := range shells {
		t.Run(name, func(t *testing.T) { drive(t, completionFolder(t), completions) })
	}
}

func TestCompletionOffersOurMounts(t *testing.T) {
	testenv.Long(t)
	testenv.NeedFUSE(t)
	dir, err := filepath.EvalSymlinks(completionFolder(t))
	if err != nil {
		t.Fatal(err)
	}
	const odd = "my mount:1,a=b"
	mountpoint := filepath.Join(dir, odd)
	if err := os.Mkdir(mountpoint, 0o755); err != nil {
		t.Fatal(err)
	}
	lvm2fs := filepath.Join(dir, "bin", "lvm2fs")
	if out, err := exec.Command(lvm2fs, "-r", filepath.Join(dir, oddDisk), mountpoint).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	defer func() {
		if out, err := exec.Command(lvm2fs, "umount", mountpoint).CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
	}()
	cases := []completionCase{
		{`lvm2fs umount my`, []string{"umount", odd, "+"}}, // and not the disk, which begins so too
		{`lvm2fs unmount ./`, []string{"unmount", "./" + odd, "+"}},
		{`lvm2fs umount -f ~/my`, []string{"umount", "-f", "~/" + odd, "+"}},
		{`lvm2fs umount ` + dir + `/`, []string{"umount", mountpoint, "+"}},
		{`lvm2fs -o remount "my`, []string{"-o", "remount", odd, "+"}},
		{`lvm2fs -rosloppy,remount my\ mount:`, []string{"-rosloppy,remount", odd, "+"}},
		{`lvm2fs mount --options=ro,remount my`, []string{"mount", "--options=ro,remount", odd, "+"}},
	}
	for name, drive := range shells {
		t.Run(name, func(t *testing.T) { drive(t, dir, cases) })
	}
}

// shells are driven as people do it.
var shells = map[string]func(t *testing.T, dir string, cases []completionCase){
	"bash": func(t *testing.T, dir string, cases []completionCase) {
		testenv.NeedTools(t, "bash")
		driveShell(t, dir, bashRC, cases, "bash", "--noprofile", "--rcfile", "RC", "-i")
	},
	"bash with bash-completion": func(t *testing.T, dir string, cases []completionCase) {
		testenv.NeedTools(t, "bash")
		const library = "/usr/share/bash-completion/bash_completion"
		if _, err := os.Stat(library); err != nil {
			if testenv.Required() {
				t.Fatalf("required here (LVM2FS_REQUIRE, CI): %s", library)
			}
			t.Skipf("SKIP: no %s", library)
		}
		driveShell(t, dir, "source "+library+"\n"+bashRC, cases, "bash", "--noprofile", "--rcfile", "RC", "-i")
	},
	"zsh": func(t *testing.T, dir string, cases []completionCase) {
		testenv.NeedTools(t, "zsh")
		driveShell(t, dir, zshRC, cases, "zsh", "-f", "-i")
	},
	"fish": driveFish,
}

// A function with the name of the program shows the arguments that the program would get.
const (
	bashRC = `PS1=; bind 'set enable-bracketed-paste off'
source <(command lvm2fs completion bash)
lvm2fs() { printf '%s\0' "$@" >args.new; mv args.new args; }
`
	zshRC = `PS1= PS2=; unset zle_bracketed_paste; unsetopt prompt_cr prompt_sp
autoload -Uz compinit; compinit -u -D
source <(command lvm2fs completion zsh)
lvm2fs() { printf '%s\0' "$@" >args.new; command mv args.new args }
`
)

// driveShell presses Tab in an interactive shell.
func driveShell(t *testing.T, dir, rc string, cases []completionCase, command ...string) {
	t.Helper()
	rcFile := filepath.Join(dir, "bin", "rc")
	if err := os.WriteFile(rcFile, []byte(rc), 0o600); err != nil {
		t.Fatal(err)
	}
	for i := range command {
		command[i] = strings.ReplaceAll(command[i], "RC", rcFile)
	}
	terminal := startOnTerminal(t, dir, command)
	if !slices.Contains(command, rcFile) {
		terminal.send("source " + rcFile + "\n")
	}
	// The word is in two parts here, so that the echo of the line is not taken for the answer.
	terminal.send("echo read''y\n")
	terminal.waitFor("ready")
	for _, c := range cases {
		args := filepath.Join(dir, "args")
		os.Remove(args)
		terminal.send(c.line + "\t+")
		terminal.send("\n")
		got := terminal.waitForFile(args)
		var want []string
		for _, word := range c.want {
			if rest, ok := strings.CutPrefix(word, "~/"); ok {
				word = dir + "/" + rest // as the shell expands it
			}
			want = append(want, word)
		}
		if diff := cmp.Diff(want, strings.Split(strings.TrimSuffix(got, "\x00"), "\x00")); diff != "" {
			t.Errorf("%s: %s", c.line, diff)
		}
	}
}

// terminal is the other end of a terminal.
type terminal struct {
	t      *testing.T
	master *os.File
	output chan string
	seen   string
}

func startOnTerminal(t *testing.T, dir string, command []string) *terminal {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { master.Close() })
	number, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		err = unix.IoctlSetWinsize(int(master.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 40, Col: 200})
	}
	if err != nil {
		t.Fatal(err)
	}
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer slave.Close()
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Dir = dir
	cmd.Env = shellEnv(dir)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	term := &terminal{t: t, master: master, output: make(chan string, 1000)}
	go func() {
		defer close(term.output)
		for buf := make([]byte, 4096); ; {
			n, err := master.Read(buf)
			if err != nil {
				return
			}
			term.output <- string(buf[:n])
		}
	}()
	return term
}

func shellEnv(dir string) []string {
	return append(os.Environ(), "TERM=xterm", "LC_ALL=C.UTF-8", "HOME="+dir, "PATH="+filepath.Join(dir, "bin")+":"+os.Getenv("PATH"))
}

func (x *terminal) send(keys string) {
	x.t.Helper()
	if _, err := io.WriteString(x.master, keys); err != nil {
		x.t.Fatal(err)
	}
}

// terminalPatience is more than a busy machine takes.
const terminalPatience = time.Minute

func (x *terminal) waitFor(text string) {
	x.t.Helper()
	end := time.After(terminalPatience)
	for !strings.Contains(x.seen, text) {
		select {
		case more := <-x.output:
			x.seen += more
		case <-end:
			x.t.Fatalf("no %q in %q", text, x.seen)
		}
	}
}

func (x *terminal) waitForFile(path string) string {
	x.t.Helper()
	for end := time.Now().Add(terminalPatience); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if text, err := os.ReadFile(path); err == nil {
			return string(text)
		}
		select {
		case more := <-x.output:
			x.seen += more
		default:
		}
	}
	x.t.Fatalf("no answer; the terminal shows %q", x.seen)
	return ""
}

// inFish is what fish offers for a line.
func inFish(t *testing.T, dir, line string) []string {
	t.Helper()
	cmd := exec.Command("fish", "--no-config", "-c", `command lvm2fs completion fish | source; complete -C "$argv[1]"`, line)
	cmd.Dir, cmd.Env = dir, shellEnv(dir)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v: %s", line, err, out)
	}
	var words []string
	for _, l := range strings.Split(strings.TrimSuffix(string(out), "\n"), "\n") {
		word, _, _ := strings.Cut(l, "\t")
		words = append(words, word)
	}
	return words
}

func driveFish(t *testing.T, dir string, cases []completionCase) {
	testenv.NeedTools(t, "fish")
	for _, c := range cases {
		got := inFish(t, dir, c.line)
		last := len(c.want) - 1
		if c.want[last] == "+" {
			last--
		}
		want := strings.TrimSuffix(c.want[last], "+")
		if strings.HasSuffix(c.line, " "+want) {
			want = "" // nothing to offer
		}
		if !slices.Contains(got, want) {
			t.Errorf("%s: no %q in %q", c.line, want, got)
		}
	}
}
