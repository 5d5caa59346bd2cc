package fusefs

import "golang.org/x/sys/unix"

// direct is the flag of those who open a file to go past the kernel's pages.
const direct = unix.O_DIRECT
