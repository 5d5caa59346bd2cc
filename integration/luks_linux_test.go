package integration

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"lvm2fs/internal/test/testenv"
	"lvm2fs/internal/test/testimages"
)

var luksCases = []string{"luks1", "luks2", "luks2-4k"}

func TestVolumesInContainersReadThroughTheMountAndTheDump(t *testing.T) {
	testenv.NeedFUSE(t)
	for _, name := range luksCases {
		t.Run(name, func(t *testing.T) {
			c := testimages.Load(t, name)
			asEach(t, func(t *testing.T, who person) {
				disk, key := who.unpack(t, c)[0], who.keyFile(t, c)
				dir := who.mount(t, "-r", "-o", "key-slot=0,key-file="+disk+"="+key, disk)
				out := who.tempDir(t)
				who.must(t, program, "dump", "-C", out, "--key-file", key, disk)
				for i := range c.LVs {
					lv := &c.LVs[i]
					verify(t, c, lv, who.do(func() error { return verifyFile(lv, filepath.Join(dir, lv.Path())) }))
					verify(t, c, lv, who.do(func() error { return verifyFile(lv, filepath.Join(out, lv.Path())) }))
				}
			})
		})
	}
}

// A process shows its arguments and its environment to others.
func TestNoKeyIsInTheArgumentsOrTheEnvironmentOfTheMount(t *testing.T) {
	c := testimages.Load(t, "luks2-4k")
	disk := me().unpack(t, c)[0]
	dir := me().mountpoint(t)
	typeAtTerminal(t, []string{c.Extra.Passphrase + "\n"}, program, "-r", disk, dir)
	defer me().must(t, program, "umount", dir)
	found := 0
	processes, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range processes {
		args, err := os.ReadFile(filepath.Join(p, "cmdline"))
		if err != nil || !bytes.Contains(args, []byte(dir)) {
			continue
		}
		found++
		environment, err := os.ReadFile(filepath.Join(p, "environ"))
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(append(args, environment...), []byte(c.Extra.Passphrase)) {
			t.Errorf("%s: %q %q", p, args, environment)
		}
	}
	if found == 0 {
		t.Error("no process of the mount")
	}
}

func TestAPassphraseIsAskedForBeforeTheMountGoesToTheBackground(t *testing.T) {
	c := testimages.Load(t, "luks2-4k")
	disk := me().unpack(t, c)[0]
	dir := me().mountpoint(t)
	shown, code := typeAtTerminal(t, []string{"wrong\n", c.Extra.Passphrase + "\n"}, program, disk, dir)
	if code != 0 {
		t.Fatalf("exit %d: %s", code, shown)
	}
	defer me().must(t, program, "umount", dir)
	question := "Passphrase for " + disk + ": "
	if !strings.Contains(shown, question) || !strings.Contains(shown, "It does not fit. "+question) {
		t.Errorf("the terminal shows %q", shown)
	}
	if strings.Contains(shown, c.Extra.Passphrase) {
		t.Errorf("the terminal shows the passphrase: %q", shown)
	}
	for i := range c.LVs {
		verify(t, c, &c.LVs[i], verifyFile(&c.LVs[i], filepath.Join(dir, c.LVs[i].Path())))
	}
}

func TestAQuestionThatIsInterruptedLeavesNothingBehind(t *testing.T) {
	c := testimages.Load(t, "luks2-4k")
	disk := me().unpack(t, c)[0]
	dir := me().mountpoint(t)
	shown, code := typeAtTerminal(t, []string{"\x03"}, program, disk, dir)
	if code != 1 || !strings.Contains(shown, "interrupted") {
		t.Errorf("exit %d: %q", code, shown)
	}
	if isMounted(dir) {
		t.Error("it is mounted")
	}
}

func TestStandardInputIsAKeyFile(t *testing.T) {
	testenv.NeedFUSE(t)
	c := testimages.Load(t, "luks2-4k")
	disk := me().unpack(t, c)[0]
	dir := me().mountpoint(t)
	for _, input := range []string{"banana\n", c.Extra.Passphrase} {
		cmd := me().command(program, "--key-file", "-", disk, dir)
		cmd.Stdin = strings.NewReader(input)
		out, err := cmd.CombinedOutput()
		if fits := input == c.Extra.Passphrase; fits != (err == nil) {
			t.Errorf("%q: %v: %s", input, err, out)
		} else if !fits && !strings.Contains(string(out), disk+": no key slot opens") {
			t.Errorf("%s", out)
		}
	}
	me().must(t, program, "umount", dir)
}

// typeAtTerminal runs a program at a terminal of its own, and answers each question that ends
// with ": ". It returns what the terminal shows, and the exit code.
func typeAtTerminal(t *testing.T, answers []string, name string, args ...string) (shown string, code int) {
	t.Helper()
	testenv.NeedFUSE(t)
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer master.Close()
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	number, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	terminal, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	cmd := me().command(name, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = terminal, terminal, terminal
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	terminal.Close()
	all := make(chan string)
	go func() {
		var text []byte
		b := make([]byte, 4096)
		for {
			n, err := master.Read(b)
			text = append(text, b[:n]...)
			if len(answers) > 0 && bytes.HasSuffix(text, []byte(": ")) {
				time.Sleep(50 * time.Millisecond) // until there is no echo
				_, _ = io.WriteString(master, answers[0])
				answers = answers[1:]
			}
			if err != nil { // EIO, once nobody has the terminal open
				all <- string(text)
				return
			}
		}
	}()
	timer := time.AfterFunc(2*time.Minute, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	err = cmd.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return <-all, cmd.ProcessState.ExitCode()
}

func TestTheKernelReadsWhatWasWrittenIntoContainers(t *testing.T) {
	testenv.NeedVM(t)
	testenv.NeedFUSE(t)
	var disks, want []string
	script := "printf %s banana >/key\n"
	for i, name := range luksCases {
		c := testimages.Load(t, name)
		disk, key := me().unpack(t, c)[0], me().keyFile(t, c)
		dir := me().mount(t, "--key-file", key, disk)
		for i := range c.LVs {
			path := filepath.Join(dir, c.LVs[i].Path())
			scribble(t, path, c.LVs[i].Size)
			want = append(want, fmt.Sprintf("%s  /dev/%s", fileSum(t, path), c.LVs[i].Path()))
		}
		me().must(t, program, "umount", dir)
		disks = append(disks, disk)
		script += fmt.Sprintf("cryptsetup open --key-file /key /run/d/d00%d c%d\n", i, i)
	}
	got := kernel(t, script+`
vgchange -ay --sysinit >/dev/null
sha256sum `+devices(want)+` >/out/result
`, disks...)
	if got, want := strings.TrimSpace(got), strings.Join(want, "\n"); got != want {
		t.Errorf("the kernel read\n%s\nwant\n%s", got, want)
	}
}

// While a container is open, its key is only in memory that cannot be swapped, and the passphrase is nowhere. A copy
// that our code made would be there in each mount. But now and then the Go runtime interrupts a goroutine in the midst
// of a cipher, and leaves its registers on the stack. So one mount of three without a copy is enough.
func TestTheKeyOfAnOpenContainerIsInLockedMemoryAlone(t *testing.T) {
	testenv.NeedFUSE(t)
	testenv.NeedTools(t, "cryptsetup")
	c := testimages.Load(t, "luks2-4k")
	disk, keyFile := me().unpack(t, c)[0], me().keyFile(t, c)
	dump := me().must(t, "cryptsetup", "luksDump", "-q", "--dump-volume-key", "--key-file", keyFile, disk)
	_, text, found := strings.Cut(dump, "MK dump:")
	if !found {
		t.Skipf("cryptsetup shows no key:\n%s", dump)
	}
	var key []byte
	for _, word := range strings.Fields(text) {
		b, err := hex.DecodeString(word)
		if err != nil {
			break
		}
		key = append(key, b...)
	}
	if len(key) != 32 && len(key) != 64 {
		t.Fatalf("a key of %d bytes in:\n%s", len(key), dump)
	}
	var unlocked string
	for range 3 {
		dir := me().mount(t, "-r", "--key-file", keyFile, disk)
		fileSum(t, filepath.Join(dir, c.LVs[0].Path()))
		unlocked = unlockedKey(t, daemonAt(t, dir), key, []byte(c.Extra.Passphrase))
		me().must(t, program, "umount", dir)
		if unlocked == "" {
			return
		}
		t.Log(unlocked)
	}
	t.Error(unlocked)
}

// unlockedKey says where a process has the key, or half of it, in memory that is not locked; "" for nowhere.
func unlockedKey(t *testing.T, pid string, key, passphrase []byte) (unlocked string) {
	t.Helper()
	locked := 0
	for _, r := range memoryOf(t, pid) {
		for _, half := range [][]byte{key[:len(key)/2], key[len(key)/2:]} {
			switch n := bytes.Count(r.content, half); {
			case r.locked:
				locked += n
			case n > 0:
				unlocked = r.name + ", which is not locked, has the key"
			}
		}
		if bytes.Contains(r.content, passphrase) {
			t.Errorf("%s has the passphrase", r.name)
		}
	}
	if locked < 2 {
		t.Error("the key is nowhere: this test looks in the wrong place")
	}
	return unlocked
}

// daemonAt is the process behind a mount.
func daemonAt(t *testing.T, mountpoint string) (pid string) {
	t.Helper()
	processes, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range processes {
		if args, err := os.ReadFile(path); err == nil && bytes.HasSuffix(args, []byte("\x00"+mountpoint+"\x00")) {
			return filepath.Base(filepath.Dir(path))
		}
	}
	t.Fatal("no process of the mount")
	return ""
}

// memoryRange is memory of a process that can be read.
type memoryRange struct {
	name    string
	locked  bool
	content []byte
}

func memoryOf(t *testing.T, pid string) (ranges []memoryRange) {
	t.Helper()
	maps, err := os.ReadFile("/proc/" + pid + "/smaps")
	if err != nil {
		t.Fatal(err)
	}
	memory, err := os.Open("/proc/" + pid + "/mem")
	if err != nil {
		t.Fatal(err)
	}
	defer memory.Close()
	for line := range strings.Lines(string(maps)) {
		var start, end int64
		if n, _ := fmt.Sscanf(line, "%x-%x", &start, &end); n == 2 {
			ranges = append(ranges, memoryRange{name: strings.TrimSpace(line)})
			if end-start <= 256<<20 {
				content := make([]byte, end-start)
				n, _ := memory.ReadAt(content, start) // of what is reserved only, nothing
				ranges[len(ranges)-1].content = content[:max(n, 0)]
			}
		}
		var kib int64
		if n, _ := fmt.Sscanf(line, "Locked: %d kB", &kib); n == 1 && kib > 0 {
			ranges[len(ranges)-1].locked = true
		}
	}
	return ranges
}
