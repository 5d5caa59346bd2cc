package blockdev

import (
	"io"
	"os"
	"time"
)

// backing is one open of what a Device stands for: all that is below alignment and
// claims.
type backing interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	geometry() (geometry, error)
	// punchHole makes whole units of geometry.hole bytes read as zeros.
	punchHole(off, n int64) error
	flush() error
	// forget drops cached bytes that may be older than the disk's.
	forget()
}

// geometry is what a system call tells of a device.
type geometry struct {
	size    int64     // bytes
	sector  int64     // what offset and length of each access must be a multiple of
	hole    int64     // the same for punchHole
	modTime time.Time // of files
}

// osFile is the backing of all that the operating system opens.
type osFile struct {
	*os.File
	isFile bool
	direct bool
}
