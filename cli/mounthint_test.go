package cli

import (
	"strings"
	"testing"
)

func TestAMountThatFailsSaysWhatWouldHelp(t *testing.T) {
	for _, c := range []struct {
		what string
		host hostFUSE
		want string
	}{
		{"FreeBSD without the module", hostFUSE{os: "freebsd", root: true}, "kldload fusefs"},
		{"an ordinary user of FreeBSD", hostFUSE{os: "freebsd", device: true}, "sysctl vfs.usermount=1"},
		{"one who may mount", hostFUSE{os: "freebsd", device: true, usersMount: true}, ""},
		{"root of FreeBSD", hostFUSE{os: "freebsd", device: true, root: true}, ""},
		{"macOS without macFUSE", hostFUSE{os: "darwin"}, "macFUSE"},
		{"Linux", hostFUSE{os: "linux", device: true}, ""},
	} {
		if hint := mountHint(c.host); !strings.Contains(hint, c.want) || (hint == "") != (c.want == "") {
			t.Errorf("%s: %q", c.what, hint)
		}
	}
}
