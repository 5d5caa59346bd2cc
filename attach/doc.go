// Package attach makes block devices of LVs, and remembers which there are. It has no command line.
//
// There are two ways on Linux. A contiguous LV is one run of bytes of one file or disk, with nothing beside it. A loop
// device gets it straight, and no process stays: see [Contiguous]. Any other LV is given to a loop device as a file of
// a private mount. (docs/format/10-block-devices.md, section 1)
//
// [State] is what is attached, in a directory that all processes share.
package attach
