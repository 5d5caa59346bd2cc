package fusefs

import (
	"os"
	"syscall"
	"testing"
	"time"

	"lvm2fs/internal/test/testpv"
	"lvm2fs/lvm2"
)

// The kernel may keep attributes for long. When something changes them, the kernel is made to ask again.
func TestAttributesThatTheKernelKeepsAreNeverOldOnes(t *testing.T) {
	m := mount(t, oneLV(), func(c *Config) { c.AttrTimeout = time.Hour })
	size := func(when string, want int64) {
		t.Helper()
		for range 2 { // the second time they come from what the kernel keeps, if it keeps any
			if got := m.stat("vg/data").Size(); got != want {
				t.Errorf("%s: %d bytes, want %d", when, got, want)
			}
		}
	}
	size("at first", 4*extent)
	before := m.stat("vg/data").ModTime()
	top, dir := m.stat(".").ModTime(), m.stat("vg").ModTime()

	f := m.open("vg/data", os.O_RDWR)
	if _, err := f.WriteAt([]byte("x"), 0); err != nil {
		t.Fatal(err)
	}
	if now := m.stat("vg/data").ModTime(); !now.After(before) {
		t.Errorf("after a write the time is %v, before it %v", now, before)
	}
	if err := f.Truncate(extent); err != nil {
		t.Fatal(err)
	}
	size("cut", extent)
	if _, err := f.WriteAt([]byte("x"), 2*extent-1); err != nil {
		t.Fatal(err)
	}
	size("written behind the cut", 2*extent)
	f.Close()
	eventually(t, "the closed file has its size again", func() bool { return m.stat("vg/data").Size() == 4*extent })
	before = m.stat("vg/data").ModTime()

	vg := oneLV()
	vg.Seqno++
	vg.LVs[0].Segments = vg.LVs[0].Segments[:1]
	vg.LVs[1].Status = `"READ", "VISIBLE"`
	for _, d := range m.disks {
		d.SetText(vg.Text())
	}
	m.stat("vg/other")
	if err := syscall.Setxattr(m.dir, reloadAttr, nil, 0); err != nil {
		t.Fatal(err)
	}
	size("after a reload", 3*extent)
	if now := m.stat("vg/data").ModTime(); !now.After(before) {
		t.Errorf("after a reload the time is %v, before it %v", now, before)
	}
	if mode := m.stat("vg/other").Mode(); mode != 0o440 {
		t.Errorf("a file that has become read-only: %v", mode)
	}
	if now := m.stat("vg").ModTime(); !now.After(dir) {
		t.Errorf("the VG's time is still %v", now)
	}

	more := testpv.VG{Name: "more", Seqno: 1, PVs: []string{"sdx"}}
	var devices []lvm2.Device
	for _, d := range append(m.disks, more.Disks()...) {
		devices = append(devices, d)
	}
	m.rescanWith(func() (*lvm2.Scan, error) { return lvm2.Open(devices, lvm2.Options{}), nil })
	if err := m.Reload(); err != nil {
		t.Fatal(err)
	}
	if now := m.stat("."); !now.ModTime().After(top) || now.Sys().(*syscall.Stat_t).Nlink != 4 {
		t.Errorf("the root's time is %v, its links %d", now.ModTime(), now.Sys().(*syscall.Stat_t).Nlink)
	}
}
