package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"

	"github.com/alecthomas/kong"

	"lvm2fs/fusefs"
	"lvm2fs/lvm2"
	"lvm2fs/overlay"
)

type mountCmd struct {
	Foreground bool     `short:"f" help:"Stay in the foreground. The default is to return once the mount answers."`
	ReadOnly   bool     `short:"r" help:"Forbid writing; the same as -o ro, and stronger than -o rw."`
	All        bool     `short:"a" help:"Show internal LVs too (_rimage_0, _tdata, ...), as lvs -a does, and thin devices without an LV; always read-only."`
	Removed    bool     `help:"Show LVs that were removed too, as VG/.removed/LV@SEQNO."`
	Options    []string `short:"o" sep:"none" placeholder:"OPT[,OPT...]" help:"Mount options, see above."`
	Debug      bool     `short:"d" help:"Log every FUSE request."`
	Overlay    string   `placeholder:"DIR" help:"Keep what is written in files of DIR and open no device for writing. Every LV can be written then."`
	LogFile    string   `placeholder:"FILE" help:"Append messages to FILE once the mount answers. The default is syslog, or standard error with -f."`
	deviceOptions

	// mount(8) may hand its own flags to a helper.
	Sloppy  bool   `short:"s" hidden:"" help:"Ignore unknown mount options."`
	NoMtab  bool   `short:"n" hidden:"" help:"Accepted for mount(8)."`
	Verbose bool   `short:"v" hidden:"" help:"Accepted for mount(8)."`
	Type    string `short:"t" hidden:"" help:"Accepted for mount(8)."`

	Args []string `arg:"" optional:"" name:"device... mountpoint"`
}

// Help is shown by lvm2fs mount --help, between the synopsis and the flags.
func (mountCmd) Help() string {
	return `Examples:
  lvm2fs /dev/sdb1 /dev/sdc1 /mnt/lvm
  lvm2fs -r disk.img ~/lvm
  lvm2fs ./list /mnt/lvm               a device that is called like a command
  lvm2fs -o remount /mnt/lvm           read the metadata again after it was changed
  mount -t fuse.lvm2fs /dev/sdb1 /mnt/lvm -o ro,device=/dev/sdc1

Each volume group becomes a directory of MOUNTPOINT, each logical volume a file in it.
The files can be written unless -r is given; a device is opened for writing only when
a file on it is.

A block device of a volume, on Linux, FreeBSD and macOS:
  losetup --direct-io=on -f --show /mnt/lvm/vg/root
  ggatel create -o ro /mnt/lvm/vg/root     without -o ro it must not be trimmed
  hdiutil attach -nomount -imagekey diskimage-class=CRawDiskImage ~/lvm/vg/root

A line of /etc/fstab:
  /dev/sdb1 /mnt/lvm fuse.lvm2fs ro,nofail,device=/dev/sdc1 0 0

Mount options:
  ro, rw                     forbid or allow writing; rw is the default
  allow_other, allow_root    let other users in, or root alone, as far as the files' modes do
  auto_unmount               unmount when lvm2fs was killed
  idle=MINUTES               unmount by itself when not used for so long
  direct_io                  cache in memory nothing of what is read: for reads of 1 MiB one
                             after the other and where others write to the devices; the
                             default is to cache, on Linux, what is read while nobody writes
  kernel_cache               cache what is read and written
  uid=, gid=, umask=         owner, group and missing permissions of the files
  fmask=, dmask=             missing permissions of files alone, of directories alone
  attr_timeout=, entry_timeout=
                             seconds that the kernel keeps attributes and names; 0
  max_read=                  the most bytes of one read or write
  fsname=, subtype=          what the mount table shows as source and type
  device=PATH                a further device; may be repeated, \, is a comma
  remount                    have the running mount read the metadata again
  nodev, nosuid, noexec, noatime, dirsync
                             as for mount(8)
  snapshots=keep             fail writes to the origin of a snapshot that is full; the default
  snapshots=sacrifice        let the snapshot be lost for ever instead, as Linux does
  sync                       every write is on stable storage when it returns
  removed                    show LVs that were removed too, as VG/.removed/LV@SEQNO
  overlay=DIR                keep what is written in files of DIR, not on the devices
  exclusive, scan, nested, key-file=, key-slot=, ...
                             every flag below but -f, for a line of /etc/fstab
  Others that mount(8) hands to every file system (nofail, _netdev, user, x-*, ...)
  are accepted and have no effect here.

Signals: INT and TERM unmount; a second one unmounts even if files are in use. HUP
reads the metadata again.`
}

func (c *mountCmd) Run(a *app, ctx *kong.Context) error {
	options, err := parseMountOptions(c.Options, optionFlags(ctx.Model), systemOptionsOf(runtime.GOOS), c.Sloppy)
	if err != nil {
		return err
	}
	if c, err = c.with(options.flags, a.args); err != nil {
		return err
	}
	options.readOnly = options.readOnly || c.ReadOnly
	if options.remount {
		return c.remount(a, options)
	}
	devices, mountpoint, err := c.places(options)
	if err != nil {
		return err
	}
	if err := checkMountpoint(mountpoint, devices); err != nil {
		return err
	}
	ready := readyPipe()
	if ready == nil && !c.Foreground {
		return startInBackground(a, mountpoint)
	}
	return c.serve(a, devices, mountpoint, options, ready)
}

// with is the command of the command line args with more flags, before those that are there.
func (c *mountCmd) with(flags, args []string) (*mountCmd, error) {
	if len(flags) == 0 {
		return c, nil
	}
	var line CLI
	parser, err := newParser(&line, io.Discard, io.Discard)
	if err != nil {
		return nil, err
	}
	_, err = parser.Parse(canonicalArgs(parser.Model, slices.Concat(flags, args)))
	return &line.Mount, err
}

// places are the paths of the command line, absolute, because a mount in the background
// leaves the directory that it was started in.
func (c *mountCmd) places(options mountOptions) (devices []string, mountpoint string, err error) {
	switch n := len(c.Args); {
	case n == 0 && c.Scan:
		return nil, "", usagef("no MOUNTPOINT given")
	case n == 0:
		return nil, "", usagef("no DEVICE and no MOUNTPOINT given")
	case n == 1 && !c.Scan:
		return nil, "", usagef("DEVICE or MOUNTPOINT missing: only %s given", c.Args[0])
	}
	if slices.Contains(c.Args, "") {
		return nil, "", usagef("a DEVICE or MOUNTPOINT is empty")
	}
	last := len(c.Args) - 1
	mountpoint, err = resolve(c.Args[last])
	if err != nil {
		return nil, "", err
	}
	for _, path := range slices.Concat(c.Args[:last], options.devices) {
		if c.Scan && path == noSource {
			continue
		}
		path, err := filepath.Abs(path)
		if err != nil {
			return nil, "", err
		}
		devices = append(devices, path)
	}
	return devices, mountpoint, nil
}

// noSource is what stands in fstab(5) where there is no device to name.
const noSource = "none"

// serve mounts and stays until the mount is gone.
func (c *mountCmd) serve(a *app, devices []string, mountpoint string, options mountOptions, ready *os.File) error {
	log, err := c.openLog(a, ready != nil)
	if err != nil {
		return err
	}
	if ready != nil {
		a.ask = remote{ready}
	}
	c.sacrifice, c.removed = options.sacrifice, c.Removed
	session, err := openDevices(a, devices, c.deviceOptions)
	if err != nil {
		return err
	}
	defer session.Close()
	_ = a.warnFaults(session.Result().VGs, openFault) // the others can be read
	overlays, err := openOverlayDir(c.Overlay)
	if err != nil {
		return err
	}
	a.warnOverlays(overlays, session.Result().VGs)
	// Up to here a signal just ends the process: nothing is mounted yet.
	signals := catchSignals()
	defer signals.stop()
	server, err := mountTree(a, mountpoint, c.config(a, session, overlays, options, devices))
	if err != nil {
		return err
	}
	if options.autoUnmount {
		if err := guard(mountpoint); err != nil {
			return errors.Join(err, server.ForceUnmount())
		}
	}
	if ready == nil {
		a.log.Info("mounted", "mountpoint", mountpoint, "volume_groups", len(session.Result().VGs))
		log.use(a)
	} else if err := detach(a, ready, log); err != nil {
		return errors.Join(err, server.ForceUnmount())
	}
	return attend(a, server, signals, mountpoint, options.idle)
}

func (c *mountCmd) config(a *app, s *session, overlays *overlay.Dir, options mountOptions, devices []string) fusefs.Config {
	config := fusefs.Config{
		Scan:        lvmScan(s.Result()),
		Rescan:      func() (*lvm2.Scan, []string, error) { return s.rescan(a) },
		ReadOnly:    options.readOnly,
		All:         c.All,
		Overlays:    overlays,
		AllowOther:  options.allowOther,
		AllowRoot:   options.allowRoot,
		DirectIO:    options.directIO,
		KernelCache: options.kernelCache,
		Sync:        options.sync,
		MaxRequest:  options.maxRead,
		Debug:       c.Debug,
		UID:         uint32(os.Getuid()),
		GID:         uint32(os.Getgid()),
		FSName:      options.fsName,
		Subtype:     options.subtype,
		Options:     options.kernel,
		Logger:      a.log,

		AttrTimeout:  defaultAttrTimeout,
		EntryTimeout: options.entryTimeout,
	}
	if options.attrTimeout != nil {
		config.AttrTimeout = *options.attrTimeout
	}
	if options.uid != nil {
		config.UID = *options.uid
	}
	if options.gid != nil {
		config.GID = *options.gid
	}
	config.FileMask, config.DirMask = options.masks()
	if config.FSName == "" && len(devices) > 0 {
		// mount -a and findmnt know a mount of fstab by its source.
		config.FSName = devices[0]
	}
	return config
}

// remount has a running mount read the metadata again. Whether files can be written was
// decided when it was mounted.
func (c *mountCmd) remount(a *app, options mountOptions) error {
	if len(c.Args) == 0 {
		return usagef("no MOUNTPOINT given")
	}
	mountpoint, err := resolve(c.Args[len(c.Args)-1])
	if err != nil {
		return err
	}
	m, err := findMount(mountpoint)
	if err != nil {
		return err
	}
	if options.readOnly && !m.readOnly {
		return fmt.Errorf("%s is mounted rw; remounting cannot change that, unmounting and mounting again does", mountpoint)
	}
	if options.writable && m.readOnly {
		a.warnf("%s stays read-only: remounting cannot change that, unmounting and mounting again does", mountpoint)
	}
	return a.reload(mountpoint)
}
