package secret

import "golang.org/x/sys/unix"

func undumped(pages []byte) error { return unix.Madvise(pages, unix.MADV_NOCORE) }
