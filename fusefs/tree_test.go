package fusefs

import (
	"bytes"
	"context"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"syscall"
	"testing"

	gofuse "github.com/hanwen/go-fuse/v2/fuse"

	"lvm2fs/internal/test/testenv"
	"lvm2fs/internal/test/testpv"
	"lvm2fs/lvm2"
	"lvm2fs/lvm2/metadata"
)

// allKinds has a file of each kind.
func allKinds() testpv.VG {
	return testpv.VG{
		Name: "vg", Seqno: 1, PVs: []string{"sda"},
		LVs: []testpv.LV{
			{Name: "plain", Segments: []string{testpv.Linear(0, 3, "pv0", 0)}, Extra: "creation_time = 1700000000\ntags = [\"red\", \"blue\"]"},
			{Name: "locked", Status: `"READ", "VISIBLE"`, Segments: []string{testpv.Linear(0, 1, "pv0", 3)}},
			{Name: "hidden", Status: `"READ", "WRITE"`, Segments: []string{testpv.Linear(0, 1, "pv0", 4)}},
			{Name: "odd", Segments: []string{"start_extent = 0\nextent_count = 2\ntype = \"quantum\""}},
		},
	}
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestEachVGIsADirectoryAndEachLVAFile(t *testing.T) {
	second := allKinds()
	second.Name, second.PVs = "another", []string{"sdb"}
	m := mountDisks(t, append(allKinds().Disks(), second.Disks()...))
	if got, want := names(t, m.dir), []string{"another", "vg"}; !slices.Equal(got, want) {
		t.Errorf("the root holds %v, want %v", got, want)
	}
	if got, want := names(t, m.path("vg")), []string{"locked", "odd", "plain"}; !slices.Equal(got, want) {
		t.Errorf("the VG holds %v, want %v", got, want)
	}
	for _, f := range []struct {
		name  string
		mode  fs.FileMode
		size  int64
		links uint64
	}{
		{".", fs.ModeDir | 0o750, 0, 4},
		{"vg", fs.ModeDir | 0o750, 0, 2},
		{"vg/plain", 0o640, 3 * extent, 1},
		{"vg/locked", 0o440, extent, 1},
		{"vg/odd", 0o440, 2 * extent, 1},
	} {
		info := m.stat(f.name)
		st := info.Sys().(*syscall.Stat_t)
		if info.Mode() != f.mode || info.Size() != f.size || uint64(st.Nlink) != f.links {
			t.Errorf("%s: mode %v, size %d, %d links; want %v, %d, %d", f.name, info.Mode(), info.Size(), st.Nlink, f.mode, f.size, f.links)
		}
		if st.Uid != uint32(os.Getuid()) || st.Gid != uint32(os.Getgid()) {
			t.Errorf("%s belongs to %d:%d", f.name, st.Uid, st.Gid)
		}
	}
	for _, name := range []string{"nothing", "vg/nothing", "vg/hidden", "vg/plain/x"} {
		if _, err := os.Lstat(m.path(name)); err == nil {
			t.Errorf("%s exists", name)
		}
	}
}

func TestInternalLVsShowOnDemandAndAreReadOnly(t *testing.T) {
	m := mount(t, allKinds(), func(c *Config) { c.All = true })
	if info := m.stat("vg/hidden"); info.Mode() != 0o440 || info.Size() != extent {
		t.Errorf("hidden is %v, %d bytes", info.Mode(), info.Size())
	}
	if got, err := os.ReadFile(m.path("vg/hidden")); err != nil || !bytes.Equal(got, m.disks[0].Extent(4, extent)) {
		t.Errorf("reading hidden: %v", err)
	}
	_, err := os.OpenFile(m.path("vg/hidden"), os.O_RDWR, 0)
	wantErrno(t, "writing hidden", err, rootOr(syscall.EROFS, syscall.EACCES))
}

func TestADaemonIsGoneWhenTheSystemSaysSo(t *testing.T) {
	for _, c := range []struct {
		name string
		info os.FileInfo
		err  error
		want bool
	}{
		{"Linux", nil, &fs.PathError{Op: "stat", Err: syscall.ENOTCONN}, true},
		{"FreeBSD, stat", statOf{}, nil, true},
		{"FreeBSD, anything else", nil, &fs.PathError{Op: "open", Err: syscall.ENXIO}, true},
		{"alive", statOf{stat: syscall.Stat_t{Ino: 1, Nlink: 2}}, nil, false},
		{"alive, but for others", nil, syscall.EACCES, false},
		{"no such directory", nil, syscall.ENOENT, false},
		{"another request, answered", nil, nil, false},
	} {
		if got := DaemonGone(c.info, c.err); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

// statOf is what a system answers to stat.
type statOf struct {
	os.FileInfo
	stat syscall.Stat_t
}

func (s statOf) Sys() any { return &s.stat }

func TestOwnerAndUmaskAreAsConfigured(t *testing.T) {
	testenv.NeedRoot(t)
	m := mount(t, oneLV(), func(c *Config) { c.UID, c.GID, c.FileMask, c.DirMask = 12, 34, 0o027, 0o027 })
	for name, mode := range map[string]fs.FileMode{"vg": fs.ModeDir | 0o750, "vg/data": 0o640} {
		info := m.stat(name)
		st := info.Sys().(*syscall.Stat_t)
		if info.Mode() != mode&^0o027 || st.Uid != 12 || st.Gid != 34 {
			t.Errorf("%s: mode %v, owner %d:%d", name, info.Mode(), st.Uid, st.Gid)
		}
	}
}

func TestInodeNumbersDependOnUUIDsAlone(t *testing.T) {
	vg := oneLV()
	ino := func(vg testpv.VG, name string) uint64 {
		return uint64(mount(t, vg).stat(name).Sys().(*syscall.Stat_t).Ino)
	}
	data, other := ino(vg, "vg/data"), ino(vg, "vg/other")
	slices.Reverse(vg.LVs)
	vg.Seqno++
	if got := ino(vg, "vg/data"); got != data || got == other {
		t.Errorf("data had inode %d, now %d; other %d", data, got, other)
	}
}

func TestInodeNumbersAreNeverEqualNorReserved(t *testing.T) {
	keys := []fileKey{{"b", "2"}, {"a", ""}, {"b", "1"}, {"b", ""}, {"a", ""}}
	// A hash that gives reserved numbers first, and then the same to all.
	bad := func(_ fileKey, try uint64) uint64 {
		return []uint64{0, 1, ^uint64(0), 100, 101, 102, 103}[try]
	}
	got := numberKeys(slices.Clone(keys), bad)
	want := map[fileKey]uint64{{"a", ""}: 100, {"b", ""}: 101, {"b", "1"}: 102, {"b", "2"}: 103}
	if len(got) != len(want) {
		t.Fatalf("got %v", got)
	}
	for k, n := range want {
		if got[k] != n {
			t.Errorf("%v has %d, want %d", k, got[k], n)
		}
	}
	if hashKey(fileKey{"a", "1"}, 0) == hashKey(fileKey{"a", "1"}, 1) {
		t.Error("a second try gives the same hash")
	}
}

func TestNamesThatAreNoneAreRefused(t *testing.T) {
	for _, name := range []string{"", ".", "..", "a/b", "a\x00b", string(make([]byte, 256))} {
		if usable(name, false) == nil {
			t.Errorf("%q is taken for a name", name)
		}
	}
	if usable("taken", true) == nil {
		t.Error("a name is used twice")
	}
	if err := usable("fine", false); err != nil {
		t.Error(err)
	}
}

func TestDirectoriesCannotBeChanged(t *testing.T) {
	m := mount(t, oneLV())
	for what, err := range map[string]error{
		"create":        func() error { _, err := os.Create(m.path("vg/new")); return err }(),
		"create a VG":   func() error { _, err := os.Create(m.path("new")); return err }(),
		"mkdir":         os.Mkdir(m.path("new"), 0o755),
		"mkdir in a VG": os.Mkdir(m.path("vg/new"), 0o755),
		"unlink":        syscall.Unlink(m.path("vg/data")),
		"rmdir":         syscall.Rmdir(m.path("vg")),
		"rename":        os.Rename(m.path("vg/data"), m.path("vg/new")),
		"rename a VG":   os.Rename(m.path("vg"), m.path("new")),
		"link":          os.Link(m.path("vg/data"), m.path("vg/new")),
		"symlink":       os.Symlink("data", m.path("vg/new")),
		"mkfifo":        syscall.Mkfifo(m.path("vg/new"), 0o600),
		"chmod":         os.Chmod(m.path("vg"), 0o700),
		"chown":         os.Chown(m.path("vg"), 1, 1),
	} {
		wantErrno(t, what, err, syscall.EPERM)
	}
	if got := names(t, m.path("vg")); !slices.Equal(got, []string{"data", "other"}) {
		t.Errorf("the VG holds %v", got)
	}
}

func TestStatfsTellsExtentsUsedAndFree(t *testing.T) {
	vg := func(pvs, lvs, extentSize int64) *lvm2.VG {
		v := &lvm2.VG{VG: &metadata.VG{ExtentSize: extentSize, PVs: []*metadata.PV{{ExtentCount: uint64(pvs)}}}}
		for range lvs {
			v.LVs = append(v.LVs, &lvm2.LV{})
		}
		return v
	}
	for _, c := range []struct {
		what          string
		vgs           []*lvm2.VG
		block, blocks int64
	}{
		{"none", nil, 512, 0},
		{"one", []*lvm2.VG{vg(10, 2, 4<<20)}, 4 << 20, 10},
		{"two of different extents", []*lvm2.VG{vg(10, 2, 4<<20), vg(3, 0, 6<<20)}, 2 << 20, 29},
		{"extents too large for 32 bits", []*lvm2.VG{vg(10, 2, 16<<30)}, 1 << 30, 160},
	} {
		var out gofuse.StatfsOut
		fillStatfs(c.vgs, &out)
		if int64(out.Bsize) != c.block || out.Frsize != out.Bsize || int64(out.Blocks) != c.blocks || out.Bfree != out.Blocks {
			t.Errorf("%s: %d of %d blocks of %d free, want %d of %d", c.what, out.Bfree, out.Blocks, out.Bsize, c.blocks, c.block)
		}
	}

	m := mount(t, oneLV())
	for _, name := range []string{".", "vg", "vg/data"} {
		var st syscall.Statfs_t
		if err := syscall.Statfs(m.path(name), &st); err != nil {
			t.Fatal(err)
		}
		if st.Bsize != extent || st.Blocks != 200 || st.Bfree != 194 || st.Files != 0 || st.Ffree != 0 {
			t.Errorf("%s: %d of %d blocks of %d are free, %d files", name, st.Bfree, st.Blocks, st.Bsize, st.Files)
		}
	}
}

func TestADirectoryOfAVGThatIsGoneIsStale(t *testing.T) {
	s := newServer("", Config{Scan: lvm2.Open(nil, lvm2.Options{}), Logger: slog.New(slog.DiscardHandler)})
	n := &vgNode{lvsNode{dirNode: dirNode{s: s}, uuid: "gone"}}
	if errno := n.Getattr(context.Background(), nil, nil); errno != syscall.ESTALE {
		t.Errorf("stat: %v", errno)
	}
	if _, errno := n.Lookup(context.Background(), "x", nil); errno != syscall.ENOENT {
		t.Errorf("lookup: %v", errno)
	}
	if _, errno := n.Readdir(context.Background()); errno != syscall.ESTALE {
		t.Errorf("readdir: %v", errno)
	}
}
