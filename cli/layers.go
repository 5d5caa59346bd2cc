package cli

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"lvm2fs/blockdev"
	"lvm2fs/blockdev/pieces"
	"lvm2fs/layers/drbd"
	"lvm2fs/layers/luks"
	"lvm2fs/layers/probe"
	"lvm2fs/layers/signature"
	"lvm2fs/layers/vdisk"
	"lvm2fs/mapping"
)

// imageOptions are the flags, of every command, about virtual disk images.
type imageOptions struct {
	ImageSnapshot  []string `name:"image-snapshot" sep:"none" placeholder:"[DEVICE=]NAME" help:"Show the snapshot NAME that is inside of a qcow2 image."`
	AnyBackingFile bool     `name:"any-backing-file" help:"Let images name files outside of their directory that are no DEVICEs."`
	Pieces         bool     `help:"A DEVICE named disk.001 or xaa stands for all pieces of an image: disk.001, disk.002, ..."`
}

// layers are what a PV may lie in, beside partitions and arrays, and what it takes to open it.
type layers struct {
	keys      *keyring
	headers   map[string]string // of --luks-header: FILE by DEVICE
	snapshots []choiceOfSnapshot
	anyFile   bool
	pieces    bool
	given     []os.FileInfo // of the DEVICEs

	parts map[mapping.Device][]mapping.Device // that images name
}

// choiceOfSnapshot is one --image-snapshot.
type choiceOfSnapshot struct {
	device string // "" for all
	name   string
}

// newLayers reads the key files. devices are the DEVICE arguments of the command.
func newLayers(ask asker, keys keyOptions, images imageOptions, devices []string) (*layers, error) {
	l := &layers{headers: map[string]string{}, anyFile: images.AnyBackingFile, pieces: images.Pieces, parts: map[mapping.Device][]mapping.Device{}}
	for _, path := range devices {
		if info, err := os.Stat(path); err == nil {
			l.given = append(l.given, info)
		}
	}
	for _, arg := range keys.LUKSHeader {
		device, file := cutDevice(arg, devices)
		if device == "" {
			return nil, usagef("--luks-header %s: not DEVICE=FILE with one of the DEVICEs", arg)
		}
		l.headers[device] = file
	}
	for _, arg := range images.ImageSnapshot {
		device, name := cutDevice(arg, devices)
		if name == "" {
			return nil, usagef("--image-snapshot %s: no name", arg)
		}
		l.snapshots = append(l.snapshots, choiceOfSnapshot{device, name})
	}
	var err error
	l.keys, err = newKeyring(ask, keys, devices)
	return l, err
}

// lock forgets the keys: what is open stays so, and nothing more can be opened.
func (l *layers) lock() { l.keys.wipe() }

// images are asked about a device before anything else is.
func (l *layers) images() []probe.Layer {
	all := []probe.Layer{{Type: "crypt", Open: l.openDetached}}
	if l.pieces {
		all = append(all, probe.Layer{Type: "pieces", Changes: true, Open: openPieces})
	}
	for _, format := range vdisk.Formats() {
		all = append(all, probe.Layer{Type: format, Changes: true, Open: func(dev mapping.Device) (mapping.Device, error) {
			return l.openImage(dev, format)
		}, Parts: func(dev mapping.Device) []mapping.Device { return l.parts[dev] }, LiesOnAny: func(err error) bool { return errors.Is(err, vdisk.ErrParentUnknown) }})
	}
	return all
}

// openPieces opens the disk in the pieces of which dev is the first. Only files that the user has named are
// asked, for what lies on them has no name of its own.
func openPieces(dev mapping.Device) (mapping.Device, error) {
	file, ok := dev.(*blockdev.Device)
	if !ok || !file.IsFile() {
		return nil, nil
	}
	if found, err := pieces.Find(file.Path()); errors.Is(err, pieces.ErrNoPiece) || err == nil && len(found) < 2 {
		return nil, nil
	}
	d, err := pieces.Open(file)
	if err != nil {
		return nil, err
	}
	return d, nil
}

// containers are asked about what is a component of something else.
func (l *layers) containers() []probe.Layer {
	return []probe.Layer{{Type: "crypt", Open: l.openLUKS}, {Type: "drbd", Open: drbd.Open}}
}

func (l *layers) openLUKS(dev mapping.Device) (mapping.Device, error) {
	found, err := signature.Component(dev, dev.Size())
	if err != nil || found == nil || !strings.HasPrefix(found.Name, "LUKS") {
		return nil, err
	}
	return l.keys.open(dev, luks.Options{})
}

// openDetached opens a device that --luks-header names: nothing on it tells what it is.
func (l *layers) openDetached(dev mapping.Device) (mapping.Device, error) {
	for device, file := range l.headers {
		if named, err := isNamed(dev, device); err != nil || !named {
			if err != nil {
				return nil, err
			}
			continue
		}
		header, err := blockdev.Open(file, blockdev.Options{})
		if err != nil {
			return nil, err
		}
		defer func() { _ = header.Close() }()
		return l.keys.open(dev, luks.Options{Header: header})
	}
	return nil, nil
}

// isNamed says whether dev is what the user calls device, and nothing that lies on that. Of an image
// that is the disk in it.
func isNamed(dev mapping.Device, device string) (bool, error) {
	if s, ok := dev.(mapping.Stacked); ok {
		_, image := dev.(vdisk.Image)
		_, joined := dev.(*pieces.Disk)
		return dev.Name() == device || (image || joined) && liesOn(s.Beneath()[0], device), nil
	}
	if !liesOn(dev, device) {
		return false, nil
	}
	format, err := imageFormat(dev)
	return format == "", err
}

// imageFormat is the format of the image on dev; "" if there is none. A file that is called raw is raw, and
// so is a device with a PV label where a PV has it: its first bytes are what it was used for before.
func imageFormat(dev mapping.Device) (string, error) {
	if file, ok := dev.(*blockdev.Device); ok && strings.HasSuffix(strings.ToLower(file.Path()), ".raw") {
		return "", nil
	}
	format, err := vdisk.Is(dev)
	if err != nil || format == "" {
		return "", err
	}
	if plain, err := isPlain(dev); plain || err != nil {
		return "", err
	}
	return format, nil
}

// openImage opens an image of one format.
func (l *layers) openImage(dev mapping.Device, format string) (mapping.Device, error) {
	if is, err := imageFormat(dev); err != nil || is != format {
		return nil, err
	}
	file, _ := dev.(*blockdev.Device)
	opts := vdisk.Options{}
	if file != nil {
		opts.Files = l.recorded(vdisk.Beside(file, l.mayOpen), dev)
		for _, s := range l.snapshots {
			if s.device == "" || liesOn(dev, s.device) {
				opts.Snapshot = s.name
			}
		}
	}
	m, err := vdisk.Open(dev, opts)
	if errors.Is(err, vdisk.ErrOutside) {
		err = fmt.Errorf("%w (--any-backing-file allows it)", err)
	}
	if err != nil {
		return nil, err
	}
	// Not all that were opened to see what they are.
	l.parts[dev] = m.Info().Files
	return m, nil
}

// mayOpen says whether an image may have a file opened wherever it is: the user has named it too, or allowed
// all.
func (l *layers) mayOpen(path string) bool {
	if l.anyFile {
		return true
	}
	info, err := os.Stat(path)
	return err == nil && slices.ContainsFunc(l.given, func(g os.FileInfo) bool { return os.SameFile(g, info) })
}

// recorded opens files for the image on dev, and notes them as its parts: they are that too if the image
// then cannot be opened.
func (l *layers) recorded(open vdisk.Opener, dev mapping.Device) vdisk.Opener {
	delete(l.parts, dev)
	return func(from mapping.Device, name string) (mapping.Device, error) {
		d, err := open(from, name)
		if err == nil {
			l.parts[dev] = append(l.parts[dev], d)
		}
		return d, err
	}
}

// sameFile says whether two devices are one file or disk.
func sameFile(a, b mapping.Device) bool {
	x, ok := a.(*blockdev.Device)
	y, too := b.(*blockdev.Device)
	return ok && too && x.Same(y)
}

// isPlain says whether the device is not to be taken for an image, though it has the marks
// of one. A fixed VHD begins with the disk itself, and has its mark at the end.
func isPlain(dev mapping.Device) (bool, error) {
	marks, err := signature.Detect(dev, dev.Size())
	if err != nil {
		return false, err
	}
	image, pv := false, false
	for _, m := range marks {
		switch m.Kind {
		case signature.KindImage:
			image = true
			if m.Offset > 0 && m.Offset == dev.Size()-512 {
				return false, nil
			}
		case signature.KindPV:
			pv = true
		}
	}
	return !image || pv, nil
}

// diskSector is the size in bytes of the sectors of a disk; 0 if it does not tell.
func diskSector(dev mapping.Device) int64 {
	if m, ok := dev.(vdisk.Image); ok {
		return m.Info().Sector
	}
	return 0
}
