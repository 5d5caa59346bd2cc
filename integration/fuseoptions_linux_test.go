package integration

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"lvm2fs/internal/test/testenv"
	"lvm2fs/internal/test/testimages"
)

func TestMount8RemountsAMountThatIsNotInFstab(t *testing.T) {
	testenv.Long(t)
	installed(t)
	c := testimages.Load(t, "meta-wrap")
	who := me()
	disk := who.unpack(t, c)[0]
	for _, first := range []string{"rw", "ro", "rw,allow_other,max_read=65536,kernel_cache"} {
		dir := who.mountpoint(t)
		who.must(t, "mount", "-t", "fuse.lvm2fs", disk, dir, "-o", first)
		readOnly := strings.HasPrefix(first, "ro")
		for _, again := range []string{"remount", "remount,ro", "remount,rw"} {
			r := who.run(t, "mount", "-o", again, dir)
			// What is written to stays so until it is unmounted.
			if refused := again == "remount,ro" && !readOnly; (r.code != 0) != refused {
				t.Errorf("%s, then %s: exit %d\n%s", first, again, r.code, r.stderr)
			} else if strings.Contains(r.stderr, "unknown option") || refused && !strings.Contains(r.stderr, "remounting cannot change that") {
				t.Errorf("%s, then %s: %s", first, again, r.stderr)
			}
		}
		who.must(t, "umount", dir)
	}
}

// options are those of a mount in the mount table.
func options(t *testing.T, dir string) string {
	t.Helper()
	return strings.TrimSpace(me().must(t, "findmnt", "-n", "-o", "OPTIONS", dir))
}

func TestMaxReadBoundsRequests(t *testing.T) {
	testenv.Long(t)
	c := testimages.Load(t, "meta-wrap")
	asEach(t, func(t *testing.T, who person) {
		disk := who.unpack(t, c)[0]
		for option, want := range map[string]string{"max_read=16384": "max_read=16384", "max_read=0": "max_read=524288", "max_read=1": "max_read=4096"} {
			dir := who.mount(t, "-o", option, disk)
			if got := options(t, dir); !strings.Contains(got+",", want+",") {
				t.Errorf("%s: %s", option, got)
			}
			if err := who.do(func() error { _, err := os.ReadFile(filepath.Join(dir, c.Tree()[0])); return err }); err != nil {
				t.Error(err)
			}
		}
	})
}

func TestFilesAndDirectoriesHaveMasksOfTheirOwn(t *testing.T) {
	c := testimages.Load(t, "meta-wrap")
	who := me()
	dir := who.mount(t, "-o", "umask=0777,fmask=0137,dmask=027", who.unpack(t, c)[0])
	lv := filepath.Join(dir, c.Tree()[0])
	for path, want := range map[string]fs.FileMode{lv: 0o640, filepath.Dir(lv): 0o750, dir: 0o750} {
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v", path, info.Mode(), err)
		}
	}
}

func TestAllowRootLetsRootInAndNobodyElse(t *testing.T) {
	testenv.Long(t)
	testenv.NeedRoot(t)
	userAllowOther(t)
	c := testimages.Load(t, "meta-wrap")
	owner, stranger := person{"ordinary user", 65534, 65534}, person{"stranger", 12345, 65534}
	for option, want := range map[string]map[person]bool{
		"allow_root":             {owner: true, me(): true, stranger: false},
		"allow_other":            {owner: true, me(): true, stranger: true},
		"ro":                     {owner: true, me(): false, stranger: false},
		"allow_other,allow_root": {owner: true, me(): true, stranger: false},
	} {
		dir := owner.mount(t, "-o", "umask=0,"+option, owner.unpack(t, c)[0])
		for who, allowed := range want {
			err := who.do(func() error {
				_, err := os.ReadFile(filepath.Join(dir, c.Tree()[0]))
				return err
			})
			// The group of the files is the stranger's too, so the modes alone would let it in.
			if allowed != (err == nil) || !allowed && !errors.Is(err, fs.ErrPermission) {
				t.Errorf("%s: %s: %v", option, who.name, err)
			}
		}
	}
}

// userAllowOther lets ordinary users let others in until the test ends.
func userAllowOther(t *testing.T) {
	t.Helper()
	testenv.NeedRoot(t)
	testenv.NeedTools(t, "fusermount3")
	const file = "/etc/fuse.conf"
	before, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, append(before, "\nuser_allow_other\n"...), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.WriteFile(file, before, 0o644) })
}

func TestAutoUnmountTakesTheMountOfAKilledProgramAway(t *testing.T) {
	c := testimages.Load(t, "meta-wrap")
	asEach(t, func(t *testing.T, who person) {
		d := who.serve(t, append([]string{"-o", "auto_unmount"}, who.unpack(t, c)...)...)
		// The guard is started once the mount answers.
		if !waitFor(10*time.Second, func() bool { return len(processesOn(d.dir)) == 2 }) {
			t.Fatalf("%d processes", len(processesOn(d.dir)))
		}
		d.cmd.Process.Kill()
		if !waitFor(10*time.Second, func() bool { return !inMountTable(t, d.dir) }) {
			t.Error("it is still mounted")
		}
		if !waitFor(10*time.Second, func() bool { return len(processesOn(d.dir)) == 0 }) {
			t.Error("a process stays")
		}
	})
}

func TestAMountThatIsNotUsedUnmountsItself(t *testing.T) {
	testenv.Long(t)
	c := testimages.Load(t, "meta-wrap")
	asEach(t, func(t *testing.T, who person) {
		d := who.serve(t, append([]string{"-o", "idle=0.02"}, who.unpack(t, c)...)...) // 1.2 s
		var f *os.File
		err := who.do(func() (err error) { f, err = os.Open(filepath.Join(d.dir, c.Tree()[0])); return err })
		if err != nil {
			t.Fatal(err)
		}
		if d.hasEnded(3 * time.Second) {
			t.Error("unmounted while a file was open")
		}
		f.Close()
		if !d.hasEnded(20*time.Second) || inMountTable(t, d.dir) {
			t.Error("it is still mounted")
		}
	})
}

func TestUmountForcesAndUnmountsLazily(t *testing.T) {
	testenv.Long(t)
	c := testimages.Load(t, "meta-wrap")
	fusectl(t)
	asEach(t, func(t *testing.T, who person) {
		for _, flag := range []string{"-f", "-l"} {
			d := who.serve(t, who.unpack(t, c)...)
			var f *os.File
			err := who.do(func() (err error) { f, err = os.OpenFile(filepath.Join(d.dir, c.Tree()[0]), os.O_RDWR, 0); return err })
			if err != nil {
				t.Fatal(err)
			}
			if _, err := f.WriteAt(make([]byte, 4096), 0); err != nil {
				t.Fatal(err)
			}
			if r := who.run(t, program, "umount", d.dir); r.code != 1 {
				t.Errorf("umount of one in use: exit %d", r.code)
			}
			who.must(t, program, "umount", flag, d.dir)
			if inMountTable(t, d.dir) {
				t.Errorf("umount %s: still mounted", flag)
			}
			_, err = f.ReadAt(make([]byte, 4096), 0)
			if flag == "-l" && (err != nil || d.hasEnded(0)) {
				t.Errorf("after umount -l: %v, ended %v", err, d.hasEnded(0))
			}
			if flag == "-f" && !errors.Is(err, syscall.ENOTCONN) && !errors.Is(err, syscall.ECONNABORTED) {
				t.Errorf("after umount -f an open file gives %v", err)
			}
			f.Close()
			if !d.hasEnded(10 * time.Second) {
				t.Errorf("umount %s: the program has not ended", flag)
			}
		}
	})
}

// fusectl makes the kernel's controls of FUSE's connections visible, as systemd does.
func fusectl(t *testing.T) {
	t.Helper()
	const dir = "/sys/fs/fuse/connections"
	if entries, _ := os.ReadFile("/proc/self/mounts"); strings.Contains(string(entries), " "+dir+" ") || os.Geteuid() != 0 {
		return
	}
	me().must(t, "mount", "-t", "fusectl", "none", dir)
	t.Cleanup(func() { me().run(t, "umount", dir) })
}

// requests counts what the kernel asks of a mount that logs it, while f runs: FUSE's names of requests.
func (d *daemon) requests(t *testing.T, f func() error) map[string]int {
	t.Helper()
	before := d.logged(t, "before")
	if err := f(); err != nil {
		t.Fatal(err)
	}
	count := map[string]int{}
	for line := range strings.Lines(strings.TrimPrefix(d.logged(t, "after"), before)) {
		if _, request, ok := strings.Cut(line, ": rx "); ok && !strings.Contains(line, "n1 ") { // of the root, n1, it keeps nothing
			count[strings.Fields(request)[1]]++
		}
	}
	return count
}

// logged is all that was logged of the requests up to now, of which the last is one for this name.
func (d *daemon) logged(t *testing.T, name string) string {
	t.Helper()
	count := strings.Count(d.stderr.String(), name)
	os.Stat(filepath.Join(d.dir, name))
	if !waitFor(10*time.Second, func() bool { return strings.Count(d.stderr.String(), name) > count }) {
		t.Fatal("requests are not logged")
	}
	return d.stderr.String()
}

func TestNamesAndAttributesAreKeptAsLongAsTheOptionsSay(t *testing.T) {
	c := testimages.Load(t, "meta-wrap")
	who := me()
	for option, want := range map[string]bool{"attr_timeout=60,entry_timeout=60": true, "attr_timeout=0,entry_timeout=0": false} {
		d := who.serve(t, append([]string{"-d", "-o", option}, who.unpack(t, c)...)...)
		lv := filepath.Join(d.dir, c.Tree()[0])
		stat := func() error { _, err := os.Stat(lv); return err }
		d.requests(t, stat) // the first
		again := d.requests(t, stat)
		if kept := again["LOOKUP"]+again["GETATTR"]+again["STATX"] == 0; kept != want {
			t.Errorf("%s: the second stat asked for %v", option, again)
		}
	}
}

func TestWhatIsReadIsCachedOrNotAsTheOptionsSay(t *testing.T) {
	c := testimages.Load(t, "meta-wrap")
	who := me()
	for option, want := range map[string]bool{"rw": true, "ro": true, "kernel_cache": true, "auto_cache": true, "direct_io": false, "kernel_cache,direct_io": false} {
		d := who.serve(t, append([]string{"-d", "-o", option}, who.unpack(t, c)...)...)
		f, err := os.Open(filepath.Join(d.dir, c.Tree()[0]))
		if err != nil {
			t.Fatal(err)
		}
		read := func() error { _, err := f.ReadAt(make([]byte, 4096), 0); return err }
		if first := d.requests(t, read); first["READ"] == 0 {
			t.Errorf("%s: the first read asked for %v", option, first)
		}
		if again := d.requests(t, read); (again["READ"] == 0) != want {
			t.Errorf("%s: the second read asked for %v", option, again)
		}
		f.Close()
	}
}
