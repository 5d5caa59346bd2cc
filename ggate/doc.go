// Package ggate makes block devices of volumes on FreeBSD: a server for the kernel module geom_gate, whose devices
// are /dev/ggateN. It knows nothing of LVM2.
//
// The kernel hands out requests (read, write, delete, flush) through /dev/ggctl, and the server answers each from a
// [mapping.Volume]. Reads of a volume that is one run on a disk need not come to the server at all: see
// [Options.ReadProvider].
//
// Everything but the system calls themselves is behind [Control], so that it is tested on every system.
// (docs/format/10-block-devices.md, section 2)
package ggate
