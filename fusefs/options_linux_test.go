package fusefs

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hanwen/go-fuse/v2/fuse"

	"lvm2fs/lvm2"
)

// handedOver is what the fuse package hands over to the mount program of a system, after -o. A program of the name it
// has on Linux stands in for it.
func handedOver(t *testing.T, goos string, cfg Config) string {
	t.Helper()
	bin := t.TempDir()
	got := filepath.Join(bin, "arguments")
	program := "#!/bin/sh\nprintf '%s\\n' \"$@\" > " + got + "\nexit 1\n"
	for _, name := range []string{"fusermount3", "fusermount"} {
		if err := os.WriteFile(filepath.Join(bin, name), []byte(program), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	cfg.Scan = &lvm2.Scan{}
	s := newServer("", cfg)
	if _, err := fuse.NewServer(fuse.NewDefaultRawFileSystem(), t.TempDir(), s.mountOptions(goos)); err == nil {
		t.Fatal("mounted by a program that fails")
	}
	lines, err := os.ReadFile(got)
	if err != nil {
		t.Fatal(err)
	}
	arguments := strings.Split(strings.TrimSpace(string(lines)), "\n")
	for i, argument := range arguments[:len(arguments)-1] {
		if argument == "-o" {
			return arguments[i+1]
		}
	}
	t.Fatalf("no -o in %q", arguments)
	return ""
}

func TestANameWithACommaIsNoOptionOfTheMountProgram(t *testing.T) {
	cfg := Config{FSName: `/disks/x,allow_other\,suid.img`, Subtype: `a,b\c`, Options: []string{`volname=my,disk\s`, "noatime"}, ReadOnly: true}
	bsd := `default_permissions,ro,volname=my_disk_s,noatime,fsname=/disks/x_allow_other__suid.img,subtype=a_b_c`
	for goos, want := range map[string]string{
		"freebsd": bsd,
		"darwin":  bsd,
		// fusermount takes the backslashes away.
		"linux": `default_permissions,ro,volname=my\,disk\\s,noatime,fsname=/disks/x\,allow_other\\\,suid.img,subtype=a\,b\\c`,
	} {
		got := handedOver(t, goos, cfg)
		i := strings.LastIndex(got, ",max_read=")
		if i < 0 {
			t.Fatalf("%s: %s", goos, got)
		}
		if diff := cmp.Diff(want, got[:i]); diff != "" {
			t.Errorf("%s: %s", goos, diff)
		}
	}
}
