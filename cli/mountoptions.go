package cli

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/alecthomas/kong"
)

// mountOptions is what the options of -o mean together.
type mountOptions struct {
	readOnly    bool // the last of ro and rw was ro
	writable    bool // the last of ro and rw was rw
	allowOther  bool
	allowRoot   bool
	remount     bool
	kernelCache bool
	directIO    bool
	autoUnmount bool
	sync        bool
	sacrifice   bool    // of snapshots
	uid, gid    *uint32 // nil for those of the mounting user
	umask       *uint32
	fmask       *uint32 // nil: umask
	dmask       *uint32 // nil: umask
	maxRead     int     // bytes; 0: as we think best

	attrTimeout  *time.Duration // nil: as we think best
	entryTimeout time.Duration
	idle         time.Duration // 0: never

	fsName  string
	subtype string
	devices []string // of device=PATH
	kernel  []string // passed on as they are
	flags   []string // those of the command line that options stand for
}

// ignored are the options of mount(8) and fstab(5) that are not for file systems to
// act upon, or say what is so in any case. mount(8) hands them all over.
var ignored = []string{
	"defaults", "dev", "suid", "exec", "atime", "diratime", "nodiratime", "relatime",
	"norelatime", "strictatime", "nostrictatime", "lazytime", "nolazytime", "iversion",
	"noiversion", "mand", "nomand", "async", "loud", "silent", "symfollow", "nosymfollow",
	"auto", "noauto", "user", "nouser", "users", "owner", "group", "nofail", "failok",
	"late", "_netdev", "_rnetdev", "default_permissions", "nonempty",
}

// ignoredOfFUSE are options of other FUSE programs that mean nothing here, or what is so in any case, and those by
// which the kernel tells of a mount, which mount(8) hands back when it mounts again.
var ignoredOfFUSE = []string{
	"user_id", "group_id", "rootmode", "fd", "blksize", "blkdev", "max_write", "max_readahead", "max_background",
	"congestion_threshold", "big_writes", "intr", "intr_signal", "quiet", "hard_remove", "use_ino", "readdir_ino",
	"noforget", "remember", "negative_timeout", "ac_attr_timeout", "noauto_cache", "async_read", "sync_read",
	"atomic_o_trunc", "large_read", "no_remote_lock", "no_remote_flock", "no_remote_posix_lock", "clone_fd",
	"max_idle_threads", "max_threads", "splice_read", "splice_write", "splice_move", "no_splice_read",
	"no_splice_write", "no_splice_move",
}

// labels are the options about the SELinux labels of all files.
var labels = []string{"context", "fscontext", "defcontext", "rootcontext"}

// notOptions are the flags of mount that are no mount options: they have other names there, or are about
// the command and not the mount.
var notOptions = []string{"options", "read-only", "foreground"}

// optionFlags are the flags of mount that are mount options too, by name: a line of fstab(5) has no other
// place for them.
func optionFlags(model *kong.Application) map[string]*kong.Flag {
	flags := map[string]*kong.Flag{}
	for _, flag := range findCommand(model, "mount").Flags {
		if !flag.Hidden && !slices.Contains(notOptions, flag.Name) {
			flags[flag.Name] = flag
		}
	}
	return flags
}

func checkFlagOption(flag *kong.Flag, hasValue bool, value string) error {
	switch {
	case flag.IsBool() && hasValue:
		return errors.New("takes no value")
	case !flag.IsBool() && value == "":
		return errors.New("a value is missing")
	}
	return nil
}

// parseMountOptions reads the arguments of -o. Of options that exclude each other the
// last one counts. flags are those that are options too, and system what this system has. sloppy lets unknown options
// pass, as mount -s asks.
func parseMountOptions(args []string, flags map[string]*kong.Flag, system systemOptions, sloppy bool) (mountOptions, error) {
	var o mountOptions
	for _, arg := range args {
		for _, option := range splitOptions(arg) {
			err := o.set(option, flags, system)
			if errors.Is(err, errUnknownOption) && sloppy {
				continue
			}
			if err != nil {
				return mountOptions{}, usagef("-o %s: %w", option, err)
			}
		}
	}
	return o, nil
}

// splitOptions splits at commas. `\,` is a comma and `\\` a backslash within an
// option; before anything else a backslash is itself.
func splitOptions(s string) []string {
	var options []string
	var option strings.Builder
	end := func() {
		if option.Len() > 0 {
			options = append(options, option.String())
		}
		option.Reset()
	}
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '\\' && i+1 < len(s) && (s[i+1] == ',' || s[i+1] == '\\'):
			i++
			option.WriteByte(s[i])
		case s[i] == ',':
			end()
		default:
			option.WriteByte(s[i])
		}
	}
	end()
	return options
}

var errUnknownOption = errors.New("unknown option")

func (o *mountOptions) set(option string, flags map[string]*kong.Flag, system systemOptions) (err error) {
	if undone := opposites[option]; undone != "" {
		o.kernel = slices.DeleteFunc(o.kernel, func(other string) bool { return other == undone })
		o.sync = o.sync && undone != "sync"
	}
	if option == "sync" {
		o.sync = true // whatever the system does about it
	}
	name, value, hasValue := strings.Cut(option, "=")
	switch name {
	case "uid", "gid", "umask", "fmask", "dmask", "fsname", "subtype", "device", "max_read", "attr_timeout", "entry_timeout", "idle":
		if value == "" {
			return errors.New("a value is missing")
		}
	case "ro", "rw", "allow_other", "allow_root", "auto_unmount", "kernel_cache", "auto_cache", "direct_io", "remount", "update":
		if hasValue {
			return errors.New("takes no value")
		}
	}
	switch {
	case system.refused[option] != "":
		return errors.New(system.refused[option])
	case name == "ro" || name == "rw":
		o.readOnly, o.writable = name == "ro", name == "rw"
	case name == "allow_other" || name == "allow_root":
		o.allowOther, o.allowRoot = name == "allow_other", name == "allow_root"
	case name == "auto_unmount":
		o.autoUnmount = true
	case name == "kernel_cache" || name == "auto_cache" || name == "direct_io":
		// What is cached is dropped when a file is opened anew, as auto_cache asks.
		o.kernelCache, o.directIO = name != "direct_io", name == "direct_io"
	case name == "remount" || name == "update": // mount -u of the BSDs
		o.remount = true
	case option == "rdonly": // what the BSDs call ro, too
		o.readOnly, o.writable = true, false
	case name == "uid":
		o.uid, err = parseUID(value)
	case name == "gid":
		o.gid, err = parseGID(value)
	case name == "umask":
		o.umask, err = parseUmask(value)
	case name == "fmask":
		o.fmask, err = parseUmask(value)
	case name == "dmask":
		o.dmask, err = parseUmask(value)
	case name == "max_read":
		o.maxRead, err = parseMaxRead(value)
	case name == "attr_timeout":
		var timeout time.Duration
		timeout, err = parseTime(value, time.Second)
		o.attrTimeout = &timeout
	case name == "entry_timeout":
		o.entryTimeout, err = parseTime(value, time.Second)
	case name == "idle":
		if o.idle, err = parseTime(value, time.Minute); err == nil && o.idle == 0 {
			err = errors.New("must be more than 0 minutes")
		}
	case name == "snapshots":
		switch value {
		case "keep", "sacrifice":
			o.sacrifice = value == "sacrifice"
		default:
			err = errors.New("must be keep or sacrifice")
		}
	case name == "fsname":
		o.fsName = value
	case name == "subtype":
		o.subtype = value
	case name == "device":
		o.devices = append(o.devices, value)
	case slices.Contains(system.passed, option), slices.Contains(system.named, name) && value != "", slices.Contains(labels, name) && labelled():
		o.kernel = append(o.kernel, option)
	case slices.Contains(system.dropped, option):
	case flags[name] != nil:
		o.flags = append(o.flags, "--"+option)
		err = checkFlagOption(flags[name], hasValue, value)
	case slices.Contains(ignored, name), slices.Contains(ignoredOfFUSE, name), slices.Contains(labels, name), name == "comment",
		strings.HasPrefix(option, "x-"), strings.HasPrefix(option, "X-"):
	default:
		return errUnknownOption
	}
	return err
}

// labelled says whether the kernel has SELinux; without it, it knows no labels, and
// mount(8) leaves those options out too.
func labelled() bool {
	_, err := os.Stat("/sys/fs/selinux")
	return err == nil
}

func parseUID(s string) (*uint32, error) {
	if u, err := user.Lookup(s); err == nil {
		s = u.Uid
	}
	return parseID(s, "no such user")
}

func parseGID(s string) (*uint32, error) {
	if g, err := user.LookupGroup(s); err == nil {
		s = g.Gid
	}
	return parseID(s, "no such group")
}

func parseID(s, unknown string) (*uint32, error) {
	// All ones is the ID that means none.
	id, err := strconv.ParseUint(s, 10, 32)
	if err != nil || id == 1<<32-1 {
		return nil, errors.New(unknown)
	}
	id32 := uint32(id)
	return &id32, nil
}

func parseUmask(s string) (*uint32, error) {
	mask, err := strconv.ParseUint(s, 8, 32)
	if err != nil || mask > 0o777 {
		return nil, fmt.Errorf("not an octal number up to 777")
	}
	mask32 := uint32(mask)
	return &mask32, nil
}

func parseMaxRead(s string) (int, error) {
	n, err := strconv.ParseUint(s, 10, 31)
	if err != nil {
		return 0, errors.New("not a number of bytes")
	}
	return int(n), nil
}

// parseTime reads a number of units, which may have a fraction. A year is the most.
func parseTime(s string, unit time.Duration) (time.Duration, error) {
	const most = 365 * 24 * time.Hour
	n, err := strconv.ParseFloat(s, 64)
	// A NaN is neither.
	if err != nil || !(n >= 0 && n <= float64(most/unit)) {
		return 0, fmt.Errorf("not a time in units of %v", unit)
	}
	return time.Duration(n * float64(unit)), nil
}

// masks are the permission bits that files and directories do not have.
func (o *mountOptions) masks() (file, dir uint32) {
	if o.umask != nil {
		file, dir = *o.umask, *o.umask
	}
	if o.fmask != nil {
		file = *o.fmask
	}
	if o.dmask != nil {
		dir = *o.dmask
	}
	return file, dir
}
