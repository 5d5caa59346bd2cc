package scan

import (
	"context"
	"errors"
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

// layers are what a PV may lie in, beside partitions and arrays, and what it takes to open it.
type layers struct {
	opts  Options
	keys  *keyring
	given []os.FileInfo // of the paths

	parts map[mapping.Device][]mapping.Device // that images name
}

func newLayers(opts Options, paths []string) *layers {
	l := &layers{opts: opts, parts: map[mapping.Device][]mapping.Device{}}
	l.keys = &keyring{ask: opts.Passphrase, keys: opts.Keys, keep: opts.KeepKeys, slots: opts.KeySlots}
	l.opts.Keys = nil
	for _, path := range paths {
		if info, err := os.Stat(path); err == nil {
			l.given = append(l.given, info)
		}
	}
	return l
}

// images are asked about a device before anything else is.
func (l *layers) images() []probe.Layer {
	all := []probe.Layer{{Type: "crypt", Open: l.openDetached}}
	if l.opts.Pieces {
		all = append(all, probe.Layer{Type: "pieces", Changes: true, Open: openPieces})
	}
	for _, format := range vdisk.Formats() {
		all = append(all, probe.Layer{Type: format, Changes: true, Open: func(_ context.Context, dev mapping.Device) (mapping.Device, error) {
			return l.openImage(dev, format)
		}, Parts: func(dev mapping.Device) []mapping.Device { return l.parts[dev] }, LiesOnAny: func(err error) bool { return errors.Is(err, vdisk.ErrParentUnknown) }})
	}
	return all
}

// openPieces opens the disk in the pieces of which dev is the first. Only files that the caller has named are looked
// at, because what lies on them has no name of its own.
func openPieces(_ context.Context, dev mapping.Device) (mapping.Device, error) {
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
	return []probe.Layer{{Type: "crypt", Open: l.openLUKS}, {Type: "drbd", Open: func(_ context.Context, dev mapping.Device) (mapping.Device, error) { return drbd.Open(dev) }}}
}

func (l *layers) openLUKS(ctx context.Context, dev mapping.Device) (mapping.Device, error) {
	found, err := signature.Component(dev, dev.Size())
	if err != nil || found == nil || !strings.HasPrefix(found.Name, "LUKS") {
		return nil, err
	}
	return l.keys.open(ctx, dev, luks.Options{})
}

// openDetached opens a device whose header is elsewhere: nothing on it tells what it is.
func (l *layers) openDetached(ctx context.Context, dev mapping.Device) (mapping.Device, error) {
	for _, h := range l.opts.LUKSHeaders {
		if named, err := isNamed(dev, h.Device); err != nil || !named {
			if err != nil {
				return nil, err
			}
			continue
		}
		header, err := blockdev.Open(h.Path, blockdev.Options{})
		if err != nil {
			return nil, err
		}
		defer func() { _ = header.Close() }()
		return l.keys.open(ctx, dev, luks.Options{Header: header})
	}
	return nil, nil
}

// isNamed says whether dev is what the caller calls device, and not something that lies on it. For an image
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

// imageFormat is the format of the image on dev; "" if there is none. A file that is called raw is raw. So is a
// device with a PV label in its place: the mark of an image in its first bytes is left from an earlier use.
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
		opts.Files = l.recorded(blockdev.Beside(file, l.mayOpen), dev)
		for _, s := range l.opts.ImageSnapshots {
			if s.Device == "" || liesOn(dev, s.Device) {
				opts.Snapshot = s.Name
			}
		}
	}
	m, err := vdisk.Open(dev, opts)
	if err != nil {
		return nil, err
	}
	// Without those that were opened only to see what they are.
	l.parts[dev] = m.Info().Files
	return m, nil
}

// mayOpen says whether an image may have a file opened wherever it is: the caller has named it too, or allowed
// all.
func (l *layers) mayOpen(path string) bool {
	if l.opts.AnyBackingFile {
		return true
	}
	info, err := os.Stat(path)
	return err == nil && slices.ContainsFunc(l.given, func(g os.FileInfo) bool { return os.SameFile(g, info) })
}

// recorded opens files for the image on dev, and notes them as its parts. They are its parts even if the image
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

// SectorSize is the size in bytes of the sectors of a disk; 0 if it does not tell.
func SectorSize(d mapping.Device) int64 {
	switch d := d.(type) {
	case *blockdev.Device:
		return d.BlockSize()
	case vdisk.Image:
		if n := d.Info().Sector; n != 0 {
			return n
		}
	}
	s, ok := d.(mapping.Stacked)
	if !ok {
		return 0
	}
	var largest int64
	for _, b := range s.Beneath() {
		n := SectorSize(b)
		if n == 0 {
			return 0
		}
		largest = max(largest, n)
	}
	return largest
}
