package md

import (
	"fmt"
	"io"

	"lvm2fs/mapping"
)

// Array is an assembled array. It is safe for concurrent use.
type Array struct {
	name    string
	size    int64
	volume  mapping.Volume
	super   *Superblock
	devices []mapping.Device // the members in use
	present int
	writing writing
}

var (
	_ mapping.Volume         = (*Array)(nil)
	_ mapping.Stacked        = (*Array)(nil)
	_ mapping.WritableDevice = (*Array)(nil)
)

// Name is what messages call the array.
func (a *Array) Name() string { return a.name }

// Size is in bytes.
func (a *Array) Size() int64 { return a.size }

// Beneath are the members in use, in the order of their places.
func (a *Array) Beneath() []mapping.Device { return a.devices }

// Level is the array's.
func (a *Array) Level() Level { return a.super.Geometry.Level }

// Map answers where bytes are; see [mapping.Volume].
func (a *Array) Map(off, max int64) (mapping.Extent, error) { return a.volume.Map(off, max) }

// ReadAt reads whole or fails; see [mapping.Volume].
func (a *Array) ReadAt(p []byte, off int64) (int, error) {
	n, err := a.volume.ReadAt(p, off)
	if err != nil && err != io.EOF {
		err = fmt.Errorf("%s: %w", a.name, err)
	}
	return n, err
}

// String is the level, with how many members are in use if that is not all.
func (a *Array) String() string {
	disks := a.super.Geometry.Disks
	if r := a.super.Reshape; r != nil {
		return fmt.Sprintf("%v, in the middle of a reshape", a.Level())
	}
	if a.present < disks {
		return fmt.Sprintf("%v, %d of %d members", a.Level(), a.present, disks)
	}
	return a.Level().String()
}
