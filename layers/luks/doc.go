// Package luks opens LUKS1 and LUKS2 containers (docs/format/04-below-lvm.md, section 5).
//
// [Open] finds the header, tries passphrases on its key slots and returns the container's
// payload as a device. Everything a header says is checked against the size of the device
// and against bounds on memory and time before it is acted on.
//
// The ciphers are AES and Twofish, of the libraries, in the modes xts and cbc.
//
// Not opened: containers with authenticated encryption (dm-integrity), with a
// re-encryption under way, with encryption by the disk itself (OPAL), and those whose
// header states a requirement that is not known here.
//
// Passphrases, keys and what ciphers expand them to are held in memory that is locked, kept
// out of core dumps and zeroed: keys as soon as the ciphers are made, these by Close. What the
// libraries for key derivation keep for themselves, and a cipher that is not one piece of memory,
// is left to the garbage collector.
package luks
