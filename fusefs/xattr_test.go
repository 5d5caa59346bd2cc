package fusefs

import (
	"os"
	"slices"
	"strings"
	"testing"

	gofuse "github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"lvm2fs/internal/test/testpv"
	"lvm2fs/lvm2"
)

// attribute is the value of an extended attribute, and whether there is one.
func (m *mounted) attribute(name, attr string) (string, bool) {
	m.t.Helper()
	p := make([]byte, 1000)
	n, err := unix.Getxattr(m.path(name), attr, p)
	if err == unix.Errno(gofuse.ENOATTR) {
		return "", false
	}
	if err != nil {
		m.t.Fatalf("%s of %s: %v", attr, name, err)
	}
	return string(p[:n]), true
}

func TestAttributesTellWhatAnLVIs(t *testing.T) {
	m := mount(t, allKinds())
	uuid := lvm2.UUID(testpv.UUID("lvvgplain")).String()
	for _, c := range []struct{ name, attr, want string }{
		{"vg/plain", "uuid", uuid},
		{"vg/plain", "segtype", "linear"},
		{"vg/plain", "tags", "red,blue"},
		{"vg/plain", "attr", "-wi-------"},
		{"vg/plain", "health", ""},
		{"vg/plain", "creation_time", "2023-11-14T22:13:20Z"},
		{"vg/odd", "segtype", "quantum"},
		{"vg/odd", "health", "unsupported"},
		{"vg/odd", "tags", ""},
		{"vg", "uuid", lvm2.UUID(testpv.UUID("vgvg")).String()},
		{"vg", "attr", "wz--n-"},
		{"vg", "seqno", "1"},
		{"vg", "tags", ""},
		{"vg", "extent_size", "4096"},
	} {
		if got, ok := m.attribute(c.name, "user.lvm2."+c.attr); !ok || got != c.want {
			t.Errorf("%s of %s is %q, %t; want %q", c.attr, c.name, got, ok, c.want)
		}
	}
	if got, ok := m.attribute("vg/locked", "user.lvm2.readonly"); !ok || !strings.Contains(got, "read-only") {
		t.Errorf("readonly of a read-only LV is %q, %t", got, ok)
	}
	for _, c := range []struct{ name, attr string }{
		{"vg/plain", "user.lvm2.readonly"},
		{"vg/odd", "user.lvm2.creation_time"},
		{"vg/plain", "user.lvm2.nothing"},
		{"vg/plain", "user.uuid"},
		{"vg", "user.lvm2.health"},
		{".", "user.lvm2.uuid"},
	} {
		if got, ok := m.attribute(c.name, c.attr); ok {
			t.Errorf("%s has %s: %q", c.name, c.attr, got)
		}
	}
}

func TestAttributesSayTheirSize(t *testing.T) {
	m := mount(t, allKinds())
	path := m.path("vg/plain")
	const attr = "user.lvm2.tags"
	if n, err := unix.Getxattr(path, attr, nil); n != len("red,blue") || err != nil {
		t.Errorf("asked for the size: %d, %v", n, err)
	}
	_, err := unix.Getxattr(path, attr, make([]byte, 3))
	wantErrno(t, "too small a buffer", err, unix.ERANGE)

	n, err := unix.Listxattr(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	list := make([]byte, n)
	if got, err := unix.Listxattr(path, list); got != n || err != nil {
		t.Errorf("list: %d bytes, %v; want %d", got, err, n)
	}
	got := strings.Split(strings.TrimSuffix(string(list), "\x00"), "\x00")
	want := []string{"user.lvm2.uuid", "user.lvm2.segtype", "user.lvm2.tags", "user.lvm2.attr", "user.lvm2.health", "user.lvm2.creation_time"}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	_, err = unix.Listxattr(path, make([]byte, 5))
	wantErrno(t, "too small a buffer for the list", err, unix.ERANGE)
}

func TestAttributesCannotBeChanged(t *testing.T) {
	m := mount(t, allKinds())
	for _, name := range []string{"vg", "vg/plain"} {
		wantErrno(t, "setting one of "+name, unix.Setxattr(m.path(name), "user.lvm2.tags", []byte("x"), 0), unix.EPERM)
		if err := unix.Removexattr(m.path(name), "user.lvm2.tags"); err == nil {
			t.Errorf("%s: removed", name)
		}
	}
	if got, _ := m.attribute("vg/plain", "user.lvm2.tags"); got != "red,blue" {
		t.Errorf("tags are %q now", got)
	}
	if _, err := os.Stat(m.path("vg/plain")); err != nil {
		t.Error(err)
	}
}

func TestAttributesHoldNoControlBytes(t *testing.T) {
	dest := make([]byte, 100)
	for value, want := range map[string]string{"a\x1b[31m\nb": `a\x1b[31m\x0ab`, "\xff\u009b": `\xff\u009b`, "größe": "größe"} {
		for _, name := range []string{"tags", "segtype", "readonly"} {
			n, errno := getXattr([]xattr{{name, value}}, xattrPrefix+name, dest)
			if errno != 0 || string(dest[:n]) != want {
				t.Errorf("%s: %q, %v", name, dest[:n], errno)
			}
		}
	}
}
