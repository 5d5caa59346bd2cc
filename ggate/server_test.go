package ggate

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"syscall"
	"testing"
	"unsafe"

	"lvm2fs/mapping"
)

const size = 4 << 20

// memory is a volume whose writes can be made to wait and to fail.
type memory struct {
	mu      sync.Mutex
	data    []byte
	err     error
	noHoles bool
	syncs   int
	hold    *hold // if not nil, each write waits there
}

// hold reports each write that comes, and lets it go on when it is told to.
type hold struct{ came, goOn chan struct{} }

func newHold() *hold { return &hold{make(chan struct{}), make(chan struct{})} }

var _ mapping.Writable = (*memory)(nil)

func newMemory() *memory {
	m := &memory{data: make([]byte, size)}
	for i := range m.data {
		m.data[i] = byte(i >> 9)
	}
	return m
}

func (m *memory) Size() int64 { return size }

func (m *memory) Map(_, max int64) (mapping.Extent, error) {
	return mapping.Extent{Kind: mapping.Computed, Length: max}, nil
}

func (m *memory) ReadAt(p []byte, off int64) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err != nil {
		return 0, m.err
	}
	return copy(p, m.data[off:]), nil
}

func (m *memory) WriteAt(p []byte, off int64) (int, error) {
	if h := m.hold; h != nil {
		h.came <- struct{}{}
		<-h.goOn
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err != nil {
		return 0, m.err
	}
	return copy(m.data[off:], p), nil
}

func (m *memory) PunchHole(off, n int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.noHoles {
		return errors.ErrUnsupported
	}
	clear(m.data[off : off+n])
	return nil
}

func (m *memory) Sync() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.syncs++
	return m.err
}

// serve serves v by a process of k, until the end of the test.
func serve(t *testing.T, k *kernel, v mapping.Volume, opts Options) (*Server, *process) {
	t.Helper()
	p := &process{k: k}
	s, err := Serve(p, v, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Stop(true) })
	return s, p
}

func expect(t *testing.T, what string, got int32, want syscall.Errno) {
	t.Helper()
	if got != int32(want) {
		t.Errorf("%s: %v, want %v", what, syscall.Errno(got), want)
	}
}

func TestReadsAndWritesReachTheVolume(t *testing.T) {
	k, v := newKernel(), newMemory()
	s, _ := serve(t, k, v, Options{SectorSize: 4096})
	if s.Device() != "/dev/ggate0" {
		t.Errorf("the device is %s", s.Device())
	}
	expect(t, "write", k.submit(0, Write, 8192, 4096, bytes.Repeat([]byte{7}, 4096)), 0)
	got := make([]byte, 12288)
	expect(t, "read", k.submit(0, Read, 4096, 12288, got), 0)
	if !bytes.Equal(got, v.data[4096:16384]) || got[4096] != 7 {
		t.Error("other bytes were read than the volume has")
	}
}

func TestARequestLargerThanTheBufferComesAgain(t *testing.T) {
	k := newKernel()
	v := newMemory()
	serve(t, k, v, Options{Threads: 1})
	const n = firstBuffer + 512
	data := bytes.Repeat([]byte{9}, n)
	expect(t, "write", k.submit(0, Write, 0, n, data), 0)
	got := make([]byte, n+512)
	expect(t, "read", k.submit(0, Read, 0, n+512, got), 0)
	if !bytes.Equal(got[:n], data) {
		t.Error("other bytes were read than written")
	}
}

// A delete brings no data: its buffer still holds those of an earlier request.
func TestADeleteLeavesZerosOrChangesNothing(t *testing.T) {
	k, v := newKernel(), newMemory()
	serve(t, k, v, Options{Threads: 1})
	expect(t, "write", k.submit(0, Write, 0, 1024, bytes.Repeat([]byte{5}, 1024)), 0)
	expect(t, "delete", k.submit(0, Delete, 512, 512, nil), 0)
	if want := append(bytes.Repeat([]byte{5}, 512), make([]byte, 512)...); !bytes.Equal(v.data[:1024], want) {
		t.Error("the range does not read as zeros")
	}
	v.noHoles = true
	expect(t, "delete without holes", k.submit(0, Delete, 0, 512, nil), syscall.EOPNOTSUPP)
	if v.data[0] != 5 {
		t.Error("a delete that was refused has changed the volume")
	}
}

func TestAFlushSyncs(t *testing.T) {
	k, v := newKernel(), newMemory()
	serve(t, k, v, Options{})
	expect(t, "flush", k.submit(0, Flush, 0, 0, nil), 0)
	if v.syncs != 1 {
		t.Errorf("%d syncs", v.syncs)
	}
	v.err = io.ErrClosedPipe
	expect(t, "flush that fails", k.submit(0, Flush, 0, 0, nil), syscall.EIO)
}

func TestWhatIsNotUnderstoodIsNotSupported(t *testing.T) {
	k := newKernel()
	serve(t, k, newMemory(), Options{})
	for _, cmd := range []Command{4, 7, 12, 0xffff} {
		expect(t, fmt.Sprintf("request %d", cmd), k.submit(0, cmd, -1, 1<<62, nil), syscall.EOPNOTSUPP)
	}
}

func TestAFailureIsAnswered(t *testing.T) {
	k, v := newKernel(), newMemory()
	var mu sync.Mutex
	var told []string
	serve(t, k, v, Options{Failed: func(cmd Command, off, n int64, err error) {
		mu.Lock()
		defer mu.Unlock()
		told = append(told, fmt.Sprint(cmd, off, n, err))
	}})
	buf := make([]byte, 512)
	expect(t, "read behind the end", k.submit(0, Read, size-256, 512, buf), syscall.EIO)
	expect(t, "write behind the end", k.submit(0, Write, size, 512, buf), syscall.EIO)
	v.err = mapping.ErrMissing
	expect(t, "read of lost bytes", k.submit(0, Read, 0, 512, buf), syscall.EIO)
	v.err = syscall.ENOSPC
	expect(t, "write without space", k.submit(0, Write, 0, 512, buf), syscall.ENOSPC)
	mu.Lock()
	defer mu.Unlock()
	if len(told) != 4 {
		t.Errorf("told of %d failures: %q", len(told), told)
	}
}

func TestAReadOnlyUnitIsNotWritten(t *testing.T) {
	k, v := newKernel(), newMemory()
	s, _ := serve(t, k, v, Options{ReadOnly: true})
	expect(t, "write", k.submit(0, Write, 0, 512, make([]byte, 512)), syscall.EPERM)
	expect(t, "flush", k.submit(0, Flush, 0, 0, nil), 0)
	k.units[0].ReadOnly = false // a kernel that lets them through
	expect(t, "write", k.submit(0, Write, 0, 512, bytes.Repeat([]byte{1}, 512)), syscall.EPERM)
	expect(t, "delete", k.submit(0, Delete, 1024, 512, nil), syscall.EPERM)
	if err := s.Stop(false); err != nil || v.syncs != 0 {
		t.Errorf("%v, %d syncs", err, v.syncs)
	}
	if !bytes.Equal(v.data, newMemory().data) {
		t.Error("the volume has changed")
	}
}

func TestReadsOfARunOnADiskGoStraightThere(t *testing.T) {
	k, v := newKernel(), newMemory()
	k.disks["ada1"] = append(make([]byte, 1<<20), v.data...)
	s, _ := serve(t, k, v, Options{ReadProvider: "ada1", ReadOffset: 1 << 20})
	got := make([]byte, 4096)
	expect(t, "read", k.submit(0, Read, 65536, 4096, got), 0)
	if !bytes.Equal(got, v.data[65536:][:4096]) || k.starts != 0 {
		t.Errorf("the read came to the server: %d requests", k.starts)
	}
	if err := s.ReadThrough(); err != nil {
		t.Fatal(err)
	}
	expect(t, "read", k.submit(0, Read, 65536, 4096, got), 0)
	if k.starts != 1 {
		t.Errorf("%d requests came to the server", k.starts)
	}
}

func TestSeveralRequestsAreUnderWay(t *testing.T) {
	k, v := newKernel(), newMemory()
	v.hold = newHold()
	serve(t, k, v, Options{Threads: 4})
	var users sync.WaitGroup
	for i := range 4 {
		users.Go(func() {
			expect(t, "write", k.submit(0, Write, int64(i)*512, 512, bytes.Repeat([]byte{byte(i)}, 512)), 0)
		})
	}
	for range 4 {
		<-v.hold.came // all four have come before the first one goes on
	}
	for range 4 {
		v.hold.goOn <- struct{}{}
	}
	users.Wait()
}

func TestADeviceInUseStays(t *testing.T) {
	k := newKernel()
	s, _ := serve(t, k, newMemory(), Options{})
	k.units[0].opened = 1
	if err := s.Stop(false); !errors.Is(err, syscall.EBUSY) {
		t.Fatalf("Stop: %v", err)
	}
	expect(t, "read afterwards", k.submit(0, Read, 0, 512, make([]byte, 512)), 0)
	if err := s.Stop(true); err != nil {
		t.Errorf("Stop by force: %v", err)
	}
	expect(t, "read of a device that is gone", k.submit(0, Read, 0, 512, make([]byte, 512)), syscall.ENXIO)
}

func TestForcedDestructionEndsWhatWaits(t *testing.T) {
	k, v := newKernel(), newMemory()
	v.hold = newHold()
	s, _ := serve(t, k, v, Options{Threads: 1})
	k.units[0].opened = 1
	answers := make(chan int32, 2)
	for range 2 { // one is under way and one waits
		go func() { answers <- k.submit(0, Write, 0, 512, make([]byte, 512)) }()
	}
	<-v.hold.came
	stopped := make(chan error)
	go func() { stopped <- s.Stop(true) }()
	for range 2 {
		expect(t, "write", <-answers, syscall.ENXIO)
	}
	v.hold.goOn <- struct{}{}
	if err := <-stopped; err != nil {
		t.Errorf("Stop: %v", err)
	}
}

// The dead server has left requests unanswered. Its successor is asked these again, and has what was answered.
func TestASuccessorTakesOverFromAServerThatDiedInAWrite(t *testing.T) {
	k, v := newKernel(), newMemory()
	first, p := serve(t, k, v, Options{Threads: 2})
	expect(t, "write", k.submit(0, Write, 0, 512, bytes.Repeat([]byte{1}, 512)), 0)
	v.hold = newHold()
	answers := make(chan int32, 2)
	for i := range 2 {
		go func() { answers <- k.submit(0, Write, int64(i+1)*512, 512, bytes.Repeat([]byte{byte(i + 2)}, 512)) }()
	}
	<-v.hold.came
	<-v.hold.came
	p.die()
	v.hold.goOn <- struct{}{}
	v.hold.goOn <- struct{}{}
	if err := first.Wait(); err == nil {
		t.Error("a server that lost its device ended well")
	}
	clear(v.data[512:1536]) // nobody knows whether the writes of the dead server got anywhere
	v.hold = nil

	successor, err := Resume(&process{k: k}, 0, v, Options{})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		expect(t, "write", <-answers, 0)
	}
	for i := range 3 {
		if want := bytes.Repeat([]byte{byte(i + 1)}, 512); !bytes.Equal(v.data[i*512:][:512], want) {
			t.Errorf("write %d is lost", i)
		}
	}
	if err := successor.Stop(false); err != nil {
		t.Error(err)
	}
	if _, err := Resume(&process{k: k}, 0, v, Options{}); !errors.Is(err, syscall.ENXIO) {
		t.Errorf("taking over a unit that is gone: %v", err)
	}
}

// TestAgainstAModel has several users write to ranges of their own, while servers die and others take over.
func TestAgainstAModel(t *testing.T) {
	k, v := newKernel(), newMemory()
	model := bytes.Clone(v.data)
	_, p := serve(t, k, v, Options{Threads: 3})
	const users, share = 4, size / 4
	var wg sync.WaitGroup
	for user := range users {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(1, uint64(user)))
			for range 300 {
				off := int64(user*share) + r.Int64N(share/512-16)*512
				n := (1 + r.Int64N(16)) * 512
				switch r.IntN(3) {
				case 0:
					data := bytes.Repeat([]byte{byte(r.Uint32())}, int(n))
					expect(t, "write", k.submit(0, Write, off, n, data), 0)
					copy(model[off:], data)
				case 1:
					expect(t, "delete", k.submit(0, Delete, off, n, nil), 0)
					clear(model[off : off+n])
				case 2:
					got := make([]byte, n)
					expect(t, "read", k.submit(0, Read, off, n, got), 0)
					if !bytes.Equal(got, model[off:off+n]) {
						t.Errorf("%d bytes at %d are others", n, off)
					}
				}
			}
		})
	}
	for range 5 {
		p.die()
		p = &process{k: k}
		if _, err := Resume(p, 0, v, Options{Threads: 3}); err != nil {
			t.Fatal(err)
		}
	}
	wg.Wait()
	if !bytes.Equal(v.data, model) {
		t.Error("the volume is not what was written")
	}
}

func TestAUnitThatCannotBeIsNotMade(t *testing.T) {
	for _, sector := range []int{-512, 3, 1000, 8 << 20} {
		if _, err := Serve(&process{k: newKernel()}, newMemory(), Options{SectorSize: sector}); !errors.Is(err, syscall.EINVAL) {
			t.Errorf("sectors of %d: %v", sector, err)
		}
	}
	k, taken := newKernel(), int32(0)
	serve(t, k, newMemory(), Options{Unit: &taken})
	if _, err := Serve(&process{k: k}, newMemory(), Options{Unit: &taken}); !errors.Is(err, syscall.EEXIST) {
		t.Errorf("a unit that is there: %v", err)
	}
}

// The sizes and offsets are those of docs/format/10, section 2.
func TestStructuresLieAsTheKernelHasThem(t *testing.T) {
	if unsafe.Sizeof(uintptr(0)) != 8 {
		t.Skip("SKIP: the layout is that of 64-bit systems")
	}
	var (
		c createArg
		m modifyArg
		d destroyArg
		x cancelArg
		r ioArg
	)
	for _, f := range []struct {
		what      string
		got, want uintptr
	}{
		{"create", unsafe.Sizeof(c), 2608},
		{"create.mediasize", unsafe.Offsetof(c.mediaSize), 8},
		{"create.sectorsize", unsafe.Offsetof(c.sectorSize), 16},
		{"create.flags", unsafe.Offsetof(c.flags), 20},
		{"create.maxcount", unsafe.Offsetof(c.maxCount), 24},
		{"create.timeout", unsafe.Offsetof(c.timeout), 28},
		{"create.name", unsafe.Offsetof(c.name), 32},
		{"create.info", unsafe.Offsetof(c.info), 287},
		{"create.readprov", unsafe.Offsetof(c.readProv), 2335},
		{"create.readoffset", unsafe.Offsetof(c.readOffset), 2592},
		{"create.unit", unsafe.Offsetof(c.unit), 2600},
		{"modify", unsafe.Sizeof(m), 2336},
		{"modify.unit", unsafe.Offsetof(m.unit), 4},
		{"modify.what", unsafe.Offsetof(m.what), 8},
		{"modify.mediasize", unsafe.Offsetof(m.mediaSize), 16},
		{"modify.info", unsafe.Offsetof(m.info), 24},
		{"modify.readprov", unsafe.Offsetof(m.readProv), 2072},
		{"modify.readoffset", unsafe.Offsetof(m.readOffset), 2328},
		{"destroy", unsafe.Sizeof(d), 268},
		{"destroy.unit", unsafe.Offsetof(d.unit), 4},
		{"destroy.force", unsafe.Offsetof(d.force), 8},
		{"destroy.name", unsafe.Offsetof(d.name), 12},
		{"cancel", unsafe.Sizeof(x), 272},
		{"cancel.unit", unsafe.Offsetof(x.unit), 4},
		{"cancel.seq", unsafe.Offsetof(x.seq), 8},
		{"cancel.name", unsafe.Offsetof(x.name), 16},
		{"io", unsafe.Sizeof(r), 56},
		{"io.unit", unsafe.Offsetof(r.unit), 4},
		{"io.seq", unsafe.Offsetof(r.seq), 8},
		{"io.cmd", unsafe.Offsetof(r.cmd), 16},
		{"io.offset", unsafe.Offsetof(r.offset), 24},
		{"io.length", unsafe.Offsetof(r.length), 32},
		{"io.data", unsafe.Offsetof(r.data), 40},
		{"io.error", unsafe.Offsetof(r.err), 48},
		{"CREATE", requestCreate, 0xca306d00},
		{"MODIFY", requestModify, 0xc9206d01},
		{"DESTROY", requestDestroy, 0xc10c6d02},
		{"CANCEL", requestCancel, 0xc1106d03},
		{"START", requestStart, 0xc0386d04},
		{"DONE", requestDone, 0xc0386d05},
	} {
		if f.got != f.want {
			t.Errorf("%s is %#x, want %#x", f.what, f.got, f.want)
		}
	}
	a := newCreateArg(&Unit{Number: 3, Info: string(bytes.Repeat([]byte{'x'}, 4000)), ReadProvider: "ada1", ReadOnly: true})
	if a.info[2046] != 'x' || a.info[2047] != 0 || a.flags != 1 || a.unit != 3 || string(a.readProv[:5]) != "ada1\x00" {
		t.Error("a unit is not written as it is")
	}
	mediaSize, none := int64(4096), ""
	if a := newModifyArg(&Changes{Number: 3, MediaSize: &mediaSize}); a.version != 3 || a.unit != 3 || a.what != 1 || a.mediaSize != 4096 {
		t.Errorf("a change of the size is %d of unit %d", a.what, a.unit)
	}
	if a := newModifyArg(&Changes{ReadProvider: &none}); a.what != 12 || a.readProv[0] != 0 {
		t.Errorf("a provider that goes is change %d", a.what)
	}
	if a := newDestroyArg(3, true); a.version != 3 || a.unit != 3 || a.force != 1 {
		t.Error("force is not written as it is")
	}
	if a := newCancelArg(3); a.version != 3 || a.unit != 3 || a.seq != 0 {
		t.Error("not all requests of the unit are given back")
	}
	data := []byte{1, 2, 3}
	a2 := newIOArg(&Request{Unit: 3, Seq: 9, Data: data, Error: 5})
	if a2.version != 3 || a2.unit != 3 || a2.data != unsafe.Pointer(&data[0]) || a2.err != 5 {
		t.Error("an answer is not written as it is")
	}
	a2.cmd, a2.offset, a2.length = 2, 512, 1024
	var got Request
	a2.into(&got)
	if got.Seq != 9 || got.Command != Write || got.Offset != 512 || got.Length != 1024 || got.Error != 5 {
		t.Errorf("a request is read as %+v", got)
	}
}
