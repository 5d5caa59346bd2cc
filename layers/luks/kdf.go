package luks

import (
	"context"
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // what LUKS1 was made with for years
	"crypto/sha256"
	"crypto/sha3"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/binary"
	"hash"
	"runtime/debug"

	xargon2 "golang.org/x/crypto/argon2"
	"golang.org/x/crypto/ripemd160" //nolint:staticcheck // deprecated for new uses; this reads old ones

	"lvm2fs/internal/secret"
)

type hashFunc func() hash.Hash

var hashes = map[string]hashFunc{
	"sha1":      sha1.New,
	"sha224":    sha256.New224,
	"sha256":    sha256.New,
	"sha384":    sha512.New384,
	"sha512":    sha512.New,
	"sha3-224":  func() hash.Hash { return sha3.New224() },
	"sha3-256":  func() hash.Hash { return sha3.New256() },
	"sha3-384":  func() hash.Hash { return sha3.New384() },
	"sha3-512":  func() hash.Hash { return sha3.New512() },
	"ripemd160": ripemd160.New,
}

func hashByName(name string) (hashFunc, error) {
	if h, ok := hashes[name]; ok {
		return h, nil
	}
	return nil, unsupported("hash %q", name)
}

// kdf derives a key from a passphrase, at a cost that its header chose.
type kdf interface {
	// check fails if the cost is beyond all that is in use.
	check() error
	// derive returns n bytes, or the error of ctx.
	derive(ctx context.Context, passphrase []byte, n int) ([]byte, error)
}

// Bounds on cost. cryptsetup takes two seconds, or what --iter-time says, on the machine
// that makes the container. These let through some minutes on one core.
const (
	maxIterations   = 1 << 30
	maxArgon2Memory = 4 << 20 // KiB, which is the format's own limit
	maxArgon2Work   = 1 << 29 // KiB written
	maxArgon2CPUs   = 255
)

type pbkdf2 struct {
	hash       hashFunc
	salt       []byte
	iterations int64
}

func (k pbkdf2) check() error {
	if k.iterations < 1 || k.iterations > maxIterations {
		return unsupported("pbkdf2 with %d iterations", k.iterations)
	}
	return nil
}

// derive is PBKDF2 (RFC 8018, section 5.2). The library's function is not used, because it takes the passphrase as a
// string and leaves copies of it behind.
func (k pbkdf2) derive(ctx context.Context, passphrase []byte, n int) ([]byte, error) {
	prf := hmac.New(k.hash, passphrase)
	u, sum := make([]byte, 0, prf.Size()), make([]byte, prf.Size())
	defer clear(u[:cap(u)])
	defer clear(sum)
	key := make([]byte, n)
	for i, at := uint32(1), 0; at < n; i, at = i+1, at+len(sum) {
		prf.Reset()
		prf.Write(k.salt)
		prf.Write(binary.BigEndian.AppendUint32(nil, i))
		u = prf.Sum(u[:0])
		copy(sum, u)
		for done := range k.iterations - 1 {
			if done%uninterrupted == 0 && ctx.Err() != nil {
				clear(key)
				return nil, context.Cause(ctx)
			}
			prf.Reset()
			prf.Write(u)
			u = prf.Sum(u[:0])
			subtle.XORBytes(sum, sum, u)
		}
		copy(key[at:], sum)
	}
	return key, nil
}

// uninterrupted is the number of iterations after which it is looked whether anybody still waits.
const uninterrupted = 1 << 12

type argon2 struct {
	id     bool
	salt   []byte
	time   int64 // passes
	memory int64 // KiB
	cpus   int64
}

func (k argon2) check() error {
	switch {
	case k.time < 1 || k.memory < 1 || k.cpus < 1:
		return damaged("argon2 with %d passes over %d KiB on %d CPUs", k.time, k.memory, k.cpus)
	case k.memory > maxArgon2Memory || k.cpus > maxArgon2CPUs || k.time > maxArgon2Work/k.memory:
		return unsupported("argon2 with %d passes over %d KiB on %d CPUs", k.time, k.memory, k.cpus)
	}
	// Whoever wrote the header chose how much memory it takes.
	if most := machineMemory() / 4 * 3; most > 0 && k.memory > most>>10 {
		return unsupported("argon2 over %d MiB of memory, and %d MiB, three quarters of what this machine has, are the most that is taken", k.memory>>10, most>>20)
	}
	return nil
}

// derive returns when ctx is done, and leaves the derivation to end by itself: the library cannot be stopped.
func (k argon2) derive(ctx context.Context, passphrase []byte, n int) ([]byte, error) {
	own, err := secret.New(len(passphrase))
	if err != nil {
		return nil, err
	}
	copy(own.Bytes(), passphrase)
	done := make(chan []byte)
	go func() {
		key := k.compute(own.Bytes(), n)
		own.Wipe()
		select {
		case done <- key:
		case <-ctx.Done():
			clear(key)
		}
	}()
	select {
	case key := <-done:
		return key, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func (k argon2) compute(passphrase []byte, n int) []byte {
	// A gibibyte is common, so it goes back to the system at once.
	defer debug.FreeOSMemory()
	derive := xargon2.Key
	if k.id {
		derive = xargon2.IDKey
	}
	return derive(passphrase, k.salt, uint32(k.time), uint32(k.memory), uint8(k.cpus), uint32(n))
}
