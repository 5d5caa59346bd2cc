package luks

import (
	"crypto/aes"
	"crypto/cipher"

	"golang.org/x/crypto/twofish" //nolint:staticcheck // deprecated for new uses; this reads old ones
)

func newAES(key []byte) (blocks, error) {
	b, err := aes.NewCipher(key)
	return single{b}, err
}

func newTwofish(key []byte) (blocks, error) {
	b, err := twofish.NewCipher(key)
	return single{b}, err
}

// single takes blocks one by one.
type single struct{ cipher.Block }

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
