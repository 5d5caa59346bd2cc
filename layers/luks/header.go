package luks

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"lvm2fs/mapping"
)

// header is what both versions of LUKS say of a container. All of it is checked against
// bounds, but not against the size of the device with the payload.
type header struct {
	version int
	size    int64 // bytes from the start of the device that may be the header's
	uuid    string
	label   string
	payload payload
	slots   []slot // in the order in which they are to be tried
}

// payload is where the encrypted bytes are, and how they are encrypted.
type payload struct {
	offset  int64 // bytes from the start of the device
	size    int64 // bytes; 0: to the end of the device
	cipher  cipherSpec
	sector  int64  // bytes
	firstIV uint64 // the number of the first sector, in units of 512 bytes
}

// slot is a key slot: a way from a passphrase to the key of the payload.
type slot struct {
	name     string
	kdf      kdf
	material material
	digest   digest
	ignored  bool  // unless it is asked for by its name
	err      error // why it cannot be used
}

// material is the key of the payload, spread over many stripes and encrypted.
type material struct {
	offset  int64 // bytes from the start of the device with the header
	cipher  cipherSpec
	stripes int
	hash    hashFunc // of the anti-forensic split
	keySize int      // bytes, of the key that is spread
	areaKey int      // bytes, of the key that encrypts the stripes
}

// digest tells whether a key is the right one.
type digest struct {
	kdf  pbkdf2
	want []byte
}

// Bounds on what a header may ask for.
const (
	maxKeySize  = 512 // bytes
	maxMaterial = 64 << 20
	maxSlots    = 32
	sector512   = 512
)

const (
	primaryMagic   = "LUKS\xba\xbe"
	secondaryMagic = "SKUL\xba\xbe"
)

// readHeader finds the header of dev and decodes it.
func readHeader(dev mapping.Device) (*header, error) {
	start := make([]byte, 8)
	if err := read(dev, start, 0); err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) {
			return nil, ErrNoHeader
		}
		return nil, err
	}
	if string(start[:6]) == primaryMagic && start[6] == 0 && start[7] == 1 {
		return readLUKS1(dev)
	}
	h, err := readLUKS2(dev)
	if errors.Is(err, ErrNoHeader) && string(start[:6]) == primaryMagic {
		return nil, fmt.Errorf("LUKS version %d: %w", int(start[6])<<8|int(start[7]), ErrUnsupported)
	}
	return h, err
}

// read reads len(p) bytes at off; io.ErrUnexpectedEOF: dev has not that many.
func read(dev mapping.Device, p []byte, off int64) error {
	if off < 0 || off > dev.Size()-int64(len(p)) {
		return fmt.Errorf("%d bytes at byte %d: %w", len(p), off, io.ErrUnexpectedEOF)
	}
	if _, err := mapping.ReadFull(dev, p, off); err != nil {
		return fmt.Errorf("reading %d bytes at byte %d: %w", len(p), off, err)
	}
	return nil
}

// text is a field that is padded with zero bytes.
func text(field []byte) string {
	s, _, _ := strings.Cut(string(field), "\x00")
	return s
}

func damaged(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrHeader, fmt.Errorf(format, args...))
}

func unsupported(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrUnsupported, fmt.Errorf(format, args...))
}

// check fails if the material cannot be that of a key slot.
func (m *material) check() error {
	switch {
	case m.keySize < 1 || m.keySize > maxKeySize || m.areaKey < 1 || m.areaKey > maxKeySize:
		return damaged("keys of %d and %d bytes", m.keySize, m.areaKey)
	case m.stripes < 1 || int64(m.stripes)*int64(m.keySize) > maxMaterial:
		return damaged("%d stripes of a key of %d bytes", m.stripes, m.keySize)
	}
	return nil
}
