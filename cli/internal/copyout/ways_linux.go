package copyout

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// blockSize is the unit in which statfs counts.
func blockSize(st *unix.Statfs_t) int64 {
	if st.Frsize > 0 {
		return st.Frsize
	}
	return st.Bsize
}

// clone makes n bytes of dst share the blocks of src. Both offsets and n must be
// multiples of the file system's block.
func clone(dst, src *os.File, dstOff, srcOff, n int64) error {
	return retry(func() error {
		return unix.IoctlFileCloneRange(int(dst.Fd()), &unix.FileCloneRange{
			Src_fd:      int64(src.Fd()),
			Src_offset:  uint64(srcOff),
			Src_length:  uint64(n),
			Dest_offset: uint64(dstOff),
		})
	})
}

// copyRange lets the file system copy up to n bytes. It may copy fewer, and none.
func copyRange(dst, src *os.File, dstOff, srcOff, n int64) (copied int64, err error) {
	err = retry(func() error {
		from, to := srcOff, dstOff
		n, err := unix.CopyFileRange(int(src.Fd()), &from, int(dst.Fd()), &to, int(n), 0)
		copied = int64(max(n, 0))
		return err
	})
	return copied, err
}

// punch makes n bytes of f a hole.
func punch(f *os.File, off, n int64) error {
	return retry(func() error {
		return unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, off, n)
	})
}

// startWriteback lets the kernel begin to write n bytes of f, so that the sync at the end
// finds little to do.
func startWriteback(f *os.File, off, n int64) {
	_ = unix.SyncFileRange(int(f.Fd()), off, n, unix.SYNC_FILE_RANGE_WRITE) // only a hint
}

// flush returns once the bytes of f, and what is needed to read them, are on stable
// storage.
func flush(f *os.File) error {
	return retry(func() error { return unix.Fdatasync(int(f.Fd())) })
}

// fileSystem is what must be known of the one that a file is on.
type fileSystem struct {
	block  int64 // bytes
	remote bool  // it copies by itself, without the bytes coming here
}

// smb2Magic is what statfs(2) does not list.
const smb2Magic = 0xfe534d42

func fileSystemOf(f *os.File) (fileSystem, error) {
	st, err := statfs(f)
	if err != nil {
		return fileSystem{}, err
	}
	switch uint32(st.Type) {
	case unix.NFS_SUPER_MAGIC, unix.SMB_SUPER_MAGIC, unix.CIFS_SUPER_MAGIC, smb2Magic, unix.CEPH_SUPER_MAGIC, unix.FUSE_SUPER_MAGIC:
		return fileSystem{st.Bsize, true}, nil
	}
	return fileSystem{st.Bsize, false}, nil
}

// canClone says whether files in dir can share blocks with src. It tries, with a file
// that has no name; where there is no such thing, yes means perhaps.
func canClone(dir, src *os.File) bool {
	there, err1 := statfs(dir)
	here, err2 := statfs(src)
	if err1 != nil || err2 != nil {
		return false
	}
	fd, err := unix.Openat(int(dir.Fd()), ".", unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return here.Fsid == there.Fsid
	}
	nameless := os.NewFile(uintptr(fd), dir.Name())
	defer nameless.Close()
	return clone(nameless, src, 0, 0, there.Bsize) == nil
}

func renameNoReplace(dir int, from, to string) error {
	err := unix.Renameat2(dir, from, dir, to, unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) {
		return renameChecked(dir, from, to)
	}
	return err
}
