package luks

import (
	"encoding/binary"
	"fmt"

	"lvm2fs/mapping"
)

// Offsets of LUKS1's header, whose integers are big-endian (docs/format/04-below-lvm.md,
// section 5).
const (
	luks1CipherName    = 8   // 32
	luks1CipherMode    = 40  // 32
	luks1Hash          = 72  // 32
	luks1PayloadOffset = 104 // u32, sectors
	luks1KeyBytes      = 108 // u32
	luks1Digest        = 112 // 20
	luks1DigestSalt    = 132 // 32
	luks1DigestCount   = 164 // u32
	luks1UUID          = 168 // 40
	luks1Slots         = 208
	luks1SlotSize      = 48
	luks1SlotCount     = 8
	luks1HeaderSize    = luks1Slots + luks1SlotCount*luks1SlotSize

	// of a key slot
	luks1SlotActive   = 0  // u32
	luks1SlotCountOff = 4  // u32
	luks1SlotSalt     = 8  // 32
	luks1SlotMaterial = 40 // u32, sectors
	luks1SlotStripes  = 44 // u32

	luks1Enabled  = 0x00ac71f3
	luks1Disabled = 0x0000dead
)

func readLUKS1(dev mapping.Device) (*header, error) {
	b := make([]byte, luks1HeaderSize)
	if err := read(dev, b, 0); err != nil {
		return nil, err
	}
	return decodeLUKS1(b)
}

// decodeLUKS1 decodes luks1HeaderSize bytes.
func decodeLUKS1(b []byte) (*header, error) {
	u32 := func(off int) int64 { return int64(binary.BigEndian.Uint32(b[off:])) }
	keySize := u32(luks1KeyBytes)
	if keySize < 1 || keySize > maxKeySize {
		return nil, damaged("a key of %d bytes", keySize)
	}
	spec, err := parseCipher(text(b[luks1CipherName:][:32])+"-"+text(b[luks1CipherMode:][:32]), int(keySize))
	if err != nil {
		return nil, err
	}
	hash, err := hashByName(text(b[luks1Hash:][:32]))
	if err != nil {
		return nil, err
	}
	h := &header{
		version: 1,
		size:    luks1HeaderSize,
		uuid:    text(b[luks1UUID:][:40]),
		payload: payload{offset: u32(luks1PayloadOffset) * sector512, cipher: spec, sector: sector512},
	}
	d := digest{
		kdf:  pbkdf2{hash, b[luks1DigestSalt:][:32], u32(luks1DigestCount)},
		want: b[luks1Digest:][:20],
	}
	if err := d.kdf.check(); err != nil {
		return nil, fmt.Errorf("key digest: %w", err)
	}
	for i := range luks1SlotCount {
		s := b[luks1Slots+i*luks1SlotSize:][:luks1SlotSize]
		field := func(off int) int64 { return int64(binary.BigEndian.Uint32(s[off:])) }
		if field(luks1SlotActive) == luks1Disabled {
			continue
		}
		found := slot{
			name:   fmt.Sprint(i),
			kdf:    pbkdf2{hash, s[luks1SlotSalt:][:32], field(luks1SlotCountOff)},
			digest: d,
			material: material{
				offset:  field(luks1SlotMaterial) * sector512,
				cipher:  spec,
				stripes: int(field(luks1SlotStripes)),
				hash:    hash,
				keySize: int(keySize),
				areaKey: int(keySize),
			},
		}
		if field(luks1SlotActive) != luks1Enabled {
			found.err = damaged("neither enabled nor disabled")
		} else if found.err = found.kdf.check(); found.err == nil {
			found.err = found.material.check()
		}
		h.slots = append(h.slots, found)
	}
	return h, nil
}
