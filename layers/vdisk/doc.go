// Package vdisk reads virtual disk images: qcow2, VMDK, VHD, VHDX and VDI.
//
// [Open] returns the disk that an image holds as a device whose Map ends at the bytes of
// the image file: clusters that lie there as they are are data, those that were never
// written zero (or what the backing file has), compressed ones computed.
//
// Images on devices that can be written are that too, but for the kinds of which Unwritable says why not. Data are written
// at once, and what leads to them at the next Sync or soon after: each part of that is on stable storage before what leads
// to it, so that a power cut costs space at most. New blocks go to the end of the file. Of images that lie over one another
// the top one is written alone.
//
// Memory is bounded: tables are read in pieces of some KiB, of which
// the last used are kept, and so are some decompressed clusters; a log, of at most 64 MiB, is
// replayed in memory. Every offset that an image states is checked before it is followed;
// bytes that are said to lie beyond the end of a file are missing, not zero.
//
// An image may name other files: backing files, extents, data files. They are opened by the
// caller's [Opener].
//
// The formats, as facts, are from the public specifications: "VMware Virtual Disk Format
// 5.0", "Virtual Hard Disk Image Format Specification", "[MS-VHDX]", and the
// interoperability description of qcow2; VDI is as VirtualBox and QEMU write it.
package vdisk
