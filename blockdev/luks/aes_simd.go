//go:build goexperiment.simd && amd64

package luks

import (
	"encoding/binary"
	"math/bits"
	"simd/archsimd"
	"unsafe"

	"lvm2fs/internal/secret"
)

// AES by the processor's instructions, as FIPS 197 has it. One block takes as long as the
// latencies of its rounds; eight that do not depend on each other take hardly longer.

func init() {
	if archsimd.X86.AVXAES() {
		fastAES = newVectorAES
	}
}

// schedule is the expanded key.
type schedule struct {
	rounds  int
	encrypt [15][blockSize]byte
	decrypt [15][blockSize]byte
}

type vectorAES struct {
	*schedule
	memory *secret.Bytes
}

const eight = 8 * blockSize

// newVectorAES takes a key of 16, 24 or 32 bytes.
func newVectorAES(key []byte) (blocks, error) {
	memory, err := secret.New(int(unsafe.Sizeof(schedule{})))
	if err != nil {
		return nil, err
	}
	// The memory is whole pages, so that it is aligned.
	s := (*schedule)(unsafe.Pointer(unsafe.SliceData(memory.Bytes())))
	s.expand(key)
	return vectorAES{s, memory}, nil
}

func (v vectorAES) wipe() { v.memory.Wipe() }

// expand fills the schedule.
func (s *schedule) expand(key []byte) {
	words := len(key) / 4
	s.rounds = words + 6
	word := func(i int) []byte { return s.encrypt[i/4][i%4*4:] }
	copied := 0
	for ; copied < words; copied++ {
		copy(word(copied)[:4], key[copied*4:])
	}
	constant := uint32(1)
	for i := copied; i < 4*(s.rounds+1); i++ {
		w := binary.LittleEndian.Uint32(word(i - 1))
		switch {
		case i%words == 0:
			w = bits.RotateLeft32(substitute(w), -8) ^ constant
			constant = constant<<1 ^ constant>>7*0x11b
		case words > 6 && i%words == 4:
			w = substitute(w)
		}
		binary.LittleEndian.PutUint32(word(i), w^binary.LittleEndian.Uint32(word(i-words)))
	}
	// The equivalent inverse cipher.
	s.decrypt[0], s.decrypt[s.rounds] = s.encrypt[s.rounds], s.encrypt[0]
	for i := 1; i < s.rounds; i++ {
		k := archsimd.LoadUint8x16(&s.encrypt[s.rounds-i]).AsUint32x4()
		k.AESInvMixColumns().AsUint8x16().Store(&s.decrypt[i])
	}
}

// substitute is the S-box, on each byte of w. A last round does it, with the rows shifted,
// which changes nothing where all columns are equal.
func substitute(w uint32) uint32 {
	columns := archsimd.BroadcastUint32x4(w).AsUint8x16()
	return columns.AESEncryptLastRound(archsimd.BroadcastUint32x4(0)).AsUint32x4().GetElem(0)
}

func (v vectorAES) encrypt(p []byte) {
	for ; len(p) >= eight; p = p[eight:] {
		v.encryptEight((*[8][blockSize]byte)(unsafe.Pointer(unsafe.SliceData(p))))
	}
	for ; len(p) >= blockSize; p = p[blockSize:] {
		v.encryptOne((*[blockSize]byte)(p))
	}
}

func (v vectorAES) decrypt(p []byte) {
	for ; len(p) >= eight; p = p[eight:] {
		v.decryptEight((*[8][blockSize]byte)(unsafe.Pointer(unsafe.SliceData(p))))
	}
	for ; len(p) >= blockSize; p = p[blockSize:] {
		v.decryptOne((*[blockSize]byte)(p))
	}
}

func (s *schedule) encryptOne(p *[blockSize]byte) {
	x := archsimd.LoadUint8x16(p).Xor(archsimd.LoadUint8x16(&s.encrypt[0]))
	for i := 1; i < s.rounds; i++ {
		x = x.AESEncryptOneRound(archsimd.LoadUint8x16(&s.encrypt[i]).AsUint32x4())
	}
	x.AESEncryptLastRound(archsimd.LoadUint8x16(&s.encrypt[s.rounds]).AsUint32x4()).Store(p)
}

func (s *schedule) decryptOne(p *[blockSize]byte) {
	x := archsimd.LoadUint8x16(p).Xor(archsimd.LoadUint8x16(&s.decrypt[0]))
	for i := 1; i < s.rounds; i++ {
		x = x.AESDecryptOneRound(archsimd.LoadUint8x16(&s.decrypt[i]).AsUint32x4())
	}
	x.AESDecryptLastRound(archsimd.LoadUint8x16(&s.decrypt[s.rounds]).AsUint32x4()).Store(p)
}

func (s *schedule) encryptEight(p *[8][blockSize]byte) {
	k := archsimd.LoadUint8x16(&s.encrypt[0])
	a, b := archsimd.LoadUint8x16(&p[0]).Xor(k), archsimd.LoadUint8x16(&p[1]).Xor(k)
	c, d := archsimd.LoadUint8x16(&p[2]).Xor(k), archsimd.LoadUint8x16(&p[3]).Xor(k)
	e, f := archsimd.LoadUint8x16(&p[4]).Xor(k), archsimd.LoadUint8x16(&p[5]).Xor(k)
	g, h := archsimd.LoadUint8x16(&p[6]).Xor(k), archsimd.LoadUint8x16(&p[7]).Xor(k)
	for i := 1; i < s.rounds; i++ {
		k := archsimd.LoadUint8x16(&s.encrypt[i]).AsUint32x4()
		a, b, c, d = a.AESEncryptOneRound(k), b.AESEncryptOneRound(k), c.AESEncryptOneRound(k), d.AESEncryptOneRound(k)
		e, f, g, h = e.AESEncryptOneRound(k), f.AESEncryptOneRound(k), g.AESEncryptOneRound(k), h.AESEncryptOneRound(k)
	}
	last := archsimd.LoadUint8x16(&s.encrypt[s.rounds]).AsUint32x4()
	a.AESEncryptLastRound(last).Store(&p[0])
	b.AESEncryptLastRound(last).Store(&p[1])
	c.AESEncryptLastRound(last).Store(&p[2])
	d.AESEncryptLastRound(last).Store(&p[3])
	e.AESEncryptLastRound(last).Store(&p[4])
	f.AESEncryptLastRound(last).Store(&p[5])
	g.AESEncryptLastRound(last).Store(&p[6])
	h.AESEncryptLastRound(last).Store(&p[7])
}

func (s *schedule) decryptEight(p *[8][blockSize]byte) {
	k := archsimd.LoadUint8x16(&s.decrypt[0])
	a, b := archsimd.LoadUint8x16(&p[0]).Xor(k), archsimd.LoadUint8x16(&p[1]).Xor(k)
	c, d := archsimd.LoadUint8x16(&p[2]).Xor(k), archsimd.LoadUint8x16(&p[3]).Xor(k)
	e, f := archsimd.LoadUint8x16(&p[4]).Xor(k), archsimd.LoadUint8x16(&p[5]).Xor(k)
	g, h := archsimd.LoadUint8x16(&p[6]).Xor(k), archsimd.LoadUint8x16(&p[7]).Xor(k)
	for i := 1; i < s.rounds; i++ {
		k := archsimd.LoadUint8x16(&s.decrypt[i]).AsUint32x4()
		a, b, c, d = a.AESDecryptOneRound(k), b.AESDecryptOneRound(k), c.AESDecryptOneRound(k), d.AESDecryptOneRound(k)
		e, f, g, h = e.AESDecryptOneRound(k), f.AESDecryptOneRound(k), g.AESDecryptOneRound(k), h.AESDecryptOneRound(k)
	}
	last := archsimd.LoadUint8x16(&s.decrypt[s.rounds]).AsUint32x4()
	a.AESDecryptLastRound(last).Store(&p[0])
	b.AESDecryptLastRound(last).Store(&p[1])
	c.AESDecryptLastRound(last).Store(&p[2])
	d.AESDecryptLastRound(last).Store(&p[3])
	e.AESDecryptLastRound(last).Store(&p[4])
	f.AESDecryptLastRound(last).Store(&p[5])
	g.AESDecryptLastRound(last).Store(&p[6])
	h.AESDecryptLastRound(last).Store(&p[7])
}
