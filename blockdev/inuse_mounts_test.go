package blockdev

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestAMountOfLVM2FSUsesADiskOnlyWhileItWrites(t *testing.T) {
	mounts := []mountedFS{
		{from: "/dev/ada0p2", on: "/", fsType: "ufs"},
		{from: "devfs", on: "/dev", fsType: "devfs"},
		{from: "/dev/ada1s1a", on: "/mnt/two words", fsType: "ufs", readOnly: true},
		{from: "/dev/vtbd1", on: "/mnt/lvm", fsType: "fusefs.lvm2fs"},
		{from: "/dev/vtbd2", on: "/mnt/ro", fsType: "fusefs.lvm2fs", readOnly: true},
		{from: "/dev/vtbd3", on: "/mnt/other", fsType: "fusefs"},
		{from: "/dev/disk2", on: "/Volumes/lvm", fsType: "macfuse"},
	}
	for _, c := range []struct {
		what    string
		node    string
		written bool
		want    []Holder
	}{
		{"the disk of the system cannot be released", "/dev/ada0", false, []Holder{{"mounted on /", ""}}},
		{"another file system uses its disk even if it only reads", "/dev/ada1", false, []Holder{{"mounted on '/mnt/two words'", "umount '/mnt/two words'"}}},
		{"lvm2fs with no file open for writing", "/dev/vtbd1", false, nil},
		{"lvm2fs with a file open for writing", "/dev/vtbd1", true, []Holder{{"written by lvm2fs, mounted on /mnt/lvm", "lvm2fs umount /mnt/lvm"}}},
		{"lvm2fs that is mounted read-only, on a disk that others write", "/dev/vtbd2", true, nil},
		{"another FUSE file system", "/dev/vtbd3", false, []Holder{{"mounted on /mnt/other", "umount /mnt/other"}}},
		{"a raw disk of macOS", "/dev/rdisk2", true, []Holder{{"written by lvm2fs, mounted on /Volumes/lvm", "lvm2fs umount /Volumes/lvm"}}},
		{"a disk whose name begins with that of another", "/dev/vtbd", true, nil},
	} {
		if diff := cmp.Diff(c.want, mountUsers(mounts, c.node, func() bool { return c.written })); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.what, diff)
		}
	}
}

func TestGEOMTellsWhichProvidersAreOpenForWriting(t *testing.T) {
	const confxml = `<mesh>
  <class id="0xffffffff81a0f0f0"><name>DISK</name>
    <geom id="0xfffff80003a1"><class ref="0xffffffff81a0f0f0"/><name>vtbd1</name><rank>1</rank>
      <provider id="0xfffff80003b1"><geom ref="0xfffff80003a1"/><mode>r1w0e0</mode><name>vtbd1</name><mediasize>1073741824</mediasize></provider>
    </geom>
    <geom id="0xfffff80003a2"><class ref="0xffffffff81a0f0f0"/><name>vtbd2</name><rank>1</rank>
      <provider id="0xfffff80003b2"><geom ref="0xfffff80003a2"/><mode>r2w1e2</mode><name>vtbd2</name></provider>
    </geom>
  </class>
  <class id="0xffffffff81a0f100"><name>PART</name>
    <geom id="0xfffff80003a3"><class ref="0xffffffff81a0f100"/><name>vtbd2</name><rank>2</rank>
      <consumer id="0xfffff80003c1"><geom ref="0xfffff80003a3"/><provider ref="0xfffff80003b2"/><mode>r1w1e2</mode></consumer>
      <provider id="0xfffff80003b3"><geom ref="0xfffff80003a3"/><mode>r0w0e0</mode><name>vtbd2p1</name></provider>
      <provider id="0xfffff80003b4"><geom ref="0xfffff80003a3"/><mode>r1w12e1</mode><name>vtbd2p2</name></provider>
      <provider id="0xfffff80003b5"><geom ref="0xfffff80003a3"/><mode>odd</mode><name>vtbd2p3</name></provider>
    </geom>
  </class>
</mesh>`
	for provider, want := range map[string]bool{"vtbd1": false, "vtbd2": true, "vtbd2p1": false, "vtbd2p2": true} {
		if written, err := geomWritten([]byte(confxml), provider); err != nil || written != want {
			t.Errorf("%s: written is %v, %v", provider, written, err)
		}
	}
	for _, provider := range []string{"vtbd2p3", "vtbd9"} {
		if _, err := geomWritten([]byte(confxml), provider); err == nil {
			t.Errorf("%s: no error", provider)
		}
	}
	if _, err := geomWritten([]byte("<mesh>"), "vtbd1"); err == nil {
		t.Error("a text cut short: no error")
	}
}
