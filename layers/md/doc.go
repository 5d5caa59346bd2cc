// Package md reads and writes Linux MD arrays ("software RAID") without the kernel's help: it reads the
// superblocks of their members, finds out which members can be trusted, and assembles arrays. An array is
// written while it is claimed; what superblocks and bitmaps then say is such that the kernel, or who assembles the array
// next, brings it in sync if it is cut off.
//
// [Find] tells whether a device is a member, and [Assemble] makes an [Array] of the members of one set.
// What the levels mean is package raid's; this package knows what superblocks say.
//
// An array is assembled only where the kernel would start it, and only from what is certain: members
// that missed writes are left out, parity that may be wrong is not believed, and an array in the
// middle of a reshape whose critical section may lie elsewhere is refused.
//
// Offsets and sizes are in bytes. (docs/format/04-below-lvm.md, section 4)
package md
