// Package blockdev opens what a PV lies on: image files, block devices, and the
// character devices that FreeBSD and macOS offer for disks, which take only whole,
// aligned sectors. It knows nothing of LVM2.
//
// A [Device] takes any offset and length. Where the system wants whole sectors
// ([Device.SectorSize] is more than 1), a Device reads the sectors around what it was
// asked for, and a write that does not cover its first or last sector is a
// read-modify-write, which no other write through the same Device gets between.
// Otherwise every access goes to the system as it is, on its own: a bad sector fails
// the accesses that touch it and no others.
//
// Opening reads only. [Device.Claim] takes the device as exclusively as the platform
// can and opens it a second time, for writing:
//
//   - Linux block device: O_EXCL, which the kernel refuses while the device or a part
//     of it is mounted, swapped to, or held by device-mapper, MD or another claim.
//   - image file: flock, which keeps other claims out, and on Linux the byte locks
//     that keep QEMU out. A file that is attached to a loop device in use is busy. On a
//     file system that has no locks nothing is kept out.
//   - macOS device: O_EXLOCK; the system itself refuses a mounted device.
//   - FreeBSD device: GEOM refuses a device that is mounted or part of a provider in
//     use.
//
// The descriptor for reading stays open and sees what the other one writes: both go
// through one page cache, or both past it (character devices, [Options.Direct]). With
// Direct on Linux the kernel writes back and drops the cached pages of a range before
// it touches the range, so that buffered readers elsewhere agree too.
//
// On Linux a block device is read through the page cache of that very device. Pages
// stay in it while the device is open, even if the disk is then written by another way
// (an LV that device-mapper has active, the disk that a partition belongs to).
// [Device.Refresh] and the first Claim drop them.
//
// All methods of a Device are safe for concurrent use.
package blockdev
