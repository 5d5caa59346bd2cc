package blockdev

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"lvm2fs/internal/mounttable"
)

// look is what was read of the kernel's files.
type look struct{ kernel }

func newLook() look { return look{host.remembering()} }

// Of tells who uses a device: file systems mounted from it, swap, arrays and
// device-mapper devices over it or over its partitions, loop devices on it that are
// in use themselves, and programs that lock it or have it open for writing. It sees only
// what sysfs and procfs show to this process: nothing that is mounted only in another
// mount namespace, and the descriptors of other users' processes only as root. What this
// process itself does does not count.
func (u *Users) Of(d *Device) []Holder {
	f, ok := d.r.(*osFile)
	if !ok {
		return nil
	}
	if !d.isFile {
		n := numberOf(deviceNumber(d.info))
		return u.withWriters(u.deviceUsers(n), u.overlapping(n)...)
	}
	users := u.withWriters(u.fileUsers(f.File), identityOf(d.info))
	// A claim of this device is a lock too, and keeps others out.
	if len(users) == 0 && d.claims.Load() == 0 && isLockedByWriter(f.File) {
		users = append(users, Holder{What: "locked by another program, as QEMU locks what it writes to"})
	}
	return users
}

// attachedTo are the loop devices made of this file or device, which hold it even if nobody uses them.
func (d *Device) attachedTo() []Holder {
	return host.attachedTo(func(path string) bool {
		info, err := os.Stat(path)
		return err == nil && sameMedium(d.info, info)
	})
}

// withWriters adds to users the processes that have one of these open for writing.
func (k kernel) withWriters(users []Holder, of ...identity) []Holder {
	for _, pid := range k.writers(of) {
		h := k.openFor(pid)
		known := func(u Holder) bool { return u.Release == h.Release } // because it locks it
		if !slices.ContainsFunc(users, known) {
			users = append(users, h)
		}
	}
	return users
}

// kernel is where the kernel tells of its devices.
type kernel struct {
	sys, proc string

	recalled *recalled // nil to read anew each time
}

// recalled is what a kernel has told of all devices.
type recalled struct {
	mounts      func() []mount
	descriptors func() map[identity][]descriptor
}

// remembering is a kernel that is asked only once for what concerns all devices.
func (k kernel) remembering() kernel {
	with := k
	with.recalled = &recalled{sync.OnceValue(k.mounts), sync.OnceValue(k.descriptors)}
	return with
}

var host = kernel{sys: "/sys", proc: "/proc"}

// number is a device number as sysfs writes it, "8:1".
type number string

func numberOf(rdev uint64) number {
	return number(fmt.Sprintf("%d:%d", unix.Major(rdev), unix.Minor(rdev)))
}

// maxStack bounds how many devices lie over each other.
const maxStack = 16

func (k kernel) deviceUsers(n number) []Holder {
	dir, err := filepath.EvalSymlinks(filepath.Join(k.sys, "dev/block", string(n)))
	if err != nil {
		return nil
	}
	mounts := k.mounts()
	users := k.usersOf(dir, mounts, maxStack)
	if k.isPartition(dir) {
		// Whoever has the whole disk has the partition too. Its mounts are its own.
		for _, holder := range k.holders(filepath.Dir(dir), mounts, maxStack) {
			holder.What = "part of a disk in use: " + holder.What
			users = append(users, holder)
		}
		return users
	}
	for _, part := range entries(dir) {
		if part := filepath.Join(dir, part); k.isPartition(part) {
			for _, user := range k.usersOf(part, mounts, maxStack) {
				user.What = filepath.Base(part) + ": " + user.What
				users = append(users, user)
			}
		}
	}
	return users
}

// overlapping are a device, its partitions, and the disk that it is a partition of.
func (k kernel) overlapping(n number) (all []identity) {
	add := func(n string) {
		var major, minor uint32
		if _, err := fmt.Sscanf(n, "%d:%d", &major, &minor); err == nil {
			all = append(all, identity{device: unix.Mkdev(major, minor)})
		}
	}
	add(string(n))
	dir, err := filepath.EvalSymlinks(filepath.Join(k.sys, "dev/block", string(n)))
	if err != nil {
		return all
	}
	if k.isPartition(dir) {
		add(k.read(filepath.Dir(dir), "dev"))
		return all
	}
	for _, part := range entries(dir) {
		if part := filepath.Join(dir, part); k.isPartition(part) {
			add(k.read(part, "dev"))
		}
	}
	return all
}

// fileUsers tells who uses an image file: loop devices on it that are in use, programs
// that lock it for writing.
func (k kernel) fileUsers(f *os.File) []Holder {
	info, err := f.Stat()
	if err != nil {
		return nil
	}
	is := func(path string) bool {
		other, err := os.Stat(path)
		return err == nil && os.SameFile(info, other)
	}
	users := k.loopsOn(is, k.mounts(), maxStack)
	named := func(h Holder) bool {
		return slices.ContainsFunc(users, func(u Holder) bool { return strings.HasPrefix(u.What, h.What) })
	}
	return append(users, slices.DeleteFunc(k.lockers(info, is), named)...)
}

// usersOf tells who uses the device with this directory in sysfs itself, not its
// partitions.
func (k kernel) usersOf(dir string, mounts []mount, depth int) []Holder {
	name := filepath.Base(dir)
	n := number(k.read(dir, "dev"))
	is := func(path string) bool {
		if filepath.Base(path) == name {
			return true
		}
		info, err := os.Stat(path)
		return err == nil && info.Mode()&fs.ModeDevice != 0 && info.Mode()&fs.ModeCharDevice == 0 && numberOf(deviceNumber(info)) == n
	}
	users := k.holders(dir, mounts, depth)
	for _, m := range mounts {
		if m.number == n || m.source != "" && is(m.source) {
			users = append(users, mountedOn(m.on))
		}
	}
	for _, area := range k.swaps() {
		if is(area) {
			users = append(users, Holder{What: "swap area", Release: "swapoff " + shellWord(area)})
		}
	}
	return append(users, k.loopsOn(is, mounts, depth)...)
}

// holders are the devices that lie over this one.
func (k kernel) holders(dir string, mounts []mount, depth int) []Holder {
	if depth == 0 {
		return nil
	}
	var found []Holder
	for _, name := range entries(filepath.Join(dir, "holders")) {
		upper, err := filepath.EvalSymlinks(filepath.Join(dir, "holders", name))
		if err != nil {
			upper = filepath.Join(k.sys, "block", name)
		}
		found = append(found, above(k.describe(upper), k.usersOf(upper, mounts, depth-1)))
	}
	return found
}

// loopsOn are the loop devices in use whose file is the one asked for. A loop device that
// is only attached changes nothing.
func (k kernel) loopsOn(is func(path string) bool, mounts []mount, depth int) []Holder {
	if depth == 0 {
		return nil
	}
	var found []Holder
	loops, _ := filepath.Glob(filepath.Join(k.sys, "block/loop*"))
	for _, dir := range loops {
		file := k.read(dir, "loop/backing_file")
		if file == "" || !is(file) {
			continue
		}
		users := k.usersOf(dir, mounts, depth-1)
		for _, part := range entries(dir) {
			if part := filepath.Join(dir, part); k.isPartition(part) {
				users = append(users, k.usersOf(part, mounts, depth-1)...)
			}
		}
		if len(users) > 0 {
			name := filepath.Base(dir)
			found = append(found, above(Holder{What: "attached to " + name, Release: "losetup -d /dev/" + name}, users))
		}
	}
	return found
}

// attachedTo are the loop devices whose file is the one asked for, in use or not.
func (k kernel) attachedTo(is func(path string) bool) []Holder {
	var found []Holder
	loops, _ := filepath.Glob(filepath.Join(k.sys, "block/loop*"))
	for _, dir := range loops {
		if file := k.read(dir, "loop/backing_file"); file != "" && is(file) {
			name := filepath.Base(dir)
			found = append(found, Holder{What: "attached to " + name, Release: "losetup -d /dev/" + name})
		}
	}
	return found
}

// above adds to a holder those who use it in turn: they must be gone before it can go. If one of them cannot
// be released, no command can release the holder.
func above(h Holder, users []Holder) Holder {
	const named = 3 // a pool has hundreds
	var commands []string
	stays := h.Release == ""
	for i, user := range users {
		if i < named {
			h.What += ", " + user.What
		}
		stays = stays || user.Release == ""
		if !slices.Contains(commands, user.Release) {
			commands = append(commands, user.Release)
		}
	}
	if more := len(users) - named; more > 0 {
		h.What += fmt.Sprintf(", and %d more", more)
	}
	if stays {
		h.Release = ""
		return h
	}
	if !slices.Contains(commands, h.Release) {
		commands = append(commands, h.Release)
	}
	h.Release = strings.Join(commands, " && ")
	return h
}

// describe says what kind of device lies over another, and how it is taken down.
func (k kernel) describe(dir string) Holder {
	name := filepath.Base(dir)
	dm, uuid := k.read(dir, "dm/name"), k.read(dir, "dm/uuid")
	switch {
	case strings.HasPrefix(uuid, "LVM-"):
		vg, lv := splitLVName(dm)
		return Holder{What: fmt.Sprintf("active LV %s/%s (%s)", vg, lv, name), Release: "vgchange -an " + shellWord(vg)}
	case strings.HasPrefix(uuid, "CRYPT-"):
		return Holder{What: fmt.Sprintf("open LUKS container %s (%s)", dm, name), Release: "cryptsetup close " + shellWord(dm)}
	case strings.HasPrefix(uuid, "mpath-"):
		return Holder{What: fmt.Sprintf("path of multipath device %s (%s)", dm, name), Release: "multipath -f " + shellWord(dm)}
	case dm != "":
		return Holder{What: fmt.Sprintf("device-mapper device %s (%s)", dm, name), Release: "dmsetup remove " + shellWord(dm)}
	case k.read(dir, "md/level") != "" || strings.HasPrefix(name, "md"):
		return Holder{What: "MD array " + name, Release: "mdadm --stop /dev/" + name}
	case strings.HasPrefix(name, "bcache"):
		return Holder{What: "bcache device " + name, Release: "echo 1 > /sys/block/" + name + "/bcache/stop"}
	case strings.HasPrefix(name, "drbd"):
		return Holder{What: "DRBD device " + name, Release: "drbdsetup down " + name}
	}
	return Holder{What: "block device " + name}
}

// splitLVName takes VG and LV out of a device-mapper name, in which a hyphen of either is
// doubled.
func splitLVName(name string) (vg, lv string) {
	const hyphen = "\x00"
	vg, lv, _ = strings.Cut(strings.ReplaceAll(name, "--", hyphen), "-")
	return strings.ReplaceAll(vg, hyphen, "-"), strings.ReplaceAll(lv, hyphen, "-")
}

type mount struct {
	number number
	source string // for the file systems whose number is not that of a device
	on     string
}

func (k kernel) mounts() []mount {
	if k.recalled != nil {
		return k.recalled.mounts()
	}
	infos, _ := mounttable.Read(strings.NewReader(k.read(k.proc, "self/mountinfo")))
	var mounts []mount
	for _, info := range infos {
		m := mount{number: number(fmt.Sprintf("%d:%d", info.Major, info.Minor)), on: info.Mountpoint}
		// Btrfs has a number of its own. In a FUSE file system the source is any text.
		if info.Major == 0 && strings.HasPrefix(info.Source, "/dev/") && !strings.HasPrefix(info.FSType, "fuse") {
			m.source = info.Source
		}
		mounts = append(mounts, m)
	}
	return mounts
}

func (k kernel) swaps() []string {
	var areas []string
	for line := range strings.Lines(k.read(k.proc, "swaps")) {
		if f := strings.Fields(line); len(f) > 1 && f[1] == "partition" {
			areas = append(areas, unescape(f[0]))
		}
	}
	return areas
}

// lockers are the other processes that hold the whole of a file for writing, by flock.
func (k kernel) lockers(info fs.FileInfo, is func(path string) bool) []Holder {
	st := statOf(info)
	file := fmt.Sprintf("%02x:%02x:%d", unix.Major(st.Dev), unix.Minor(st.Dev), st.Ino)
	var found []Holder
	for line := range strings.Lines(k.read(k.proc, "locks")) {
		f := strings.Fields(line)
		if len(f) < 6 || f[1] != "FLOCK" || f[3] != "WRITE" || f[5] != file {
			continue
		}
		pid, err := strconv.Atoi(f[4])
		switch {
		case err != nil || pid <= 0 || pid == os.Getpid():
		case k.read(k.proc, f[4], "stat") == "": // it has left the lock to what it has made
			found = append(found, k.attachedTo(is)...)
		default:
			found = append(found, Holder{What: k.process(pid), Release: "kill " + f[4]})
		}
	}
	return found
}

func statOf(info fs.FileInfo) *syscall.Stat_t { return info.Sys().(*syscall.Stat_t) }

func (k kernel) process(pid int) string {
	if name := k.read(k.proc, strconv.Itoa(pid), "comm"); name != "" {
		return fmt.Sprintf("locked by process %d (%s)", pid, shellWord(name))
	}
	return fmt.Sprintf("locked by process %d", pid)
}

func (k kernel) isPartition(dir string) bool { return k.read(dir, "partition") != "" }

// read is the text of a small file, "" if there is none.
func (k kernel) read(elem ...string) string {
	b, err := os.ReadFile(filepath.Join(elem...))
	if err != nil {
		return ""
	}
	return strings.TrimSuffix(string(b), "\n")
}

func entries(dir string) []string {
	list, _ := os.ReadDir(dir)
	names := make([]string, len(list))
	for i, e := range list {
		names[i] = e.Name()
	}
	return names
}

// unescape undoes the \040 of procfs.
func unescape(s string) string {
	var b strings.Builder
	for len(s) > 0 {
		if s[0] == '\\' && len(s) >= 4 {
			if c, err := strconv.ParseUint(s[1:4], 8, 8); err == nil {
				b.WriteByte(byte(c))
				s = s[4:]
				continue
			}
		}
		b.WriteByte(s[0])
		s = s[1:]
	}
	return b.String()
}
