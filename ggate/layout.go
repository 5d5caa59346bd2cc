package ggate

import "unsafe"

// The structures of <geom/gate/g_gate.h> with 64-bit longs, and the requests that take them.
// (docs/format/10-block-devices.md, section 2)

const version = 3

const (
	flagReadOnly = 1

	modifyMediaSize    = 1
	modifyReadProvider = 4
	modifyReadOffset   = 8
)

type createArg struct {
	version    uint32
	_          uint32
	mediaSize  int64
	sectorSize uint32
	flags      uint32
	maxCount   uint32
	timeout    uint32 // seconds
	name       [255]byte
	info       [2048]byte
	readProv   [255]byte
	readOffset int64
	unit       int32
}

type modifyArg struct {
	version    uint32
	unit       int32
	what       uint32
	mediaSize  int64
	info       [2048]byte
	readProv   [255]byte
	readOffset int64
}

type destroyArg struct {
	version uint32
	unit    int32
	force   int32
	name    [255]byte
}

type cancelArg struct {
	version uint32
	unit    int32
	seq     uint64 // 0: all
	name    [255]byte
}

type ioArg struct {
	version uint32
	unit    int32
	seq     uint64
	cmd     uint32
	offset  int64
	length  int64
	data    unsafe.Pointer
	err     int32
}

var (
	requestCreate  = request(0, unsafe.Sizeof(createArg{}))
	requestModify  = request(1, unsafe.Sizeof(modifyArg{}))
	requestDestroy = request(2, unsafe.Sizeof(destroyArg{}))
	requestCancel  = request(3, unsafe.Sizeof(cancelArg{}))
	requestStart   = request(4, unsafe.Sizeof(ioArg{}))
	requestDone    = request(5, unsafe.Sizeof(ioArg{}))
)

// request is _IOWR('m', n, a structure of size bytes).
func request(n, size uintptr) uintptr { return 0xc0000000 | size&0x1fff<<16 | 'm'<<8 | n }

func newCreateArg(u *Unit) *createArg {
	a := &createArg{version: version, mediaSize: u.MediaSize, sectorSize: u.SectorSize, readOffset: u.ReadOffset, unit: u.Number}
	if u.ReadOnly {
		a.flags = flagReadOnly
	}
	setString(a.info[:], u.Info)
	setString(a.readProv[:], u.ReadProvider)
	return a
}

func newModifyArg(c *Changes) *modifyArg {
	a := &modifyArg{version: version, unit: c.Number}
	if c.MediaSize != nil {
		a.what |= modifyMediaSize
		a.mediaSize = *c.MediaSize
	}
	if c.ReadProvider != nil {
		a.what |= modifyReadProvider | modifyReadOffset
		setString(a.readProv[:], *c.ReadProvider)
	}
	return a
}

func newDestroyArg(unit int32, force bool) *destroyArg {
	a := &destroyArg{version: version, unit: unit}
	if force {
		a.force = 1
	}
	return a
}

func newCancelArg(unit int32) *cancelArg { return &cancelArg{version: version, unit: unit} }

// setString leaves room for the zero at the end.
func setString(to []byte, s string) { copy(to[:len(to)-1], s) }

func newIOArg(r *Request) *ioArg {
	a := &ioArg{version: version, unit: r.Unit, seq: r.Seq, cmd: uint32(r.Command), offset: r.Offset, length: r.Length, err: r.Error}
	if len(r.Data) > 0 {
		a.data = unsafe.Pointer(&r.Data[0])
	}
	return a
}

func (a *ioArg) into(r *Request) {
	r.Seq, r.Command, r.Offset, r.Length, r.Error = a.seq, Command(a.cmd), a.offset, a.length, a.err
}
