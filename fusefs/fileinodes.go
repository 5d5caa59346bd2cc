package fusefs

import (
	"maps"
	"runtime"
	"sync"
	"time"
)

// fileInodes are those that a file has in the kernel, one after the other and all of one number.
//
// The kernel keeps two things by inode: pages, and one size. Who only reads gets pages, since most programs read a few KiB at a
// time, and each request costs more than the bytes it brings. Who writes goes past the pages. Were both at one inode, then a
// truncation, which is to end the file for its writers alone (see [fileEnd]), would end it for the readers, too. So
// who opens a file for writing of which others read pages is sent on to a new inode (ESTALE has the kernel ask for the
// name again), and as long as there are writers, who joins them there gets no pages.
//
//	              generation 0        generation 1
//	reader opens  reads pages
//	writer opens  sent on -----------> writes
//	reader opens                       reads past the pages
//	writer closes
//	reader opens                       reads pages
//
// The zero value is for a file that nobody has open.
type fileInodes struct {
	mu         sync.Mutex
	generation uint64               // of that which the name leads to
	sentOn     map[uint32]time.Time // when which thread, which wants to write, was sent on to it; it has not come yet
	writers    int                  // handles that write
	cached     int                  // handles there that read pages; none while there are writers
	handles    map[*lvNode]int      // of all inodes that have any
}

// comeWithin is how long a thread that was sent on is waited for. It does nothing else on the way, so one that does not
// come was killed.
const comeWithin = 10 * time.Second

// open is for a handle that a thread opens. It says false to one that is to be opened at another inode. Nobody is sent on twice:
// who opens the file for reading meanwhile gets no pages; and who comes back to an inode asked not for the name but
// for the file of a descriptor, in /proc/self/fd, and writes where it is.
func (i *fileInodes) open(h *handle, thread uint32, mayCache bool) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.handles == nil {
		i.handles, i.sentOn = map[*lvNode]int{}, map[uint32]time.Time{}
	}
	current := h.node.generation == i.generation
	_, again := i.sentOn[thread]
	switch {
	case h.writable && !again && (!current || i.cached > 0):
		if current {
			i.generation++
			i.cached = 0
		}
		i.sentOn[thread] = time.Now()
		return false
	case h.writable:
		i.writers++
		delete(i.sentOn, thread)
	case mayCache && current && i.writers == 0 && !i.expectWriters():
		i.cached++
		h.cached = true
	}
	i.handles[h.node]++
	return true
}

func (i *fileInodes) expectWriters() bool {
	maps.DeleteFunc(i.sentOn, func(_ uint32, at time.Time) bool { return time.Since(at) > comeWithin })
	return len(i.sentOn) > 0
}

// close is for a handle that was opened.
func (i *fileInodes) close(h *handle) {
	i.mu.Lock()
	defer i.mu.Unlock()
	switch {
	case h.writable:
		i.writers--
	case h.cached && h.node.generation == i.generation:
		i.cached--
	}
	i.handles[h.node]--
	if i.handles[h.node] == 0 {
		delete(i.handles, h.node)
	}
}

// current is the generation of the inode that the name leads to.
func (i *fileInodes) current() uint64 {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.generation
}

// others are the inodes with handles but for one, which may be nil.
func (i *fileInodes) others(but *lvNode) []*lvNode {
	i.mu.Lock()
	defer i.mu.Unlock()
	var others []*lvNode
	for node := range i.handles {
		if node != but {
			others = append(others, node)
		}
	}
	return others
}

// forget makes the kernel drop the pages of n bytes from off on, or for n = 0 up to the end, that it has in the inodes but for
// one, which may be nil; and for off = -1 only attributes. It waits for the pages that are just being read, so the caller holds no
// lock that reading takes.
func (i *fileInodes) forget(but *lvNode, off, n int64) {
	for _, node := range i.others(but) {
		_ = node.NotifyContent(off, n) // an error says that there is nothing to forget
	}
}

// cachesReaders says whether the kernel may keep what is read of files that nobody writes. The way on to another inode is Linux's
// alone, and on a block device the kernel keeps pages by itself.
func (s *Server) cachesReaders() bool {
	return runtime.GOOS == "linux" && !s.cfg.DirectIO && !s.cfg.KernelCache && !s.cfg.BlockDevices
}
