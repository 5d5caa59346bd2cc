package attach

import (
	"bytes"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"

	"lvm2fs/ggate"
	"lvm2fs/internal/test/testpv"
	"lvm2fs/lvm2"
)

// gateKernel is the part of geom_gate that several units and their users need (docs/format/10, section 2).
type gateKernel struct {
	mu      sync.Mutex
	changed *sync.Cond
	units   map[int32]*gateUnit
	seq     uint64
}

type gateUnit struct {
	ggate.Unit
	open  bool
	queue []*gateRequest
	out   map[uint64]*gateRequest
}

type gateRequest struct {
	ggate.Request
	done bool
}

func newGateKernel() *gateKernel {
	k := &gateKernel{units: map[int32]*gateUnit{}}
	k.changed = sync.NewCond(&k.mu)
	return k
}

// do is what a user of the device does; it waits for the answer, an errno.
func (k *gateKernel) do(unit int32, cmd ggate.Command, off int64, data []byte) syscall.Errno {
	k.mu.Lock()
	defer k.mu.Unlock()
	u := k.units[unit]
	if u == nil {
		return syscall.ENXIO
	}
	k.seq++
	r := &gateRequest{Request: ggate.Request{Seq: k.seq, Command: cmd, Offset: off, Length: int64(len(data)), Data: data}}
	u.queue = append(u.queue, r)
	k.changed.Broadcast()
	for !r.done {
		k.changed.Wait()
	}
	return syscall.Errno(r.Error)
}

// gateProcess is a process with /dev/ggctl open.
type gateProcess struct {
	k    *gateKernel
	dead bool
}

func (p *gateProcess) die() {
	p.k.mu.Lock()
	defer p.k.mu.Unlock()
	p.dead = true
	p.k.changed.Broadcast()
}

func (p *gateProcess) unit(n int32) (*gateUnit, error) {
	if p.dead || p.k.units[n] == nil {
		return nil, syscall.ENXIO
	}
	return p.k.units[n], nil
}

func (p *gateProcess) Create(u *ggate.Unit) error {
	p.k.mu.Lock()
	defer p.k.mu.Unlock()
	u.Number = int32(len(p.k.units))
	p.k.units[u.Number] = &gateUnit{Unit: *u, out: map[uint64]*gateRequest{}}
	return nil
}

func (p *gateProcess) Modify(c *ggate.Changes) error {
	p.k.mu.Lock()
	defer p.k.mu.Unlock()
	u, err := p.unit(c.Number)
	if err != nil {
		return err
	}
	if c.MediaSize != nil {
		u.MediaSize = *c.MediaSize
	}
	if c.ReadProvider != nil {
		u.ReadProvider = *c.ReadProvider
	}
	return nil
}

func (p *gateProcess) Destroy(n int32, force bool) error {
	p.k.mu.Lock()
	defer p.k.mu.Unlock()
	u, err := p.unit(n)
	if err != nil {
		return err
	}
	if u.open && !force {
		return syscall.EBUSY
	}
	delete(p.k.units, n)
	for _, r := range u.queue {
		r.Error, r.done = int32(syscall.ENXIO), true
	}
	p.k.changed.Broadcast()
	return nil
}

func (p *gateProcess) Cancel(n int32) error {
	p.k.mu.Lock()
	defer p.k.mu.Unlock()
	u, err := p.unit(n)
	if err != nil {
		return err
	}
	for seq, r := range u.out {
		u.queue = append(u.queue, r)
		delete(u.out, seq)
	}
	p.k.changed.Broadcast()
	return nil
}

func (p *gateProcess) Start(r *ggate.Request) error {
	p.k.mu.Lock()
	defer p.k.mu.Unlock()
	for {
		u, err := p.unit(r.Unit)
		if err != nil {
			return err
		}
		if len(u.queue) > 0 {
			q := u.queue[0]
			u.queue = u.queue[1:]
			u.out[q.Seq] = q
			r.Seq, r.Command, r.Offset, r.Length, r.Error = q.Seq, q.Command, q.Offset, q.Length, 0
			if q.Command == ggate.Write {
				copy(r.Data, q.Data)
			}
			return nil
		}
		p.k.changed.Wait()
	}
}

func (p *gateProcess) Done(r *ggate.Request) error {
	p.k.mu.Lock()
	defer p.k.mu.Unlock()
	u, err := p.unit(r.Unit)
	if err != nil {
		return err
	}
	q := u.out[r.Seq]
	delete(u.out, r.Seq)
	if q.Command == ggate.Read {
		copy(q.Data, r.Data)
	}
	q.Error, q.done = r.Error, true
	p.k.changed.Broadcast()
	return nil
}

func (p *gateProcess) Close() error { return nil }

// gateGroup is a VG on a disk in memory, whose metadata can be changed.
type gateGroup struct {
	disk *testpv.Disk
	vg   testpv.VG
}

func newGateGroup() *gateGroup {
	g := &gateGroup{vg: testpv.VG{Name: "vg", Seqno: 1, PVs: []string{"sda"}, LVs: []testpv.LV{
		{Name: "one", Segments: []string{testpv.Linear(0, 2, "pv0", 10)}},
		{Name: "two", Segments: []string{testpv.Linear(0, 2, "pv0", 20)}},
	}}}
	g.disk = g.vg.Disks()[0]
	return g
}

func (g *gateGroup) find() (func(vg, lv string) *lvm2.LV, error) {
	scan := lvm2.Open([]lvm2.Device{g.disk}, lvm2.Options{})
	if len(scan.VGs) == 0 {
		return nil, errors.New("no VG")
	}
	return func(_, uuid string) *lvm2.LV {
		for _, lv := range scan.VGs[0].LVs {
			if lv.UUID.String() == uuid {
				return lv
			}
		}
		return nil
	}, nil
}

// entryOf describes an LV that is to be attached.
func (g *gateGroup) entryOf(t *testing.T, name string) (*Entry, *lvm2.LV) {
	t.Helper()
	scan := lvm2.Open([]lvm2.Device{g.disk}, lvm2.Options{})
	for _, lv := range scan.VGs[0].LVs {
		if lv.Name == name {
			return &Entry{LV: "vg/" + name, VGUUID: lv.VG.UUID.String(), LVUUID: lv.UUID.String(), BlockSize: 512}, lv
		}
	}
	t.Fatalf("no LV %s", name)
	return nil, nil
}

func attachGate(t *testing.T, k *gateKernel, gates *Gates, e *Entry, lv *lvm2.LV) int32 {
	t.Helper()
	v, err := lv.Open()
	if err != nil {
		t.Fatal(err)
	}
	run, _ := Contiguous(lv)
	if err := CreateGate(&gateProcess{k: k}, e, v, "sda", run.Offset); err != nil {
		t.Fatal(err)
	}
	if err := gates.Serve(e, lv); err != nil {
		t.Fatal(err)
	}
	n, err := e.unit()
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func newGates(t *testing.T, k *gateKernel) (*Gates, *gateProcess) {
	p := &gateProcess{k: k}
	return &Gates{Control: p, Failed: func(lv string, err error) { t.Logf("%s: %v", lv, err) }}, p
}

func block(b byte) []byte { return bytes.Repeat([]byte{b}, testpv.ExtentSize) }

func TestUnitsOfGeomGateAreServedAndFollowTheirLVs(t *testing.T) {
	k, g := newGateKernel(), newGateGroup()
	gates, _ := newGates(t, k)
	one, oneLV := g.entryOf(t, "one")
	two, twoLV := g.entryOf(t, "two")
	first, second := attachGate(t, k, gates, one, oneLV), attachGate(t, k, gates, two, twoLV)
	if u := k.units[first]; u.Info != one.Mark() || u.MediaSize != 2*testpv.ExtentSize || u.ReadProvider != "sda" || u.ReadOffset != testpv.DataStart+10*testpv.ExtentSize {
		t.Errorf("the unit is %+v", u.Unit)
	}
	for unit, b := range map[int32]byte{first: 'a', second: 'b'} {
		if err := k.do(unit, ggate.Write, testpv.ExtentSize, block(b)); err != 0 {
			t.Error(err)
		}
	}
	if !bytes.Equal(g.disk.Extent(11, testpv.ExtentSize), block('a')) || !bytes.Equal(g.disk.Extent(21, testpv.ExtentSize), block('b')) {
		t.Error("the disk has not what was written")
	}

	// One grows on another host; two is removed there.
	g.vg.Seqno++
	g.vg.LVs = []testpv.LV{{Name: "one", Segments: []string{testpv.Linear(0, 2, "pv0", 10), testpv.Linear(2, 1, "pv0", 20)}}}
	g.disk.SetText(g.vg.Text())
	said, err := gates.Reload(g.find)
	if err != nil || len(said) != 2 || !strings.Contains(said[0], "vg/one (/dev/ggate0) has 12288 bytes, before 8192") || !strings.Contains(said[1], "vg/two: all that uses /dev/ggate1 gets errors from now on") {
		t.Errorf("%q, %v", said, err)
	}
	if u := k.units[first]; u.ReadProvider != "" || u.MediaSize != 3*testpv.ExtentSize {
		t.Errorf("the unit is %+v", u.Unit)
	}
	if err := k.do(first, ggate.Write, 2*testpv.ExtentSize, block('c')); err != 0 || !bytes.Equal(g.disk.Extent(20, testpv.ExtentSize), block('c')) {
		t.Errorf("in the extent that it has got: %v", err)
	}
	for _, cmd := range []ggate.Command{ggate.Read, ggate.Write} {
		if err := k.do(second, cmd, 0, block(0)); err != syscall.EIO {
			t.Errorf("request %d to the one that is gone: %v", cmd, err)
		}
	}
	if err := gates.Stop(false); err != nil {
		t.Error(err)
	}
	if err := gates.Wait(); err != nil {
		t.Error(err)
	}
	if g.disk.Claims() != 0 {
		t.Errorf("%d claims are left", g.disk.Claims())
	}
}

func TestAReloadThatFailsLeavesDevicesAsTheyWere(t *testing.T) {
	k, g := newGateKernel(), newGateGroup()
	gates, _ := newGates(t, k)
	e, lv := g.entryOf(t, "one")
	unit := attachGate(t, k, gates, e, lv)
	if _, err := gates.Reload(func() (func(vg, lv string) *lvm2.LV, error) { return nil, errors.New("unreadable") }); err == nil {
		t.Error("it did not fail")
	}
	if err := k.do(unit, ggate.Write, 0, block('x')); err != 0 || !bytes.Equal(g.disk.Extent(10, testpv.ExtentSize), block('x')) {
		t.Error(err)
	}
	_ = gates.Stop(true)
	_ = gates.Wait()
}

// A detached LV is closed. A reload must not open it again.
func TestAReloadOpensNothingForADeviceThatIsGone(t *testing.T) {
	k, g := newGateKernel(), newGateGroup()
	gates, _ := newGates(t, k)
	one, oneLV := g.entryOf(t, "one")
	two, twoLV := g.entryOf(t, "two")
	attachGate(t, k, gates, one, oneLV)
	attachGate(t, k, gates, two, twoLV)
	both := g.disk.Claims()
	if err := DestroyGate(&gateProcess{k: k}, one, false); err != nil {
		t.Fatal(err)
	}
	for g.disk.Claims() == both {
		runtime.Gosched()
	}
	g.vg.Seqno++
	g.disk.SetText(g.vg.Text())
	if said, err := gates.Reload(g.find); err != nil || len(said) != 0 {
		t.Errorf("%q, %v", said, err)
	}
	if got := g.disk.Claims(); got != both-1 {
		t.Errorf("%d claims, want the %d of what is attached", got, both-1)
	}
	_ = gates.Stop(false)
	if err := gates.Wait(); err != nil {
		t.Error(err)
	}
	if g.disk.Claims() != 0 {
		t.Errorf("%d claims are left", g.disk.Claims())
	}
}

func TestADeviceOfGeomGateInUseStays(t *testing.T) {
	k, g := newGateKernel(), newGateGroup()
	gates, _ := newGates(t, k)
	e, lv := g.entryOf(t, "one")
	unit := attachGate(t, k, gates, e, lv)
	k.units[unit].open = true
	if err := DestroyGate(&gateProcess{k: k}, e, false); !errors.Is(err, syscall.EBUSY) {
		t.Error(err)
	}
	if err := k.do(unit, ggate.Read, 0, block(0)); err != 0 {
		t.Error(err)
	}
	if err := gates.Stop(true); err != nil {
		t.Error(err)
	}
	_ = gates.Wait()
}

// The successor answers what the dead process was asked and left unanswered, and does it once.
func TestTheDeviceOfAProcessThatDiedIsTakenOver(t *testing.T) {
	k, g := newGateKernel(), newGateGroup()
	old, process := newGates(t, k)
	e, lv := g.entryOf(t, "one")
	unit := attachGate(t, k, old, e, lv)
	process.die()
	answers := make(chan syscall.Errno, 8)
	for i := range cap(answers) {
		go func() { answers <- k.do(unit, ggate.Write, int64(i)*512, bytes.Repeat([]byte{byte('0' + i)}, 512)) }()
	}
	if err := old.Wait(); err != nil {
		t.Error(err)
	}
	gates, _ := newGates(t, k)
	_, lv = g.entryOf(t, "one")
	if err := gates.Serve(e, lv); err != nil {
		t.Fatal(err)
	}
	for range cap(answers) {
		if err := <-answers; err != 0 {
			t.Error(err)
		}
	}
	for i := range cap(answers) {
		if got := g.disk.Extent(10, testpv.ExtentSize)[i*512]; got != byte('0'+i) {
			t.Errorf("sector %d begins with %q", i, got)
		}
	}
	_ = gates.Stop(true)
	_ = gates.Wait()
}

func TestWhoseAUnitIsIsToldByItsInfo(t *testing.T) {
	const mesh = `<mesh><class id="1"><name>DISK</name><geom id="2"><name>ada0</name></geom></class>
<class id="3"><name>GATE</name><geom id="4"><name>ggate0</name><config><info>lvm2fs:abc</info></config></geom>
<geom id="5"><name>ggate1</name><config></config></geom></class></mesh>`
	for name, want := range map[string]string{"ggate0": "lvm2fs:abc", "ggate1": "", "ggate2": ""} {
		if got, known := GateInfo([]byte(mesh), name); got != want || known != (want != "") {
			t.Errorf("%s: %q, %v", name, got, known)
		}
	}
}

func TestHDIUtilIsAskedForADeviceAndItsPartitions(t *testing.T) {
	var asked []string
	h := HDIUtil{Run: func(args ...string) (string, error) {
		asked = append(asked, strings.Join(args, " "))
		if args[0] == "detach" {
			return "", errors.New(`hdiutil: couldn't unmount "disk4" - Resource busy`)
		}
		return "/dev/disk4          \tGUID_partition_scheme          \t\n/dev/disk4s1        \tLinux Filesystem               \t\n", nil
	}}
	device, partitions, err := h.Attach("/mnt/vg/lv", true)
	if err != nil || device != "/dev/disk4" || fmt.Sprint(partitions) != "[/dev/disk4s1]" {
		t.Errorf("%s, %v, %v", device, partitions, err)
	}
	if err := h.Detach(device); err == nil {
		t.Error("the device is in use, and that is not said")
	}
	want := "attach -nomount -imagekey diskimage-class=CRawDiskImage -readonly /mnt/vg/lv\ndetach /dev/disk4"
	if got := strings.Join(asked, "\n"); got != want {
		t.Errorf("asked %q, want %q", got, want)
	}
	h.Run = func(...string) (string, error) { return "no\n", nil }
	if _, _, err := h.Attach("/mnt/vg/lv", false); err == nil {
		t.Error("no device, and no error")
	}
}
