package luks

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"lvm2fs/mapping"
)

// Offsets of LUKS2's binary header, whose integers are big-endian. JSON text follows at
// luks2Binary (docs/format/04-below-lvm.md, section 5).
const (
	luks2Version   = 6   // u16
	luks2Size      = 8   // u64, bytes, of the binary header and the text
	luks2Sequence  = 16  // u64
	luks2Label     = 24  // 48
	luks2SumName   = 72  // 32
	luks2UUID      = 168 // 40
	luks2Place     = 256 // u64, bytes
	luks2Checksum  = 448 // 64
	luks2SumLength = 64
	luks2Binary    = 4096

	luks2MinSize = 16 << 10
	luks2MaxSize = 4 << 20
)

// luks2Copy is one of the two copies of a header.
type luks2Copy struct {
	size     int64 // bytes
	sequence uint64
	label    string
	uuid     string
	text     []byte
}

// readLUKS2 reads the newer of the two copies whose checksum is right.
func readLUKS2(dev mapping.Device) (*header, error) {
	first, firstErr := readLUKS2Copy(dev, 0)
	best := first
	var failures []error
	if firstErr != nil {
		failures = append(failures, firstErr)
	}
	for place := int64(luks2MinSize); place <= luks2MaxSize; place *= 2 {
		// A good first copy tells where the second one is.
		if first != nil && place != first.size {
			continue
		}
		second, err := readLUKS2Copy(dev, place)
		switch {
		case err != nil:
			failures = append(failures, err)
		case second != nil && (best == nil || second.sequence > best.sequence):
			best = second
		}
	}
	if best != nil {
		return decodeLUKS2(best)
	}
	if len(failures) > 0 {
		return nil, errors.Join(failures...)
	}
	return nil, ErrNoHeader
}

// readLUKS2Copy returns the copy at place; nil, if there is none.
func readLUKS2Copy(dev mapping.Device, place int64) (*luks2Copy, error) {
	b := make([]byte, luks2Binary)
	if err := read(dev, b, place); err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) {
			return nil, nil
		}
		return nil, err
	}
	magic := secondaryMagic
	if place == 0 {
		magic = primaryMagic
	}
	if string(b[:6]) != magic || binary.BigEndian.Uint16(b[luks2Version:]) != 2 {
		return nil, nil
	}
	size := binary.BigEndian.Uint64(b[luks2Size:])
	if size < luks2MinSize || size > luks2MaxSize || size&(size-1) != 0 || place != 0 && uint64(place) != size {
		return nil, damaged("header of %d bytes at byte %d", size, place)
	}
	whole := make([]byte, size)
	if err := read(dev, whole, place); err != nil {
		return nil, err
	}
	return checkLUKS2(whole, place)
}

// checkLUKS2 verifies the checksum of a copy that lies at place.
func checkLUKS2(b []byte, place int64) (*luks2Copy, error) {
	hash, err := hashByName(text(b[luks2SumName:][:32]))
	if err != nil {
		return nil, fmt.Errorf("checksum of the header at byte %d: %w", place, err)
	}
	sum := hash()
	sum.Write(b[:luks2Checksum])
	sum.Write(make([]byte, luks2SumLength))
	sum.Write(b[luks2Checksum+luks2SumLength:])
	want := b[luks2Checksum:][:luks2SumLength]
	if got := sum.Sum(nil); len(got) > len(want) || !bytes.Equal(got, want[:len(got)]) {
		return nil, damaged("the checksum of the header at byte %d is wrong", place)
	}
	if at := binary.BigEndian.Uint64(b[luks2Place:]); at != uint64(place) {
		return nil, damaged("the header at byte %d says that it is at byte %d", place, at)
	}
	json, _, _ := bytes.Cut(b[luks2Binary:], []byte{0})
	return &luks2Copy{
		size:     int64(len(b)),
		sequence: binary.BigEndian.Uint64(b[luks2Sequence:]),
		label:    text(b[luks2Label:][:48]),
		uuid:     text(b[luks2UUID:][:40]),
		text:     json,
	}, nil
}
