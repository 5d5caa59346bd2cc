package fusefs

import (
	"math/bits"
	"os"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"
	"github.com/hanwen/go-fuse/v2/splice"
	"golang.org/x/sys/unix"

	"lvm2fs/mapping"
)

// minSplice is the size in bytes of a request, and minSpliceExtent that of its extents on
// average, from which splicing costs less than copying.
const (
	minSplice       = 256 << 10
	minSpliceExtent = 32 << 10
)

// spliceSlots are for the replies under way in pipes. Each takes two of up to 1 MiB (a power of
// two above maxRequest), and an ordinary user has 64 MiB for pipes.
var spliceSlots = make(chan struct{}, 16)

// spliceReply loads n bytes of v from off into a pipe, from where they reach the reader without
// being copied. It is nil if they cannot be had like that, for whatever reason: reading them
// tells which.
func spliceReply(v mapping.Volume, off int64, n int) fuse.ReadResult {
	if n < minSplice {
		return nil
	}
	sources, ok := findSources(v, off, n)
	if !ok {
		return nil
	}
	select {
	case spliceSlots <- struct{}{}:
	default:
		return nil
	}
	pair, err := splice.Get()
	if err != nil {
		<-spliceSlots
		return nil
	}
	r := &spliced{pair, n}
	if !r.load(sources) {
		r.Done()
		return nil
	}
	return r
}

// source is a run of bytes in an open file.
type source struct {
	file   *os.File
	offset int64
	length int
}

// pages is the number of pages that the run touches, each of which takes a place in a pipe.
func (s source) pages() int {
	page := os.Getpagesize()
	return (int(s.offset%int64(page))+s.length-1)/page + 1
}

// findSources says in which files n bytes of v from off lie, if they lie in few enough.
func findSources(v mapping.Volume, off int64, n int) (sources []source, ok bool) {
	for left := int64(n); left > 0; {
		e, err := v.Map(off, left)
		if err != nil || e.Kind != mapping.Data || len(sources) == n/minSpliceExtent {
			return nil, false
		}
		d, ok := e.Device.(mapping.FileDevice)
		if !ok {
			return nil, false
		}
		file, ok := d.File()
		if !ok {
			return nil, false
		}
		sources = append(sources, source{file, e.Offset, int(e.Length)})
		off += e.Length
		left -= e.Length
	}
	return sources, true
}

// spliced is a reply whose bytes wait in a pipe, all of them.
type spliced struct {
	pair *splice.Pair
	size int
}

func (r *spliced) load(sources []source) bool {
	pages := 0
	for _, s := range sources {
		pages += s.pages()
	}
	if pages >= pipePages(r.size) || r.pair.Grow(pages*os.Getpagesize()) != nil {
		return false
	}
	for _, s := range sources {
		s.fetch()
		for s.length > 0 {
			n, err := r.loadFrom(s)
			if err != nil || n <= 0 {
				return false
			}
			s.offset += int64(n)
			s.length -= n
		}
	}
	return true
}

// fetch has the kernel begin to read all of the run. Its own read-ahead follows those who read a file in order. Who
// reads at several places at once looks to it like one who reads at random; it would then read a piece of the run at
// a time.
func (s source) fetch() {
	conn, err := s.file.SyscallConn()
	if err != nil {
		return
	}
	_ = conn.Control(func(fd uintptr) { _ = unix.Fadvise(int(fd), s.offset, int64(s.length), unix.FADV_WILLNEED) })
}

func (r *spliced) loadFrom(s source) (n int, err error) {
	conn, err := s.file.SyscallConn()
	if err != nil {
		return 0, err
	}
	if cerr := conn.Control(func(fd uintptr) { n, err = r.pair.LoadFromAt(fd, s.length, s.offset) }); cerr != nil {
		return 0, cerr
	}
	return n, err
}

// pipePages is the least number of pages in the pipe that go-fuse puts the header and n bytes
// into: it asks for what they take when aligned and one more, and gets a power of two. If the
// bytes took more, it would send as many as fit.
func pipePages(n int) int {
	const header = 16
	page := os.Getpagesize()
	pages := (header + n + page + page - 1) / page
	return 1 << bits.Len(uint(pages-1))
}

// Stateful tells go-fuse which descriptor to splice from.
func (r *spliced) Stateful() (fd uintptr, size int) { return r.pair.ReadFd(), r.size }

func (r *spliced) Size() int { return r.size }

// Bytes is what go-fuse asks for when it could not splice. If it has taken bytes from the pipe
// before it gave up, they are lost.
func (r *spliced) Bytes(buf []byte) ([]byte, fuse.Status) {
	if len(buf) < r.size {
		return nil, fuse.EIO
	}
	for got := 0; got < r.size; {
		n, err := r.pair.Read(buf[got:r.size])
		if err == syscall.EINTR {
			continue
		}
		if err != nil || n <= 0 {
			return nil, fuse.EIO
		}
		got += n
	}
	return buf[:r.size], fuse.OK
}

// Done empties the pipe for the next reply.
func (r *spliced) Done() {
	splice.Done(r.pair)
	r.pair = nil
	<-spliceSlots
}
