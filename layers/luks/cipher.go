package luks

import (
	"crypto/subtle"
	"encoding/binary"
	"strings"
	"sync"
)

// cipherSpec is what a text like "aes-xts-plain64" says.
type cipherSpec struct {
	newBlocks func(key []byte) (blocks, error)
	xts       bool // else cbc
	iv        func(dst []byte, sector uint64)
	essiv     hashFunc // nil if the IV is not encrypted
	keySize   int      // bytes
	text      string
}

const blockSize = 16

// parseCipher reads cryptsetup's notation CIPHER-MODE-IV[:HASH], for keys of keySize bytes.
func parseCipher(notation string, keySize int) (cipherSpec, error) {
	s := cipherSpec{text: notation, keySize: keySize}
	cipher, rest, _ := strings.Cut(notation, "-")
	mode, iv, _ := strings.Cut(rest, "-")
	iv, option, _ := strings.Cut(iv, ":")
	refused := func() (cipherSpec, error) {
		return s, unsupported("cipher %q with a key of %d bits", notation, keySize*8)
	}
	switch cipher {
	case "aes":
		s.newBlocks = newAES
	case "twofish":
		s.newBlocks = newTwofish
	default:
		return refused()
	}
	switch mode {
	case "xts":
		s.xts = true
		keySize /= 2
	case "cbc":
	default:
		return refused()
	}
	switch iv {
	case "plain":
		s.iv = func(dst []byte, n uint64) { binary.LittleEndian.PutUint64(dst, uint64(uint32(n))) }
	case "plain64":
		s.iv = binary.LittleEndian.PutUint64
	case "plain64be":
		s.iv = func(dst []byte, n uint64) { binary.BigEndian.PutUint64(dst[8:], n) }
	case "essiv":
		s.iv = binary.LittleEndian.PutUint64
		hash, err := hashByName(option)
		if err != nil {
			return refused()
		}
		s.essiv = hash
	default:
		return refused()
	}
	if option != "" && s.essiv == nil || keySize != 16 && keySize != 24 && keySize != 32 || s.xts && s.keySize%2 != 0 {
		return refused()
	}
	return s, nil
}

// open is a cipherSpec with a key, for sectors of so many bytes.
func (s cipherSpec) open(key []byte, sector int64) (m *mode, err error) {
	m = &mode{sector: int(sector), iv: s.iv}
	defer func() {
		if err != nil {
			m.wipe()
		}
	}()
	if s.xts {
		if m.tweak, err = s.newBlocks(key[len(key)/2:]); err != nil {
			return m, err
		}
		key = key[:len(key)/2]
	}
	if s.essiv != nil {
		h := s.essiv()
		h.Write(key)
		sum := h.Sum(nil)
		defer clear(sum)
		if m.essiv, err = s.newBlocks(sum); err != nil {
			return m, unsupported("cipher %q: %w", s.text, err)
		}
	}
	m.data, err = s.newBlocks(key)
	return m, err
}

// blocks is a block cipher that takes many blocks at a time, each alone and in place.
type blocks interface {
	encrypt(p []byte)
	decrypt(p []byte)
	// wipe forgets the key. Nothing else can be called then.
	wipe()
}

// mode encrypts and decrypts sectors. It is safe for concurrent use.
type mode struct {
	sector int
	iv     func(dst []byte, sector uint64)
	essiv  blocks // encrypts the IV; nil if it stays as it is
	tweak  blocks // of xts; nil for cbc
	data   blocks
}

// wipe forgets the keys. The mode is of no use then.
func (m *mode) wipe() {
	for _, b := range []blocks{m.essiv, m.tweak, m.data} {
		if b != nil {
			b.wipe()
		}
	}
}

// runSize is how much is worked on at a time: whole sectors, and little enough for the
// nearest cache.
const runSize = 4096

// scratch is what a run needs beside its own bytes.
type scratch struct {
	ivs  [runSize / sector512 * blockSize]byte
	bulk [runSize]byte
}

var scratches = sync.Pool{New: func() any { return new(scratch) }}

// decrypt decrypts p, which is whole sectors, in place. number is that of the first of
// them, in units of 512 bytes.
func (m *mode) decrypt(p []byte, number uint64) { m.each(p, number, m.decryptRun) }

// encrypt is the inverse of decrypt.
func (m *mode) encrypt(p []byte, number uint64) { m.each(p, number, m.encryptRun) }

func (m *mode) each(p []byte, number uint64, work func(*scratch, []byte)) {
	s := scratches.Get().(*scratch)
	defer scratches.Put(s)
	for len(p) > 0 {
		run := p[:min(len(p), runSize)]
		m.fillIVs(s, len(run)/m.sector, number)
		work(s, run)
		p = p[len(run):]
		number += uint64(len(run) / sector512)
	}
}

// fillIVs makes the IVs of so many sectors; for xts, their first tweaks.
func (m *mode) fillIVs(s *scratch, sectors int, number uint64) {
	ivs := s.ivs[:sectors*blockSize]
	clear(ivs)
	for i := range sectors {
		m.iv(ivs[i*blockSize:][:blockSize], number+uint64(i*(m.sector/sector512)))
	}
	if m.essiv != nil {
		m.essiv.encrypt(ivs)
	}
	if m.tweak != nil {
		m.tweak.encrypt(ivs)
	}
}

func (m *mode) decryptRun(s *scratch, p []byte) {
	if m.tweak != nil {
		m.xtsRun(s, p, m.data.decrypt)
		return
	}
	copy(s.bulk[:], p)
	m.data.decrypt(p)
	for i := 0; i < len(p); i += m.sector {
		subtle.XORBytes(p[i:], p[i:i+blockSize], s.ivs[i/m.sector*blockSize:])
		subtle.XORBytes(p[i+blockSize:], p[i+blockSize:i+m.sector], s.bulk[i:])
	}
}

func (m *mode) encryptRun(s *scratch, p []byte) {
	if m.tweak != nil {
		m.xtsRun(s, p, m.data.encrypt)
		return
	}
	for i := 0; i < len(p); i += m.sector {
		previous := s.ivs[i/m.sector*blockSize:][:blockSize]
		for j := i; j < i+m.sector; j += blockSize {
			block := p[j : j+blockSize]
			subtle.XORBytes(block, block, previous)
			m.data.encrypt(block)
			previous = block
		}
	}
}

// xtsRun works on all blocks of a run at once, between two additions of the tweaks.
func (m *mode) xtsRun(s *scratch, p []byte, work func([]byte)) {
	tweaks := s.bulk[:len(p)]
	for i := 0; i < len(p); i += m.sector {
		fillTweaks(tweaks[i:i+m.sector], s.ivs[i/m.sector*blockSize:])
	}
	subtle.XORBytes(p, p, tweaks)
	work(p)
	subtle.XORBytes(p, p, tweaks)
}

// fillTweaks gives each block of a sector its tweak: the one before it, multiplied by x in
// GF(2^128) (IEEE 1619).
func fillTweaks(tweaks, first []byte) {
	low, high := binary.LittleEndian.Uint64(first), binary.LittleEndian.Uint64(first[8:])
	for len(tweaks) >= blockSize {
		binary.LittleEndian.PutUint64(tweaks, low)
		binary.LittleEndian.PutUint64(tweaks[8:], high)
		carry := uint64(int64(high)>>63) & 0x87
		low, high = low<<1^carry, high<<1|low>>63
		tweaks = tweaks[blockSize:]
	}
}
