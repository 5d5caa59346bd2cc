//go:build !linux

package fusefs

// direct is the flag of those who open a file to go past the kernel's pages; nobody does here.
const direct = 0
