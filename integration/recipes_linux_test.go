package integration

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"lvm2fs/internal/test/testenv"
	"lvm2fs/internal/test/testimages"
)

// Every recipe of the README and of the manual page is typed as it stands there, by the person it is for. It must do
// what it says.

// notTried are the recipes that take what a test on Linux has not, and why. Each must be there.
var notTried = map[string]string{
	"--vgcfg vg.backup": "a label that is gone; accidents_linux_test.go has that",
	"--at vg=19":        "a mount at a place that others are at; accidents_linux_test.go reads what it shows",
	"make ":             "the continuous integration is made of them",
	"ggatel create":     "FreeBSD",
	"fusefs ":           "FreeBSD",
	"/dev/rdisk":        "macOS",
	"hdiutil":           "macOS",
}

// A recipe is a command, or a line of fstab(5).
type recipe struct {
	line   string
	asRoot bool
}

func (r recipe) isFstab() bool {
	return len(strings.Fields(r.line)) == 6 && strings.HasSuffix(r.line, " 0 0")
}

// readmeRecipes are the indented lines before the tables, without those of FreeBSD's paragraph. A line that names
// sudo, a device or a directory of the system is for root.
func readmeRecipes(t *testing.T) (recipes []recipe) {
	t.Helper()
	text, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	howto, _, ok := strings.Cut(string(text), "\n## What it reads")
	if !ok {
		t.Fatal("README.md has no section of what it reads")
	}
	comment := regexp.MustCompile(` {2,}#.*`)
	var freeBSD bool
	for line := range strings.Lines(howto) {
		if strings.HasPrefix(line, "**") {
			freeBSD = strings.HasPrefix(line, "**FreeBSD.**")
		}
		if strings.HasPrefix(line, "    ") && !freeBSD {
			line = strings.TrimSpace(comment.ReplaceAllString(line, ""))
			root := regexp.MustCompile(`sudo |/dev/|/mnt/`).MatchString(line)
			recipes = append(recipes, recipe{strings.ReplaceAll(line, "sudo ", ""), root})
		}
	}
	return recipes
}

// manualRecipes are the lines of the manual page that are set off; the prompt says who types them.
func manualRecipes(t *testing.T) (recipes []recipe) {
	t.Helper()
	text, err := os.ReadFile("../docs/lvm2fs.8")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		line, ok := strings.CutPrefix(strings.TrimSpace(line), ".Dl ")
		if !ok {
			continue
		}
		if strings.Contains(line, `\`) {
			t.Errorf("%s: what does it look like?", line)
		}
		command, user := strings.CutPrefix(line, "$ ")
		recipes = append(recipes, recipe{strings.TrimPrefix(command, "# "), !user})
	}
	return recipes
}

func TestEveryRecipeOfTheDocumentsWorks(t *testing.T) {
	testenv.Long(t)
	testenv.NeedLoop(t)
	testenv.NeedTools(t, "fuse2fs", "fusermount3", "jq", "sfdisk", "bash")
	if !canBecome {
		t.Skip("needs an ordinary user")
	}
	installed(t)
	userAllowOther(t)
	unused := map[string]bool{}
	for name := range notTried {
		unused[name] = true
	}
	for document, recipes := range map[string][]recipe{"README": readmeRecipes(t), "manual": manualRecipes(t)} {
		t.Run(document, func(t *testing.T) {
			w := newWorld(t)
			tried := 0
			for _, r := range recipes {
				skip := false
				for name := range notTried {
					if strings.Contains(r.line, name) {
						skip = true
						delete(unused, name)
					}
				}
				if skip {
					continue
				}
				if !t.Run(strings.ReplaceAll(r.line, "/", "|"), func(t *testing.T) { w.try(t, r) }) {
					break // the others may need what it did
				}
				tried++
			}
			if tried < 10 {
				t.Errorf("only %d recipes were tried", tried)
			}
		})
	}
	for name := range unused {
		t.Errorf("there is no recipe with %q any more", name)
	}
}

// world is a machine on which what the documents only name is there.
type world struct {
	user, root person
	dir, home  string
	names      []string // what is named in the documents, and here
	cases      []*testimages.Case
	mounted    map[string]bool // when it was last looked at
}

// disk.img has three partitions: the PV of banana, and the two PVs of a thin pool; so have /dev/sdb1 and /dev/sdc1 together.
func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{root: me(), user: person{"ordinary user", 65534, 65534}, mounted: map[string]bool{}}
	w.dir = w.user.tempDir(t)
	w.home = filepath.Join(w.dir, "home")
	for _, dir := range []string{"home", "home/lvm", "home/root", "mnt", "mnt/lvm", "mnt/root", "mnt/all", "mnt/sda"} {
		dir := filepath.Join(w.dir, dir)
		if err := errors.Join(os.Mkdir(dir, 0o755), os.Chown(dir, w.user.uid, w.user.gid)); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { // what a recipe that failed has left
		for _, dir := range []string{"home/root", "mnt/root", "home/lvm", "mnt/lvm", "mnt/all", "mnt/sda"} {
			if dir := filepath.Join(w.dir, dir); inMountTable(t, dir) {
				t.Errorf("%s is still mounted", dir)
				forceUnmount(dir)
			}
		}
	})
	banana, thin, both, luks := testimages.Load(t, "banana"), testimages.Load(t, "thin"), testimages.Load(t, "meta-copies0"), testimages.Load(t, "luks2")
	w.cases = []*testimages.Case{banana, thin, luks}
	pvs := append(w.user.unpack(t, banana), w.user.unpack(t, thin)...)
	w.partitioned(t, "home/disk.img", pvs...)
	w.partitioned(t, "sdb.img", pvs[:2]...)
	for i, disk := range w.user.unpack(t, both) {
		if err := os.Rename(disk, filepath.Join(w.home, fmt.Sprintf("disk%d.img", i+1))); err != nil {
			t.Fatal(err)
		}
	}
	sdb := loopDevice(t, filepath.Join(w.dir, "sdb.img"))
	w.names = []string{
		"/dev/ada1", sdb,
		"/dev/sdb1", sdb,
		"/dev/sdc1", loopDevice(t, pvs[2]),
		"/dev/sda3", loopDevice(t, w.root.unpack(t, luks)[0]),
		"/etc/keys/sda3", w.root.keyFile(t, luks),
		"/run/lvm2fs/", w.dir + "/run/",
		"/mnt/", w.dir + "/mnt/",
		"vg/root@19", banana.Files[0].LV + "@4", // its newest
		"vg/t_monday", "vg_thin/vol_a",
		"vg/t ", "vg_thin/vol_a_s1 ",
		"vg/pool", "vg_thin/pool",
		"vg/root", banana.Files[0].LV,
		"jq ...", "jq .",
	}
	return w
}

// partitioned makes a disk of a partition for each of pvs.
func (w *world) partitioned(t *testing.T, name string, pvs ...string) {
	t.Helper()
	path := filepath.Join(w.dir, name)
	var table strings.Builder
	const sector = 512
	var contents [][]byte
	for _, pv := range pvs {
		b, err := os.ReadFile(pv)
		if err != nil {
			t.Fatal(err)
		}
		contents = append(contents, b)
		fmt.Fprintf(&table, "size=%d, type=8e\n", len(b)/sector)
	}
	disk, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer disk.Close()
	if err := errors.Join(disk.Truncate(256<<20), os.Chown(path, w.user.uid, w.user.gid)); err != nil {
		t.Fatal(err)
	}
	sfdisk := w.root.command("sfdisk", "-q", "-X", "dos", path)
	sfdisk.Stdin = strings.NewReader(table.String())
	if out, err := sfdisk.CombinedOutput(); err != nil {
		t.Fatalf("sfdisk: %v\n%s", err, out)
	}
	starts := strings.Fields(w.root.must(t, "sfdisk", "-q", "-l", "-o", "Start", path))[1:]
	for i, b := range contents {
		var start int64
		if _, err := fmt.Sscan(starts[i], &start); err != nil {
			t.Fatal(err)
		}
		if _, err := disk.WriteAt(b, start*sector); err != nil {
			t.Fatal(err)
		}
	}
}

// try types a recipe, and looks at what it has mounted.
func (w *world) try(t *testing.T, r recipe) {
	line := strings.NewReplacer(w.names...).Replace(r.line)
	who := w.user
	if r.asRoot {
		who = w.root
	}
	if r.isFstab() {
		fstab := filepath.Join(w.dir, "fstab")
		if err := os.WriteFile(fstab, []byte(line+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		dir := strings.Fields(line)[1]
		w.bash(t, w.root, "mount -T "+fstab+" "+dir)
		w.look(t, strings.Contains(r.line, "device="))
		w.bash(t, w.root, "umount "+dir)
		w.look(t, false)
		return
	}
	if loop := strings.TrimSpace(w.bash(t, who, line)); strings.HasPrefix(loop, "/dev/loop") {
		w.names = append([]string{"/dev/loop0", loop}, w.names...)
	}
	w.look(t, false)
}

func (w *world) bash(t *testing.T, who person, line string) string {
	t.Helper()
	cmd := who.command("bash", "-e", "-o", "pipefail", "-c", line)
	cmd.Dir = w.home
	cmd.Env = append(cmd.Env, "HOME="+w.home, "LVM2FS_RUN_DIR="+filepath.Join(w.dir, "run"), "PATH="+filepath.Dir(program)+":/usr/sbin:/usr/bin:/sbin:/bin")
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		errors.As(err, &exit)
		t.Fatalf("%s, typed by %s: %v\n%s%s", line, who.name, err, out, exit.Stderr)
	}
	return string(out)
}

// look reads the volumes, and the file on one of them, wherever they were not mounted before. With whole, all VGs must
// be there.
func (w *world) look(t *testing.T, whole bool) {
	t.Helper()
	file := w.cases[0].Files[0]
	for dir, who := range map[string]person{"home/lvm": w.user, "home/root": w.user, "mnt/lvm": w.root, "mnt/root": w.root, "mnt/all": w.root, "mnt/sda": w.root} {
		dir := filepath.Join(w.dir, dir)
		was := w.mounted[dir]
		w.mounted[dir] = inMountTable(t, dir)
		if was || !w.mounted[dir] {
			continue
		}
		if filepath.Base(dir) == "root" {
			err := who.do(func() error {
				if got := fileSum(t, filepath.Join(dir, file.Path)); got != file.SHA256 {
					return fmt.Errorf("%s: sha256 %s, want %s", file.Path, got, file.SHA256)
				}
				return nil
			})
			if err != nil {
				t.Error(err)
			}
			continue
		}
		var right []string
		for _, c := range w.cases {
			for i := range c.LVs {
				lv := &c.LVs[i]
				if who.do(func() error { return verifyFile(lv, filepath.Join(dir, lv.Path())) }) == nil {
					right = append(right, lv.Path())
				}
			}
		}
		if len(right) == 0 || whole && !slices.Contains(right, "vg_thin/vol_a") {
			t.Errorf("%s: right are %v", dir, right)
		}
	}
}
