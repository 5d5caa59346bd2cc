package vdisk

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"lvm2fs/mapping"
)

// Options change how an image is opened. The zero value is fit for use.
type Options struct {
	// Name is what messages call the disk. The default is the name of the device, with
	// the format in brackets.
	Name string
	// Snapshot is the name, or else the id, of the internal snapshot of a qcow2 image to
	// show instead of its present state.
	Snapshot string
	// Files opens the files that images name. The default refuses all of them.
	Files Opener
}

// Image is the disk that an image holds. It is safe for concurrent use.
type Image interface {
	mapping.Stacked
	mapping.Volume
	// Info tells what the image is.
	Info() Info
	// Warnings tell what may be wrong with the image, but does not keep it from being read.
	Warnings() []error
	// Close closes the files that were opened because the image names them. The device
	// stays open.
	io.Closer
}

// Info is what is known of an image.
type Info struct {
	Format string // "qcow2", "VMDK", "VHD", "VHDX", "VDI"
	Sector int64  // bytes, of the disk's logical sectors
	// Files are what was opened because the image names it, and what these name.
	Files []mapping.Device
}

// format is how images of one kind are recognised and opened.
type format struct {
	name string
	is   func(dev mapping.Device) (bool, error)
	open func(o *opening) (layout, error)
}

// formats are tried in this order. A fixed VHD shows at its end only, and is the last.
func formats() []format {
	return []format{
		{"qcow2", startsWith("QFI\xfb"), openQcow2},
		{"VMDK", startsWith("KDMV"), openSparseVMDK},
		{"VMDK", startsWith("COWD"), refuse("VMDK images of ESX with COW extents")},
		{"VMDK", startsWith("# Disk DescriptorFile"), openDescribedVMDK},
		{"VHDX", startsWith("vhdxfile"), openVHDX},
		{"VHD", isVHD, openVHD},
		{"VDI", isVDI, openVDI},
	}
}

func refuse(what string) func(*opening) (layout, error) {
	return func(*opening) (layout, error) { return nil, unsupported("%s", what) }
}

// layout is what a format knows of a disk.
type layout interface {
	size() int64
	sector() int64
	// Map is as [mapping.Volume] has it, but Data may lie beyond the end of its file.
	Map(off, max int64) (mapping.Extent, error)
	// compute reads len(p) bytes at off, of which Map said that they are Computed. It
	// is whole or an error.
	compute(p []byte, off int64) error
}

// opening is an image that is being opened.
type opening struct {
	dev   mapping.Device
	opts  Options
	above *opening // the image that this one is beneath of; nil if there is none
	files []mapping.Device

	based    bool   // what it lies over was found, or that there is nothing
	format   string // which it is to be of; "" if its bytes are to tell
	warnings []error
}

func (o *opening) warn(format string, args ...any) {
	o.warnings = append(o.warnings, fmt.Errorf(format, args...))
}

// formatRaw is the format of what is a disk as it is, whatever its bytes look like.
const formatRaw = "raw"

// maxDepth bounds chains of images that name one another.
const maxDepth = 100

// Formats are the names of the formats, each once.
func Formats() []string {
	var names []string
	for _, f := range formats() {
		if !slices.Contains(names, f.name) {
			names = append(names, f.name)
		}
	}
	return names
}

// Is reports whether the device holds an image of a format that is known here, and names
// the format. It fails if the device cannot be read.
func Is(dev mapping.Device) (name string, err error) {
	f, err := formatOf(dev)
	if f == nil {
		return "", err
	}
	return f.name, nil
}

func formatOf(dev mapping.Device) (*format, error) {
	for _, f := range formats() {
		yes, err := f.is(dev)
		if err != nil {
			return nil, named(dev, err)
		}
		if yes {
			return &f, nil
		}
	}
	return nil, nil
}

// named is err with the name of dev, which the errors of most devices begin with.
func named(dev mapping.Device, err error) error {
	if strings.HasPrefix(err.Error(), dev.Name()+": ") {
		return err
	}
	return fmt.Errorf("%s: %w", dev.Name(), err)
}

// Open opens the image on dev. Errors name dev; they wrap ErrNotImage, ErrDamaged,
// ErrUnsupported, ErrOutside, ErrNoSnapshot, or what dev gave; and ErrParentUnknown too, if any other
// image might be what this one lies over.
//
// If dev is a [mapping.WritableDevice] the image is one, too. Whether it can be written is what [mapping.Unwritable]
// says, and in the end Claim.
func Open(dev mapping.Device, opts Options) (Image, error) {
	m, err := open(&opening{dev: dev, opts: opts})
	if err != nil {
		return nil, err
	}
	return makeWritable(m), nil
}

func open(o *opening) (*image, error) {
	f, err := o.chosen()
	switch {
	case err != nil:
		return nil, err
	case f == nil && o.format != "":
		return nil, fmt.Errorf("%s: %w of the format %s", o.dev.Name(), ErrNotImage, o.format)
	case f == nil:
		return nil, fmt.Errorf("%s: %w", o.dev.Name(), ErrNotImage)
	case o.opts.Snapshot != "" && f.name != "qcow2":
		return nil, fmt.Errorf("%s: %w: %q, of a %s image", o.dev.Name(), ErrNoSnapshot, o.opts.Snapshot, f.name)
	}
	l, err := f.open(o)
	if err == nil && (l.size() < 1 || l.size() > maxSize) {
		err = damaged("a disk of %d bytes", l.size())
	}
	if err != nil {
		_ = closeAll(o.files)
		if !o.based {
			err = unknownParent{err}
		}
		return nil, fmt.Errorf("%s: %s image: %w", o.dev.Name(), f.name, err)
	}
	m := &image{layout: l, dev: o.dev, name: o.opts.Name, warnings: o.warnings, info: Info{Format: f.name, Sector: l.sector(), Files: o.files}}
	if m.name == "" {
		m.name = fmt.Sprintf("%s [%s]", o.dev.Name(), f.name)
	}
	return m, nil
}

// chosen is the format of the image: the one that it is to be of, for what is in a disk could look like another.
func (o *opening) chosen() (*format, error) {
	if o.format == "" {
		return formatOf(o.dev)
	}
	for _, f := range formats() {
		if f.name != o.format {
			continue
		}
		if yes, err := f.is(o.dev); yes || err != nil {
			return &f, err
		}
	}
	return nil, nil
}

// maxSize is the largest disk, so that sums of two offsets do not overflow.
const maxSize = 1 << 61

// file opens a file that the image names.
func (o *opening) file(name string) (mapping.Device, error) {
	if o.opts.Files == nil {
		return nil, fmt.Errorf("it names the file %q: %w", name, ErrOutside)
	}
	path, err := localPath(name)
	var dev mapping.Device
	if err == nil {
		dev, err = o.opts.Files(o.dev, path)
	}
	if err != nil {
		return nil, fmt.Errorf("the file %q that it names: %w", name, err)
	}
	o.files = append(o.files, dev)
	return dev, nil
}

// base opens the file of the image that this one is an overlay of. That comes before all that may be wrong
// with the image: a part of it stays one if the rest cannot be read.
func (o *opening) base(name string) (mapping.Device, error) {
	if err := o.deeper(); err != nil {
		return nil, err
	}
	dev, err := o.file(name)
	o.based = err == nil
	return dev, err
}

// deeper fails if there are too many images over what would come beneath this one.
func (o *opening) deeper() error {
	depth := 1
	for a := o.above; a != nil; a = a.above {
		depth++
	}
	if depth >= maxDepth {
		return unsupported("a chain of more than %d images", maxDepth)
	}
	return nil
}

// lay opens the image on dev, one of the files of this one, as what lies beneath it.
func (o *opening) lay(dev mapping.Device, name, format string) (mapping.Volume, error) {
	if o.over(dev) {
		return nil, damaged("the image lies over itself, by way of %q", name)
	}
	if format == formatRaw {
		return rawDisk{dev}, nil
	}
	below := &opening{dev: dev, opts: Options{Files: o.opts.Files}, above: o, format: format}
	m, err := open(below)
	if format == "" && errors.Is(err, ErrNotImage) {
		return rawDisk{dev}, nil
	}
	if err != nil {
		return nil, err
	}
	o.files = append(o.files, below.files...)
	o.warnings = append(o.warnings, below.warnings...)
	return m, nil
}

// over reports whether dev is this image, or one that lies over it.
func (o *opening) over(dev mapping.Device) bool {
	for ; o != nil; o = o.above {
		if mapping.Same(dev, o.dev) {
			return true
		}
	}
	return false
}

func closeAll(files []mapping.Device) error {
	var failed error
	for _, f := range files {
		if c, ok := f.(io.Closer); ok {
			failed = errors.Join(failed, c.Close())
		}
	}
	return failed
}
