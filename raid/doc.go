// Package raid reads and writes arrays of legs: the layouts of Linux MD and dm-raid, whole,
// degraded, out of sync or in the middle of a reshape. It knows neither LVM2 nor MD
// superblocks; who assembles an array tells it what they say, in a [Config].
//
// An [Array] is a [mapping.Volume] over the volumes of its legs. Where a healthy leg
// holds the bytes it answers with that leg's own extents; what has to be rebuilt from
// other legs is computed; what cannot be rebuilt is missing.
//
// What is lost is a matter of ranges, not of legs: a leg can be absent, or end early, be
// missing in parts, hold old data from some point on, or fail to read some of its
// sectors. All of that is one question (how much of leg i can be used from x on?), and
// every layout asks it the same way.
//
// A layout is one of two shapes. In rows (raid0, raid4, raid5, raid6) every byte has one
// place, and a row of chunks across all legs carries zero, one or two chunks of parity.
// In copies (raid1, raid10) every byte has several places. One file for each level draws
// its table; rows.go and copies.go read the two shapes.
//
// An array that is whole can be written: copies go to all legs (write_copies.go), and rows get new parity
// (write_rows.go). A [Log] notes, before the first write, which regions may differ if it is the last
// (intent.go says when).
//
// All offsets and lengths are in bytes.
package raid
