package blockdev

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lvm2fs/internal/test/testenv"
)

func imageFile(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "image")
	if err := os.WriteFile(path, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// running starts a command that runs until the test ends.
func running(t *testing.T, name string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(name, args...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return cmd
}

// usedBy waits for the device to be in use by a process.
func usedBy(t *testing.T, d *Device, cmd *exec.Cmd) []Holder {
	t.Helper()
	for range 100 {
		for _, h := range d.InUse() {
			if strings.Contains(h.What, fmt.Sprintf("by process %d (", cmd.Process.Pid)) && h.Release == fmt.Sprintf("kill %d", cmd.Process.Pid) {
				return d.InUse()
			}
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatalf("%s is not seen: %v", cmd, d.InUse())
	return nil
}

func TestQEMUIsSeenOnWhatItWrites(t *testing.T) {
	testenv.NeedTools(t, "qemu-nbd", "qemu-img")
	for _, format := range []string{"raw", "qcow2"} {
		path := imageFile(t)
		if out, err := exec.Command("qemu-img", "create", "-f", format, path, "1M").CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		d, _ := openForTest(t, path, Options{})
		if users := d.InUse(); len(users) != 0 {
			t.Errorf("nobody uses it: %v", users)
		}
		nbd := running(t, "qemu-nbd", "-f", format, "-t", "-k", filepath.Join(t.TempDir(), "socket"), path)
		if users := usedBy(t, d, nbd); len(users) != 1 || !strings.Contains(users[0].What, "qemu-nbd") {
			t.Errorf("%v", users)
		}
		// Where the descriptors of a writer are not shown, its lock gives it away.
		if !isLockedByWriter(d.r.(*osFile).File) {
			t.Error("its locks are not seen")
		}
		if err := d.Claim(); err == nil {
			t.Error("claimed what QEMU writes to")
		}
	}
}

func TestQEMUThatOnlyReadsChangesNothing(t *testing.T) {
	testenv.NeedTools(t, "qemu-nbd")
	path := imageFile(t)
	d, _ := openForTest(t, path, Options{})
	socket := filepath.Join(t.TempDir(), "socket")
	running(t, "qemu-nbd", "-r", "-f", "raw", "-t", "-k", socket, path)
	for range 100 {
		if _, err := os.Stat(socket); err == nil {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	if _, err := os.Stat(socket); err != nil {
		t.Fatal(err)
	}
	if users := d.InUse(); len(users) != 0 {
		t.Errorf("%v", users)
	}
}

func TestWhoHasAnImageOpenForWritingIsSeen(t *testing.T) {
	path := imageFile(t)
	link := path + " link"
	if err := os.Link(path, link); err != nil {
		t.Fatal(err)
	}
	d, _ := openForTest(t, path, Options{})
	reader := running(t, "sh", "-c", `exec 3<"$0"; sleep 60 & wait`, path)
	writer := running(t, "sh", "-c", `exec 3<>"$0"; while :; do read x <&3 || sleep 1; done`, link)
	if users := usedBy(t, d, writer); len(users) < 1 || strings.Contains(fmt.Sprint(users), fmt.Sprint("process ", reader.Process.Pid, " ")) {
		t.Errorf("%v", users)
	}
}

func TestOurOwnClaimAndDescriptorsAreNoUse(t *testing.T) {
	path := imageFile(t)
	d, _ := openForTest(t, path, Options{})
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := d.Claim(); err != nil {
		t.Fatal(err)
	}
	if users := d.InUse(); len(users) != 0 {
		t.Errorf("%v", users)
	}
}

func TestAnotherClaimIsSeenOnce(t *testing.T) {
	path := imageFile(t)
	d, _ := openForTest(t, path, Options{})
	pid, release := claimElsewhere(t, path)
	if users := d.InUse(); len(users) != 1 || !strings.Contains(users[0].What, fmt.Sprintf("locked by process %d", pid)) {
		t.Errorf("%v", users)
	}
	release()
	if users := d.InUse(); len(users) != 0 {
		t.Errorf("%v", users)
	}
}

func TestWhoHasADeviceOpenForWritingIsSeen(t *testing.T) {
	loop := attach(t, imageFile(t), 512)
	d, _ := openForTest(t, loop, Options{})
	usedBy(t, d, running(t, "sh", "-c", `exec 3<>"$0"; while :; do read x <&3 || sleep 1; done`, loop))
}

func TestALookReadsTheDescriptorsOfAllProcessesOnce(t *testing.T) {
	a, _ := openForTest(t, imageFile(t), Options{})
	b, _ := openForTest(t, imageFile(t), Options{})
	users := LookForUsers()
	if of := users.Of(a); len(of) != 0 {
		t.Errorf("nobody uses it: %v", of)
	}
	writer := running(t, "sh", "-c", "exec sleep 100 1<>"+b.Path())
	usedBy(t, b, writer)
	if of := users.Of(b); len(of) != 0 {
		t.Errorf("a look that began before: %v", of)
	}
	users = LookForUsers()
	if of := users.Of(b); len(of) != 1 {
		t.Errorf("a look that began after: %v", of)
	}
	// A process that has ended meanwhile is no writer.
	_ = writer.Process.Kill()
	_ = writer.Wait()
	if of := users.Of(b); len(of) != 0 {
		t.Errorf("the process has ended: %v", of)
	}
}
