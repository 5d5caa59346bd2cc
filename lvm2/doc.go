// Package lvm2 reads LVM2 volume groups without device-mapper: devices in, volumes out.
//
// [Open] looks at devices, which are anything with ReadAt and Size, and returns the VGs
// they hold: plain data that says what the metadata says. [LV.Open] makes an LV
// readable, as an io.ReaderAt whose bytes are those of the block device that the Linux
// kernel would make of it; [LV.OpenWritable] makes it an io.WriterAt too.
//
// Three rules hold everywhere:
//
//   - A read gives the bytes that the kernel would give, or an error that says which
//     device, structure and offset is to blame. What is missing is never zeros.
//   - Nothing is written but what is given to [Volume.WriteAt] and [Volume.PunchHole].
//   - What this release does not understand is refused with [ErrUnsupported], not guessed.
//
// Devices are untrusted: whatever their bytes, no function here panics, loops or
// allocates without bound. A name in a VG or LV may be any string; [VG.DirName] and
// [LV.FileName] are fit for a path.
//
// The package makes no system calls. Package lvm2fs/blockdev has devices that are files
// and disks.
package lvm2
