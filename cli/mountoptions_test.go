package cli

import (
	"errors"
	"io"
	"testing"
	"time"

	"github.com/alecthomas/kong"
	"github.com/google/go-cmp/cmp"
)

func TestSplitOptionsSplitsAtCommasThatAreNotEscaped(t *testing.T) {
	for _, c := range []struct {
		in   string
		want []string
	}{
		{"ro", []string{"ro"}},
		{"ro,noatime", []string{"ro", "noatime"}},
		{`device=/a\,b,ro`, []string{"device=/a,b", "ro"}},
		{`device=/a\\,ro`, []string{`device=/a\`, "ro"}},
		{`device=/a\b`, []string{`device=/a\b`}},
		{`device=/a\`, []string{`device=/a\`}},
		{",ro,,rw,", []string{"ro", "rw"}},
		{"", nil},
		{`\,`, []string{","}},
	} {
		if diff := cmp.Diff(c.want, splitOptions(c.in)); diff != "" {
			t.Errorf("splitOptions(%q): %s", c.in, diff)
		}
	}
}

func flagsOfMount(t *testing.T) map[string]*kong.Flag {
	t.Helper()
	parser, err := newParser(new(CLI), io.Discard, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	return optionFlags(parser.Model)
}

func parse(t *testing.T, args ...string) mountOptions {
	t.Helper()
	o, err := parseMountOptions(args, flagsOfMount(t), systemOptionsOf("linux"), false)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

var compareOptions = cmp.AllowUnexported(mountOptions{})

func id(n uint32) *uint32 { return &n }

func TestMountOptionsMeanWhatTheManualSays(t *testing.T) {
	got := parse(t, `ro,allow_other,uid=1000,gid=100,umask=027`, `fsname=disk,subtype=x,device=/a\,b,device=/c,remount,kernel_cache`)
	want := mountOptions{
		readOnly: true, allowOther: true, remount: true, kernelCache: true,
		uid: id(1000), gid: id(100), umask: id(0o27),
		fsName: "disk", subtype: "x", devices: []string{"/a,b", "/c"},
	}
	if diff := cmp.Diff(want, got, compareOptions); diff != "" {
		t.Error(diff)
	}
}

func TestOfRoAndRwTheLastCounts(t *testing.T) {
	if parse(t, "ro,rw").readOnly {
		t.Error("ro,rw is read-only")
	}
	if !parse(t, "rw", "ro").readOnly {
		t.Error("rw and then ro is not read-only")
	}
}

func TestGenericOptionsOfMountAreAcceptedWithoutEffect(t *testing.T) {
	got := parse(t, "defaults,dev,suid,exec,atime,relatime,user,user=bob,users,nouser,owner,group,auto,noauto,"+
		"nofail,failok,late,_netdev,async,x-systemd.automount,x-systemd.requires=/a,X-mount.mkdir=0755,comment=hello,default_permissions")
	if diff := cmp.Diff(mountOptions{}, got, compareOptions); diff != "" {
		t.Error(diff)
	}
}

func TestOptionsThatTheKernelKeepsArePassedOn(t *testing.T) {
	got := parse(t, "nodev,nosuid,noexec,noatime,sync,dirsync,ro").kernel
	if diff := cmp.Diff([]string{"nodev", "nosuid", "noexec", "noatime", "sync", "dirsync"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestBadOptionsAreUsageErrors(t *testing.T) {
	for _, option := range []string{
		"frobnicate", "ro=1", "allow_other=yes", "uid", "uid=", "uid=-1", "uid=4294967295", "uid=no such user",
		"gid=no such group", "umask=8", "umask=1000", "device", "device=", "fsname=", "nodev=1",
		"scan=1", "key-file", "key-file=", "options=ro", "foreground", "read-only", "help",
	} {
		_, err := parseMountOptions([]string{option}, flagsOfMount(t), systemOptionsOf("linux"), false)
		var usage usageError
		if !errors.As(err, &usage) {
			t.Errorf("-o %s: got %v, want a usage error", option, err)
		}
	}
}

func TestSloppyMountingIgnoresUnknownOptionsButNotBadValues(t *testing.T) {
	o, err := parseMountOptions([]string{"frobnicate,ro"}, flagsOfMount(t), systemOptionsOf("linux"), true)
	if err != nil || !o.readOnly {
		t.Errorf("got %+v, %v", o, err)
	}
	if _, err := parseMountOptions([]string{"uid="}, nil, systemOptions{}, true); err == nil {
		t.Error("uid= passed")
	}
}

func TestUsersAndGroupsMayBeNamed(t *testing.T) {
	o := parse(t, "uid=root")
	if o.uid == nil || *o.uid != 0 {
		t.Errorf("uid=root is %v", o.uid)
	}
}

func TestFlagsAreMountOptionsTooAndThoseOfTheCommandLineComeAfterThem(t *testing.T) {
	o := parse(t, `ro,exclusive,key-file=a.img=b\,c,key-file=-,key-slot=3,raid0-layout=original,offset=1048576`, "nested,trust-leg=vg/lv:1,log-file=/x")
	command, err := new(mountCmd).with(o.flags, []string{"-r", "a.img", "--offset=0", "--key-file=d", "/mnt", "--", "-o"})
	if err != nil {
		t.Fatal(err)
	}
	want := mountCmd{ReadOnly: true, LogFile: "/x", Args: []string{"a.img", "/mnt", "-o"}}
	want.Exclusive, want.Nested, want.Offset, want.RAID0Layout = true, true, []string{"1048576", "0"}, "original"
	want.Reused = "fail"
	want.KeyFile, want.KeySlot, want.TrustLeg = []string{"a.img=b,c", "-", "d"}, []string{"3"}, []string{"vg/lv:1"}
	if diff := cmp.Diff(want, *command, cmp.AllowUnexported(mountCmd{}, deviceOptions{})); diff != "" {
		t.Error(diff)
	}
	if _, err := new(mountCmd).with(parse(t, "raid0-layout=none").flags, nil); err == nil {
		t.Error("a layout that there is not")
	}
}

func TestOptionsOfOtherFUSEProgramsAreAccepted(t *testing.T) {
	got := parse(t, "rw,nosuid,nodev,user_id=0,group_id=0,rootmode=40000,big_writes,intr,quiet,hard_remove,use_ino,noforget,"+
		"auto_unmount,allow_other,allow_root,snapshots=keep,snapshots=sacrifice,max_read=8192,attr_timeout=1.5,entry_timeout=60,idle=0.5,umask=077,fmask=0137,direct_io,auto_cache")
	want := mountOptions{
		writable: true, allowRoot: true, autoUnmount: true, sacrifice: true, kernelCache: true, umask: id(0o77), fmask: id(0o137),
		maxRead: 8192, attrTimeout: new(1500 * time.Millisecond), entryTimeout: time.Minute, idle: 30 * time.Second,
		kernel: []string{"nosuid", "nodev"},
	}
	if diff := cmp.Diff(want, got, compareOptions); diff != "" {
		t.Error(diff)
	}
	if file, dir := got.masks(); file != 0o137 || dir != 0o77 {
		t.Errorf("masks %o and %o", file, dir)
	}
	for option, want := range map[string][2]bool{"ro": {}, "kernel_cache,direct_io": {false, true}, "direct_io,auto_cache": {true, false}} {
		if o := parse(t, option); o.kernelCache != want[0] || o.directIO != want[1] {
			t.Errorf("%s: kernel_cache is %t, direct_io %t", option, o.kernelCache, o.directIO)
		}
	}
	for _, option := range []string{
		"max_read=x", "max_read=-1", "max_read", "attr_timeout=-1", "attr_timeout=NaN", "entry_timeout=Inf", "entry_timeout=",
		"idle=0", "idle=1e-300", "idle=x", "fmask=8", "dmask=", "auto_unmount=1", "direct_io=0", "allow_root=1", "snapshots", "snapshots=", "snapshots=x",
	} {
		if _, err := parseMountOptions([]string{option}, flagsOfMount(t), systemOptionsOf("linux"), false); err == nil {
			t.Errorf("-o %s passed", option)
		}
	}
}
