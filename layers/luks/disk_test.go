package luks

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"

	"lvm2fs/mapping"
)

// disk is a device in memory, with sectors that fail.
type disk struct {
	mu     sync.Mutex
	data   []byte
	claims int
	bad    func(off int64) bool // asked of each byte; nil for none
	// between is called in the middle of each write, if set.
	between func()
}

var (
	errBad               = errors.New("bad sector")
	errNoClaim           = errors.New("not claimed")
	_                    = mapping.WritableDevice((*disk)(nil))
	_          Container = (*writable)(nil)
)

func (d *disk) Name() string { return "disk" }
func (d *disk) Size() int64  { return int64(len(d.data)) }

// good is how many of n bytes come before the first bad one.
func (d *disk) good(n int, off int64) int {
	for i := 0; d.bad != nil && i < n; i++ {
		if d.bad(off + int64(i)) {
			return i
		}
	}
	return n
}

func (d *disk) ReadAt(p []byte, off int64) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if off > int64(len(d.data)) {
		return 0, io.EOF
	}
	n := copy(p, d.data[off:])
	if good := d.good(n, off); good < n {
		clear(p[good:])
		return good, errBad
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (d *disk) WriteAt(p []byte, off int64) (int, error) {
	if d.between != nil {
		d.between()
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.claims == 0 {
		return 0, errNoClaim
	}
	good := d.good(len(p), off)
	copy(d.data[off:], p[:good])
	if good < len(p) {
		return good, errBad
	}
	return len(p), nil
}

func (d *disk) Claim() error                 { d.claims++; return nil }
func (d *disk) Release() error               { d.claims--; return nil }
func (d *disk) PunchHole(off, n int64) error { clear(d.data[off : off+n]); return nil }
func (d *disk) Sync() error                  { return nil }

// readOnly hides that a disk can be written.
type readOnly struct{ mapping.Device }

// recipe is a container to make. What it leaves out is as cryptsetup would have it, except the costs: these are as low
// as can be.
type recipe struct {
	version     int
	cipher      string
	keySize     int
	hash        string
	sector      int64
	ivTweak     uint64
	passphrases []string // of slots 0, 1, ...
	payload     int      // bytes
	// edit changes the JSON text of LUKS2.
	edit func(m map[string]any)
}

const payloadOffset = 1 << 20

var key = func() []byte {
	b := make([]byte, maxKeySize)
	for i := range b {
		b[i] = byte(i*7 + 1)
	}
	return b
}()

func (r recipe) withDefaults() recipe {
	if r.version == 0 {
		r.version = 2
	}
	if r.cipher == "" {
		r.cipher = "aes-xts-plain64"
	}
	if r.keySize == 0 {
		r.keySize = 64
	}
	if r.hash == "" {
		r.hash = "sha256"
	}
	if r.sector == 0 {
		r.sector = 512
	}
	if r.passphrases == nil {
		r.passphrases = []string{"banana"}
	}
	if r.payload == 0 {
		r.payload = 256 << 10
	}
	return r
}

// plain is what lies in the payload of every container that is made here.
func (r recipe) plain() []byte {
	b := make([]byte, r.withDefaults().payload)
	for i := range b {
		b[i] = byte(i ^ i>>8 ^ i>>16)
	}
	return b
}

// make formats a disk and fills its payload with plain.
func (r recipe) make(t testing.TB) *disk {
	t.Helper()
	r = r.withDefaults()
	d := &disk{data: make([]byte, payloadOffset+r.payload)}
	switch r.version {
	case 1:
		r.makeLUKS1(t, d.data)
	default:
		r.makeLUKS2(t, d.data)
	}
	mode := r.open(t, key[:r.keySize], r.sector)
	payload := r.plain()
	mode.encrypt(payload, r.ivTweak)
	copy(d.data[payloadOffset:], payload)
	return d
}

func (r recipe) open(t testing.TB, key []byte, sector int64) *mode {
	t.Helper()
	spec, err := parseCipher(r.cipher, r.keySize)
	if err != nil {
		t.Fatal(err)
	}
	m, err := spec.open(key, sector)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

const testStripes = 7

// material is what the area of a key slot holds.
func (r recipe) material(t testing.TB, area []byte) []byte {
	t.Helper()
	hash, err := hashByName(r.hash)
	if err != nil {
		t.Fatal(err)
	}
	stripes := make([]byte, (testStripes*r.keySize+511)/512*512)
	last := (testStripes - 1) * r.keySize
	_, _ = rand.Read(stripes[:last])
	sum, err := merge(stripes[:last+r.keySize], r.keySize, hash)
	if err != nil {
		t.Fatal(err)
	}
	for i, b := range sum.Bytes() {
		stripes[last+i] = b ^ key[i]
	}
	r.open(t, area, 512).encrypt(stripes, 0)
	return stripes
}

func (r recipe) pbkdf2(t testing.TB) pbkdf2 {
	t.Helper()
	hash, err := hashByName(r.hash)
	if err != nil {
		t.Fatal(err)
	}
	return pbkdf2{hash, bytes.Repeat([]byte{5}, 32), 2}
}

func slotOffset(i int) int { return 64<<10 + i*16<<10 }

func (r recipe) makeLUKS1(t testing.TB, b []byte) {
	t.Helper()
	kdf := r.pbkdf2(t)
	copy(b, primaryMagic+"\x00\x01")
	cipher, mode, _ := bytes.Cut([]byte(r.cipher), []byte("-"))
	copy(b[luks1CipherName:], cipher)
	copy(b[luks1CipherMode:], mode)
	copy(b[luks1Hash:], r.hash)
	copy(b[luks1UUID:], "f458feca-f8d7-48e8-a706-eb910d94b1bb")
	put := func(off int, v uint32) { binary.BigEndian.PutUint32(b[off:], v) }
	put(luks1PayloadOffset, payloadOffset/512)
	put(luks1KeyBytes, uint32(r.keySize))
	put(luks1DigestCount, 2)
	copy(b[luks1DigestSalt:], kdf.salt)
	copy(b[luks1Digest:], derived(kdf, key[:r.keySize], 20))
	for i := range luks1SlotCount {
		at := luks1Slots + i*luks1SlotSize
		put(at+luks1SlotActive, luks1Disabled)
		if i >= len(r.passphrases) {
			continue
		}
		put(at+luks1SlotActive, luks1Enabled)
		put(at+luks1SlotCountOff, 2)
		copy(b[at+luks1SlotSalt:], kdf.salt)
		put(at+luks1SlotMaterial, uint32(slotOffset(i)/512))
		put(at+luks1SlotStripes, testStripes)
		copy(b[slotOffset(i):], r.material(t, derived(kdf, []byte(r.passphrases[i]), r.keySize)))
	}
}

type object = map[string]any

func (r recipe) makeLUKS2(t testing.TB, b []byte) {
	t.Helper()
	kdf := r.pbkdf2(t)
	salt := base64.StdEncoding.EncodeToString(kdf.salt)
	slots, names := object{}, []any{}
	for i, passphrase := range r.passphrases {
		name := fmt.Sprint(i)
		names = append(names, name)
		slots[name] = object{
			"type": "luks2", "key_size": r.keySize, "priority": 1,
			"af":   object{"type": "luks1", "stripes": testStripes, "hash": r.hash},
			"area": object{"type": "raw", "offset": fmt.Sprint(slotOffset(i)), "size": "16384", "encryption": r.cipher, "key_size": r.keySize},
			"kdf":  object{"type": "pbkdf2", "hash": r.hash, "iterations": 2, "salt": salt},
		}
		copy(b[slotOffset(i):], r.material(t, derived(kdf, []byte(passphrase), r.keySize)))
	}
	metadata := object{
		"keyslots": slots,
		"tokens":   object{},
		"segments": object{"0": object{
			"type": "crypt", "offset": fmt.Sprint(payloadOffset), "size": "dynamic", "iv_tweak": fmt.Sprint(r.ivTweak),
			"encryption": r.cipher, "sector_size": r.sector,
		}},
		"digests": object{"0": object{
			"type": "pbkdf2", "keyslots": names, "segments": []any{"0"}, "hash": r.hash, "iterations": 2, "salt": salt,
			"digest": base64.StdEncoding.EncodeToString(derived(kdf, key[:r.keySize], 32)),
		}},
		"config": object{"json_size": "12288", "keyslots_size": "16384"},
	}
	if r.edit != nil {
		r.edit(metadata)
	}
	text, err := json.Marshal(metadata)
	if err != nil {
		t.Fatal(err)
	}
	copy(b, luks2Header(text, 0, 3))
	copy(b[luks2MinSize:], luks2Header(text, luks2MinSize, 3))
}

// luks2Header is one copy of a header.
func luks2Header(text []byte, place, sequence uint64) []byte {
	b := make([]byte, luks2MinSize)
	copy(b, primaryMagic)
	if place != 0 {
		copy(b, secondaryMagic)
	}
	binary.BigEndian.PutUint16(b[luks2Version:], 2)
	binary.BigEndian.PutUint64(b[luks2Size:], luks2MinSize)
	binary.BigEndian.PutUint64(b[luks2Sequence:], sequence)
	binary.BigEndian.PutUint64(b[luks2Place:], place)
	copy(b[luks2Label:], "label")
	copy(b[luks2SumName:], "sha256")
	copy(b[luks2UUID:], "f458feca-f8d7-48e8-a706-eb910d94b1bb")
	copy(b[luks2Binary:], text)
	return summed(b)
}

func summed(b []byte) []byte {
	clear(b[luks2Checksum:][:luks2SumLength])
	sum := sha256.Sum256(b)
	copy(b[luks2Checksum:], sum[:])
	return b
}

// opened opens d with the passphrase that all recipes begin with.
func opened(t testing.TB, d mapping.Device) Container {
	t.Helper()
	c, err := Open(context.Background(), d, [][]byte{[]byte("banana")}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// derived is what a KDF makes of a passphrase.
func derived(k kdf, passphrase []byte, n int) []byte {
	key, err := k.derive(context.Background(), passphrase, n)
	if err != nil {
		panic(err)
	}
	return key
}
