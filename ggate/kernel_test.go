package ggate

import (
	"errors"
	"slices"
	"sync"
	"syscall"
)

// kernel is a geom_gate in memory that follows docs/format/10, section 2.
type kernel struct {
	mu      sync.Mutex
	changed *sync.Cond
	units   map[int32]*kernelUnit
	disks   map[string][]byte // providers that can be read straight
	seq     uint64
	starts  int // requests handed out
}

type kernelUnit struct {
	Unit
	opened  int // by how many
	going   bool
	queue   []*bio
	handed  map[uint64]*bio
	largest int // bytes of the largest buffer that a request was taken with
}

// bio is a request of a user of the device.
type bio struct {
	cmd  Command
	off  int64
	n    int64
	data []byte
	seq  uint64
	err  int32
	done bool
}

func newKernel() *kernel {
	k := &kernel{units: map[int32]*kernelUnit{}, disks: map[string][]byte{}}
	k.changed = sync.NewCond(&k.mu)
	return k
}

// submit has a user of the device do something and waits for the answer, an errno. data is what is written or read.
func (k *kernel) submit(unit int32, cmd Command, off, n int64, data []byte) int32 {
	k.mu.Lock()
	defer k.mu.Unlock()
	u := k.units[unit]
	switch {
	case u == nil || u.going:
		return int32(syscall.ENXIO)
	case u.ReadOnly && (cmd == Write || cmd == Delete):
		return int32(syscall.EPERM)
	}
	if disk, ok := k.disks[u.ReadProvider]; ok && cmd == Read && u.ReadOffset+off+n <= int64(len(disk)) {
		copy(data, disk[u.ReadOffset+off:][:n])
		return 0
	}
	k.seq++
	b := &bio{cmd: cmd, off: off, n: n, data: data, seq: k.seq}
	u.queue = append(u.queue, b)
	k.changed.Broadcast()
	for !b.done {
		k.changed.Wait()
	}
	return b.err
}

// process is a server's /dev/ggctl. Once it is dead, nothing that it does has an effect.
type process struct {
	k    *kernel
	dead bool
}

var _ Control = (*process)(nil)

func (p *process) die() {
	p.k.mu.Lock()
	defer p.k.mu.Unlock()
	p.dead = true
	p.k.changed.Broadcast()
}

func (p *process) Close() error { return nil }

func (p *process) Create(u *Unit) error {
	p.k.mu.Lock()
	defer p.k.mu.Unlock()
	if u.Number == AnyUnit {
		for u.Number = 0; p.k.units[u.Number] != nil; u.Number++ {
		}
	}
	if p.k.units[u.Number] != nil {
		return syscall.EEXIST
	}
	p.k.units[u.Number] = &kernelUnit{Unit: *u, handed: map[uint64]*bio{}}
	return nil
}

func (p *process) Modify(c *Changes) error {
	p.k.mu.Lock()
	defer p.k.mu.Unlock()
	u := p.k.units[c.Number]
	if u == nil {
		return syscall.ENXIO
	}
	if c.MediaSize != nil {
		u.MediaSize = *c.MediaSize
	}
	if c.ReadProvider != nil {
		u.ReadProvider = *c.ReadProvider
	}
	return nil
}

func (p *process) Destroy(unit int32, force bool) error {
	p.k.mu.Lock()
	defer p.k.mu.Unlock()
	u := p.k.units[unit]
	switch {
	case u == nil:
		return syscall.ENXIO
	case u.opened > 0 && !force:
		return syscall.EBUSY
	}
	u.going = true
	for _, b := range u.queue {
		b.err, b.done = int32(syscall.ENXIO), true
	}
	for _, b := range u.handed {
		b.err, b.done = int32(syscall.ENXIO), true
	}
	delete(p.k.units, unit)
	p.k.changed.Broadcast()
	return nil
}

func (p *process) Cancel(unit int32) error {
	p.k.mu.Lock()
	defer p.k.mu.Unlock()
	u := p.k.units[unit]
	if u == nil {
		return syscall.ENXIO
	}
	for seq, b := range u.handed {
		u.queue = append(u.queue, b)
		delete(u.handed, seq)
	}
	p.k.changed.Broadcast()
	return nil
}

func (p *process) Start(r *Request) error {
	p.k.mu.Lock()
	defer p.k.mu.Unlock()
	u := p.k.units[r.Unit]
	if u == nil {
		return syscall.ENXIO
	}
	for !p.dead && !u.going && len(u.queue) == 0 {
		p.k.changed.Wait()
	}
	switch {
	case p.dead:
		return syscall.EBADF
	case u.going:
		r.Error = int32(syscall.ECANCELED)
		return nil
	}
	b := u.queue[0]
	if b.cmd == Write && b.n > int64(len(r.Data)) {
		r.Error, r.Length = int32(syscall.ENOMEM), b.n
		return nil
	}
	u.queue = u.queue[1:]
	u.handed[b.seq] = b
	u.largest = max(u.largest, len(r.Data))
	p.k.starts++
	r.Seq, r.Command, r.Offset, r.Length, r.Error = b.seq, b.cmd, b.off, b.n, 0
	if b.cmd == Write {
		copy(r.Data, b.data)
	}
	return nil
}

func (p *process) Done(r *Request) error {
	p.k.mu.Lock()
	defer p.k.mu.Unlock()
	u := p.k.units[r.Unit]
	if p.dead {
		return syscall.EBADF
	}
	if u == nil {
		return syscall.ENXIO
	}
	b := u.handed[r.Seq]
	if b == nil {
		return errors.New("an answer that nobody waits for")
	}
	delete(u.handed, r.Seq)
	if r.Error == int32(syscall.EAGAIN) {
		u.queue = slices.Insert(u.queue, 0, b)
	} else {
		if b.cmd == Read && r.Error == 0 {
			copy(b.data, r.Data[:b.n])
		}
		b.err, b.done = r.Error, true
	}
	p.k.changed.Broadcast()
	return nil
}
