package luks

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"testing"
	"time"

	xpbkdf2 "golang.org/x/crypto/pbkdf2"
)

func TestPBKDF2DerivesWhatTheLibraryDerives(t *testing.T) {
	for name, h := range hashes {
		for _, n := range []int{1, 16, 20, 32, 64, 100, 512} {
			for _, passphrase := range []string{"", "banana", string(pattern(300))} {
				k := pbkdf2{h, []byte("salt of some length"), int64(1 + n%7)}
				if got, want := derived(k, []byte(passphrase), n), xpbkdf2.Key([]byte(passphrase), k.salt, int(k.iterations), n, h); !bytes.Equal(got, want) {
					t.Errorf("%s, %d bytes of %q: %x, not %x", name, n, passphrase, got, want)
				}
			}
		}
	}
}

func BenchmarkPBKDF2(b *testing.B) {
	for _, name := range []string{"sha1", "sha256", "sha512", "ripemd160"} {
		k := pbkdf2{hashes[name], []byte("salt"), 10_000}
		b.Run(fmt.Sprint("ours/", name), func(b *testing.B) {
			for b.Loop() {
				derived(k, []byte("banana"), 64)
			}
		})
		b.Run(fmt.Sprint("library/", name), func(b *testing.B) {
			for b.Loop() {
				xpbkdf2.Key([]byte("banana"), k.salt, int(k.iterations), 64, k.hash)
			}
		})
	}
}

// A derivation may take hours. It ends with its context; one that cannot be stopped is left behind.
func TestADerivationEndsWithItsContext(t *testing.T) {
	for _, k := range []kdf{
		pbkdf2{hash: sha256.New, salt: []byte("salt"), iterations: maxIterations},
		argon2{salt: []byte("salt of 16 bytes"), time: 8, memory: 64 << 10, cpus: 1},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Millisecond, cancel)
		if key, err := k.derive(ctx, []byte("banana"), 64); !errors.Is(err, context.Canceled) || key != nil {
			t.Errorf("%T: %x, %v", k, key, err)
		}
	}
}
