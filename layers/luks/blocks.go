package luks

import (
	"crypto/aes"
	"crypto/cipher"

	"golang.org/x/crypto/twofish" //nolint:staticcheck // deprecated for new uses; this reads old ones

	"lvm2fs/internal/secret"
)

func newAES(key []byte) (blocks, error) {
	b, err := aes.NewCipher(key)
	return newSingle(b, err)
}

func newTwofish(key []byte) (blocks, error) {
	b, err := twofish.NewCipher(key)
	return newSingle(b, err)
}

// single takes blocks one by one.
type single struct {
	cipher.Block
	state *secret.Bytes // in which the library keeps its expanded key; nil if it has it elsewhere
}

func newSingle(b cipher.Block, err error) (blocks, error) {
	if err != nil {
		return nil, err
	}
	b, state, err := secret.MoveValue(b)
	return single{b, state}, err
}

func (s single) wipe() { s.state.Wipe() }

func (s single) encrypt(p []byte) {
	for i := 0; i < len(p); i += blockSize {
		s.Encrypt(p[i:i+blockSize], p[i:i+blockSize])
	}
}

func (s single) decrypt(p []byte) {
	for i := 0; i < len(p); i += blockSize {
		s.Decrypt(p[i:i+blockSize], p[i:i+blockSize])
	}
}
