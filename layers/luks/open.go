package luks

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"lvm2fs/internal/secret"
	"lvm2fs/mapping"
)

// Options change how a container is opened. The zero value is fit for use.
type Options struct {
	// Name is what messages call the payload. The default is the name of the device,
	// with "LUKS" in brackets.
	Name string
	// Header is the device with the header, if that lies elsewhere than the payload.
	Header mapping.Device
	// Slot is the name, "0" to "31", of the only key slot to try. The default are all, but for those
	// that LUKS2 has a priority of 0 for.
	Slot string
}

// Container is the payload of a container that was opened. It is a
// [mapping.WritableDevice] too if its device is. It is safe for concurrent use.
type Container interface {
	mapping.Stacked
	// Map says Computed of everything: the bytes on the disk are not these.
	mapping.Volume
	// Info tells what the header says.
	Info() Info
	// Close forgets the keys; accesses afterwards fail with os.ErrClosed. It does not
	// close the device.
	io.Closer
}

// Info is what a header says of a container.
type Info struct {
	Version int    // 1 or 2
	UUID    string // as the header has it, which is any text
	Label   string // the same
	Cipher  string // as cryptsetup writes it: "aes-xts-plain64"
	KeyBits int
	Offset  int64  // bytes from the start of the device to the payload
	Sector  int64  // bytes, of what is encrypted as one
	Slot    string // the key slot that was opened
}

// Open opens the container on dev with the first of the keys that fits one of its key
// slots; slots are tried in the order of their priorities. A key is a passphrase, or the
// bytes of a key file, and stays the caller's. Errors name dev; they wrap ErrPassphrase if
// no key fits, ErrSlot, ErrNoHeader, ErrHeader, ErrUnsupported, what dev gave, or the error of ctx: a key may
// take seconds to be tried.
func Open(ctx context.Context, dev mapping.Device, keys [][]byte, opts Options) (Container, error) {
	headerDevice := dev
	if opts.Header != nil {
		headerDevice = opts.Header
	}
	h, err := readHeader(headerDevice)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", headerDevice.Name(), err)
	}
	if opts.Header == nil && h.payload.offset < h.size {
		return nil, fmt.Errorf("%s: %w", dev.Name(), ErrDetached)
	}
	p, err := h.payload.within(dev)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", dev.Name(), err)
	}
	if err := h.choose(opts.Slot); err != nil {
		return nil, fmt.Errorf("%s: %w", headerDevice.Name(), err)
	}
	s, key, err := h.unlock(ctx, headerDevice, keys)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", headerDevice.Name(), err)
	}
	defer key.Wipe()
	mode, err := p.cipher.open(key.Bytes(), p.sector)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", dev.Name(), err)
	}
	c := &container{
		dev:     dev,
		name:    opts.Name,
		payload: p,
		mode:    mode,
		info: Info{
			Version: h.version, UUID: h.uuid, Label: h.label,
			Cipher: p.cipher.text, KeyBits: p.cipher.keySize * 8,
			Offset: p.offset, Sector: p.sector, Slot: s.name,
		},
	}
	if c.name == "" {
		c.name = dev.Name() + " [LUKS]"
	}
	if w, ok := dev.(mapping.WritableDevice); ok {
		return &writable{container: c, dev: w}, nil
	}
	return c, nil
}

// within returns the payload with its size, if it lies on dev.
func (p payload) within(dev mapping.Device) (payload, error) {
	rest := dev.Size() - p.offset
	if p.size == 0 {
		p.size = rest / p.sector * p.sector
	}
	if rest <= 0 || p.size > rest || p.size == 0 {
		return p, damaged("the device has %d bytes, and its payload is to begin at byte %d and have %d", dev.Size(), p.offset, p.size)
	}
	return p, nil
}

// choose keeps the slot of that name, or else all, of which some are not to be tried.
func (h *header) choose(name string) error {
	if name == "" {
		for i := range h.slots {
			if s := &h.slots[i]; s.ignored && s.err == nil {
				s.err = errIgnored
			}
		}
		return nil
	}
	i := slices.IndexFunc(h.slots, func(s slot) bool { return s.name == name })
	if i < 0 {
		var names []string
		for _, s := range h.slots {
			names = append(names, s.name)
		}
		return fmt.Errorf("%w: %s; in use: %s", ErrSlot, name, strings.Join(names, ", "))
	}
	h.slots = h.slots[i : i+1]
	return nil
}

// unlock returns the first key slot that one of the keys opens, and the key of the payload.
func (h *header) unlock(ctx context.Context, dev mapping.Device, keys [][]byte) (*slot, *secret.Bytes, error) {
	for _, key := range keys {
		for i := range h.slots {
			s := &h.slots[i]
			if s.err != nil {
				continue
			}
			found, err := s.unlock(ctx, dev, key)
			if ended := context.Cause(ctx); ended != nil {
				found.Wipe()
				return nil, nil, ended
			}
			if err != nil {
				s.err = err
			} else if found != nil {
				return s, found, nil
			}
		}
	}
	usable := 0
	var unusable []error
	for _, s := range h.slots {
		if s.err == nil {
			usable++
		} else {
			unusable = append(unusable, fmt.Errorf("key slot %s: %w", s.name, s.err))
		}
	}
	if usable == 0 && len(unusable) == 0 {
		return nil, nil, unsupported("it has no key slot in use")
	}
	if usable == 0 {
		return nil, nil, fmt.Errorf("no key slot can be used: %w", errors.Join(unusable...))
	}
	return nil, nil, errors.Join(append([]error{ErrPassphrase}, unusable...)...)
}

// unlock returns the key of the payload, nil if the passphrase is not that of the slot.
func (s *slot) unlock(ctx context.Context, dev mapping.Device, passphrase []byte) (*secret.Bytes, error) {
	area, err := s.kdf.derive(ctx, passphrase, s.material.areaKey)
	if err != nil {
		return nil, err
	}
	defer clear(area)
	key, err := s.material.read(dev, area)
	if err != nil {
		return nil, err
	}
	got, err := s.digest.kdf.derive(ctx, key.Bytes(), len(s.digest.want))
	if err == nil && subtle.ConstantTimeCompare(got, s.digest.want) == 1 {
		return key, nil
	}
	key.Wipe()
	return nil, err
}
