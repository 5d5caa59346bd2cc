//go:build !linux

package copyout

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// Here all bytes go through memory, and blocks of zeros stay holes; the file systems
// that can do better are not asked.

func blockSize(st *unix.Statfs_t) int64 { return int64(st.Bsize) }

func clone(_, _ *os.File, _, _, _ int64) error { return errors.ErrUnsupported }

func copyRange(_, _ *os.File, _, _, _ int64) (int64, error) { return 0, errors.ErrUnsupported }

func punch(*os.File, int64, int64) error { return errors.ErrUnsupported }

func startWriteback(*os.File, int64, int64) {}

// flush is what [os.File.Sync] does, which is F_FULLFSYNC on macOS.
func flush(f *os.File) error { return f.Sync() }

type fileSystem struct {
	block  int64
	remote bool
}

func fileSystemOf(*os.File) (fileSystem, error) { return fileSystem{block: 4096}, nil }

func canClone(_, _ *os.File) bool { return false }

func renameNoReplace(dir int, from, to string) error { return renameChecked(dir, from, to) }
