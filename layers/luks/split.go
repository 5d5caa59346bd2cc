package luks

import (
	"crypto/subtle"
	"encoding/binary"

	"lvm2fs/internal/secret"
	"lvm2fs/mapping"
)

// size is the length of the key material on the device, in bytes.
func (m *material) size() int64 { return int64(m.stripes) * int64(m.keySize) }

// read decrypts the material with key and merges its stripes to the key of the payload.
func (m *material) read(dev mapping.Device, key []byte) (*secret.Bytes, error) {
	padded := (m.size() + sector512 - 1) / sector512 * sector512
	stripes, err := secret.New(int(padded))
	if err != nil {
		return nil, err
	}
	defer stripes.Wipe()
	if err := read(dev, stripes.Bytes(), m.offset); err != nil {
		return nil, err
	}
	mode, err := m.cipher.open(key, sector512)
	if err != nil {
		return nil, err
	}
	defer mode.wipe()
	mode.decrypt(stripes.Bytes(), 0)
	return merge(stripes.Bytes()[:m.size()], m.keySize, m.hash)
}

// merge undoes the anti-forensic split. Every stripe but the last is added to what came
// before, and a hash diffuses the sum. So the key is lost if any stripe is.
func merge(stripes []byte, keySize int, hash hashFunc) (*secret.Bytes, error) {
	sum, err := secret.New(keySize)
	if err != nil {
		return nil, err
	}
	key := sum.Bytes()
	h := hash()
	for ; len(stripes) > keySize; stripes = stripes[keySize:] {
		subtle.XORBytes(key, key, stripes[:keySize])
		for i, at := uint32(0), 0; at < keySize; i, at = i+1, at+h.Size() {
			part := key[at:min(at+h.Size(), keySize)]
			h.Reset()
			h.Write(binary.BigEndian.AppendUint32(nil, i))
			h.Write(part)
			copy(part, h.Sum(nil))
		}
	}
	subtle.XORBytes(key, key, stripes)
	return sum, nil
}
