package luks

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	"golang.org/x/crypto/twofish" //nolint:staticcheck // deprecated for new uses; this reads old ones
	"golang.org/x/crypto/xts"
	"golang.org/x/sys/unix"
)

func twofishBlock(key []byte) (cipher.Block, error) { return twofish.NewCipher(key) }

func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*i + i>>9)
	}
	return b
}

func TestModesAgreeWithOtherImplementations(t *testing.T) {
	ciphers := map[string]func([]byte) (cipher.Block, error){"aes": aes.NewCipher, "twofish": twofishBlock}
	le := func(n uint64) []byte { return binary.LittleEndian.AppendUint64(nil, n) }
	ivs := map[string]func(n uint64, key []byte, newBlock func([]byte) (cipher.Block, error)) []byte{
		"plain": func(n uint64, _ []byte, _ func([]byte) (cipher.Block, error)) []byte {
			return append(le(n&0xffffffff), make([]byte, 8)...)
		},
		"plain64": func(n uint64, _ []byte, _ func([]byte) (cipher.Block, error)) []byte {
			return append(le(n), make([]byte, 8)...)
		},
		"plain64be": func(n uint64, _ []byte, _ func([]byte) (cipher.Block, error)) []byte {
			return binary.BigEndian.AppendUint64(make([]byte, 8), n)
		},
		"essiv:sha256": func(n uint64, key []byte, newBlock func([]byte) (cipher.Block, error)) []byte {
			sum := sha256.Sum256(key)
			b, err := newBlock(sum[:])
			if err != nil {
				t.Fatal(err)
			}
			iv := append(le(n), make([]byte, 8)...)
			b.Encrypt(iv, iv)
			return iv
		},
	}
	const first = 1<<32 - 3 // so that plain and plain64 differ
	for name, newBlock := range ciphers {
		for ivName, iv := range ivs {
			for _, keySize := range []int{16, 24, 32} {
				for _, sector := range []int64{512, 1024, 4096} {
					what := fmt.Sprintf("%s-cbc-%s, key %d, sector %d", name, ivName, keySize, sector)
					want := pattern(5 * 4096)
					block, err := newBlock(key[:keySize])
					if err != nil {
						t.Fatal(err)
					}
					for i := 0; i < len(want); i += int(sector) {
						n := first + uint64(i/512)
						cipher.NewCBCEncrypter(block, iv(n, key[:keySize], newBlock)).CryptBlocks(want[i:i+int(sector)], want[i:i+int(sector)])
					}
					checkMode(t, what, name+"-cbc-"+ivName, key[:keySize], sector, first, want)
				}
			}
		}
		for _, keySize := range []int{32, 64} {
			for _, sector := range []int64{512, 2048, 4096} {
				what := fmt.Sprintf("%s-xts-plain64, key %d, sector %d", name, keySize, sector)
				want := pattern(5 * 4096)
				x, err := xts.NewCipher(newBlock, key[:keySize])
				if err != nil {
					t.Fatal(err)
				}
				for i := 0; i < len(want); i += int(sector) {
					x.Encrypt(want[i:i+int(sector)], want[i:i+int(sector)], first+uint64(i/512))
				}
				checkMode(t, what, name+"-xts-plain64", key[:keySize], sector, first, want)
			}
		}
	}
}

func checkMode(t *testing.T, what, notation string, key []byte, sector int64, first uint64, want []byte) {
	t.Helper()
	spec, err := parseCipher(notation, len(key))
	if err != nil {
		t.Fatal(err)
	}
	m, err := spec.open(key, sector)
	if err != nil {
		t.Fatal(err)
	}
	got := pattern(len(want))
	m.encrypt(got, first)
	if !bytes.Equal(got, want) {
		t.Errorf("%s: encrypted differently", what)
	}
	m.decrypt(got, first)
	if !bytes.Equal(got, pattern(len(want))) {
		t.Errorf("%s: not decrypted to what was encrypted", what)
	}
}

func TestCiphersThatAreNotKnownAreRefused(t *testing.T) {
	for _, c := range []struct {
		notation string
		keySize  int
	}{
		{"serpent-xts-plain64", 64},
		{"aes-xts-plain64", 63},
		{"aes-xts-plain64", 20},
		{"aes-xts-plain64", 0},
		{"aes-cbc-plain64", 20},
		{"aes-xts-random", 64},
		{"aes-xts-plain64:sha256", 64},
		{"aes-cbc-essiv", 32},
		{"aes-cbc-essiv:md4", 32},
		{"aes-lrw-benbi", 48},
		{"aes-ecb", 32},
		{"aes", 32},
		{"cipher_null-ecb", 16},
		{"capi:xts(aes)-plain64", 64},
		{"", 32},
	} {
		if _, err := parseCipher(c.notation, c.keySize); err == nil {
			t.Errorf("%s with %d bytes is taken", c.notation, c.keySize)
		}
	}
}

func BenchmarkDecrypt(b *testing.B) {
	for _, c := range []struct {
		notation string
		keySize  int
		sector   int64
	}{{"aes-xts-plain64", 64, 512}, {"aes-xts-plain64", 64, 4096}, {"aes-xts-plain64", 32, 512}, {"aes-cbc-essiv:sha256", 32, 512}, {"twofish-xts-plain64", 64, 512}} {
		b.Run(fmt.Sprintf("%s-%d-sector-%d", c.notation, c.keySize*8, c.sector), func(b *testing.B) {
			spec, err := parseCipher(c.notation, c.keySize)
			if err != nil {
				b.Fatal(err)
			}
			m, err := spec.open(key[:c.keySize], c.sector)
			if err != nil {
				b.Fatal(err)
			}
			p := make([]byte, 128<<10)
			b.SetBytes(int64(len(p)))
			begun := processorTime(b)
			for b.Loop() {
				m.decrypt(p, 0)
			}
			reportPerCore(b, int64(len(p)), processorTime(b)-begun)
		})
	}
}

// processorTime is what this process has had, which counts on a machine that others use too.
func processorTime(b *testing.B) time.Duration {
	var used unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &used); err != nil {
		b.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

func reportPerCore(b *testing.B, each int64, d time.Duration) {
	b.ReportMetric(float64(each)*float64(b.N)/1e6/d.Seconds(), "MB/s/core")
}
