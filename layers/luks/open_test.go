package luks

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"lvm2fs/mapping"
)

func readAll(t *testing.T, d mapping.Device) []byte {
	t.Helper()
	b := make([]byte, d.Size())
	if n, err := d.ReadAt(b, 0); n != len(b) || err != nil {
		t.Fatalf("read %d of %d bytes: %v", n, len(b), err)
	}
	return b
}

func TestContainersOfEveryCipherAndHashOpen(t *testing.T) {
	for _, version := range []int{1, 2} {
		for _, r := range []recipe{
			{cipher: "aes-xts-plain64", keySize: 64},
			{cipher: "aes-xts-plain", keySize: 32, hash: "sha512"},
			{cipher: "aes-cbc-essiv:sha256", keySize: 32, hash: "sha1"},
			{cipher: "aes-cbc-plain", keySize: 24, hash: "ripemd160"},
			{cipher: "aes-cbc-plain64", keySize: 16, hash: "sha384"},
			{cipher: "twofish-xts-plain64", keySize: 64, hash: "sha3-256"},
			{cipher: "twofish-cbc-essiv:sha256", keySize: 32, hash: "sha224"},
		} {
			r.version = version
			t.Run(fmt.Sprintf("LUKS%d %s %s", version, r.cipher, r.hash), func(t *testing.T) {
				if !bytes.Equal(readAll(t, opened(t, r.make(t))), r.plain()) {
					t.Error("decrypted to something else")
				}
			})
		}
	}
}

func TestLargeSectorsAreNumberedInSmallOnes(t *testing.T) {
	r := recipe{sector: 4096, ivTweak: 1 << 40}
	if !bytes.Equal(readAll(t, opened(t, r.make(t))), r.plain()) {
		t.Error("decrypted to something else")
	}
}

func TestAnyKeyAndAnySlotWillDo(t *testing.T) {
	for _, version := range []int{1, 2} {
		d := recipe{version: version, passphrases: []string{"one", "two", "three"}}.make(t)
		c, err := Open(context.Background(), d, [][]byte{[]byte("zero"), []byte("three")}, Options{Name: "secret"})
		if err != nil {
			t.Fatal(err)
		}
		if c.Info().Slot != "2" || c.Name() != "secret" {
			t.Error(c.Name(), c.Info())
		}
		_ = c.Close()
		_, err = Open(context.Background(), d, [][]byte{[]byte("zero")}, Options{})
		if !errors.Is(err, ErrPassphrase) || !strings.HasPrefix(err.Error(), "disk: ") {
			t.Error(err)
		}
		if _, err := Open(context.Background(), d, nil, Options{}); !errors.Is(err, ErrPassphrase) {
			t.Error(err)
		}
	}
}

func TestSlotsAreTriedByPriority(t *testing.T) {
	d := recipe{passphrases: []string{"banana", "banana", "banana"}, edit: func(m object) {
		for name, priority := range map[string]int{"0": 0, "1": 1, "2": 2} {
			m["keyslots"].(object)[name].(object)["priority"] = priority
		}
	}}.make(t)
	if slot := opened(t, d).Info().Slot; slot != "2" {
		t.Errorf("opened slot %s, but 2 is preferred", slot)
	}
	d = recipe{edit: func(m object) { m["keyslots"].(object)["0"].(object)["priority"] = 0 }}.make(t)
	if _, err := Open(context.Background(), d, [][]byte{[]byte("banana")}, Options{}); !errors.Is(err, errIgnored) {
		t.Error(err)
	}
	c, err := Open(context.Background(), d, [][]byte{[]byte("banana")}, Options{Slot: "0"})
	if err != nil || c.Info().Slot != "0" {
		t.Error(err)
	}
}

func TestOfOneSlotThatIsAskedForNoOtherIsTried(t *testing.T) {
	for _, version := range []int{1, 2} {
		d := recipe{version: version, passphrases: []string{"one", "two", "three"}}.make(t)
		for slot, want := range map[string]error{"0": ErrPassphrase, "1": nil, "2": ErrPassphrase, "3": ErrSlot, "01": ErrSlot, "-1": ErrSlot} {
			c, err := Open(context.Background(), d, [][]byte{[]byte("two")}, Options{Slot: slot})
			if !errors.Is(err, want) || err == nil && c.Info().Slot != slot {
				t.Errorf("LUKS%d, slot %s: %v", version, slot, err)
			}
		}
	}
}

func TestASlotThatCannotBeUsedDoesNotKeepAnotherFromOpening(t *testing.T) {
	d := recipe{passphrases: []string{"x", "banana"}, edit: func(m object) {
		m["keyslots"].(object)["0"].(object)["kdf"].(object)["type"] = "scrypt"
	}}.make(t)
	if slot := opened(t, d).Info().Slot; slot != "1" {
		t.Errorf("opened slot %s", slot)
	}
	_, err := Open(context.Background(), d, [][]byte{[]byte("x")}, Options{})
	if !errors.Is(err, ErrPassphrase) || !strings.Contains(err.Error(), `key slot 0: not supported: key derivation "scrypt"`) {
		t.Error(err)
	}
}

func TestABadSectorInTheKeyAreaIsNoWrongPassphrase(t *testing.T) {
	for _, version := range []int{1, 2} {
		d := recipe{version: version}.make(t)
		d.bad = func(off int64) bool { return off == int64(slotOffset(0)) }
		_, err := Open(context.Background(), d, [][]byte{[]byte("banana")}, Options{})
		if !errors.Is(err, errBad) || errors.Is(err, ErrPassphrase) {
			t.Error(err)
		}
	}
}

func TestTheNewerHeaderWhoseChecksumIsRightCounts(t *testing.T) {
	other := func(d *disk, place uint64, sequence uint64) {
		// The same text, with another key slot name.
		text, _, _ := bytes.Cut(d.data[luks2Binary:luks2MinSize], []byte{0})
		text = bytes.ReplaceAll(text, []byte(`"0":{"af"`), []byte(`"7":{"af"`))
		text = bytes.ReplaceAll(text, []byte(`"keyslots":["0"]`), []byte(`"keyslots":["7"]`))
		copy(d.data[place:], luks2Header(text, place, sequence))
	}
	for _, c := range []struct {
		name string
		edit func(d *disk)
		slot string
	}{
		{"both the same", func(*disk) {}, "0"},
		{"second newer", func(d *disk) { other(d, luks2MinSize, 4) }, "7"},
		{"second older", func(d *disk) { other(d, luks2MinSize, 2) }, "0"},
		{"second newer but damaged", func(d *disk) { other(d, luks2MinSize, 4); d.data[luks2MinSize+luks2Binary]++ }, "0"},
		{"first newer", func(d *disk) { other(d, 0, 4) }, "7"},
		{"first newer but damaged", func(d *disk) { other(d, 0, 4); d.data[luks2MinSize-1]++ }, "0"},
		{"first lost", func(d *disk) { clear(d.data[:luks2Binary]) }, "0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := recipe{}.make(t)
			c.edit(d)
			if slot := opened(t, d).Info().Slot; slot != c.slot {
				t.Errorf("opened slot %s, want %s", slot, c.slot)
			}
		})
	}
}

func TestEveryByteOfAHeaderIsUnderItsChecksum(t *testing.T) {
	whole := recipe{}.make(t).data[:luks2MinSize]
	for off := 8; off < len(whole); off += 13 {
		b := bytes.Clone(whole)
		b[off] ^= 0x10
		if _, err := checkLUKS2(b, 0); !errors.Is(err, ErrHeader) && !errors.Is(err, ErrUnsupported) {
			if off >= luks2Checksum+32 && off < luks2Checksum+luks2SumLength {
				continue // more room than a SHA-256 takes
			}
			t.Errorf("byte %d: %v", off, err)
		}
	}
}

func TestBothHeadersDamagedIsAnErrorThatNamesBoth(t *testing.T) {
	d := recipe{}.make(t)
	d.data[luks2Binary]++
	d.data[luks2MinSize+luks2Binary]++
	_, err := Open(context.Background(), d, nil, Options{})
	if !errors.Is(err, ErrHeader) || !strings.Contains(err.Error(), "at byte 0") || !strings.Contains(err.Error(), "at byte 16384") {
		t.Error(err)
	}
}

func TestWhatIsNotAContainerIsSaidToHaveNoHeader(t *testing.T) {
	for _, size := range []int{0, 7, 512, 8 << 20} {
		if _, err := Open(context.Background(), &disk{data: make([]byte, size)}, nil, Options{}); !errors.Is(err, ErrNoHeader) {
			t.Errorf("%d zeros: %v", size, err)
		}
	}
	if _, err := Open(context.Background(), &disk{data: []byte(primaryMagic + "\x00\x03" + strings.Repeat("x", 8192))}, nil, Options{}); !errors.Is(err, ErrUnsupported) {
		t.Error(err)
	}
}

func TestWhatIsNotOpenedIsRefusedWithTheReason(t *testing.T) {
	segment := func(m object) object { return m["segments"].(object)["0"].(object) }
	slot := func(m object) object { return m["keyslots"].(object)["0"].(object) }
	for want, edit := range map[string]func(m object){
		"re-encryption": func(m object) {
			m["config"].(object)["requirements"] = object{"mandatory": []any{"online-reencrypt-v2"}}
		},
		`requirement "opal"`:       func(m object) { m["config"].(object)["requirements"] = object{"mandatory": []any{"opal"}} },
		"2 segments":               func(m object) { m["segments"].(object)["1"] = segment(m) },
		"0 segments":               func(m object) { m["segments"] = object{} },
		"dm-integrity":             func(m object) { segment(m)["integrity"] = object{"type": "hmac(sha256)"} },
		`type "linear"`:            func(m object) { segment(m)["type"] = "linear" },
		`flags ["in-reencryption"`: func(m object) { segment(m)["flags"] = []any{"in-reencryption"} },
		"sectors of 8192 bytes":    func(m object) { segment(m)["sector_size"] = 8192 },
		"sectors of 0 bytes":       func(m object) { segment(m)["sector_size"] = 0 },
		"serpent-xts-plain64":      func(m object) { segment(m)["encryption"] = "serpent-xts-plain64" },
		"payload is to begin":      func(m object) { segment(m)["offset"] = "1099511627776" },
		"at byte 1048577":          func(m object) { segment(m)["offset"] = "1048577" },
		"size of the segment":      func(m object) { segment(m)["size"] = "-512" },
		"and have 1048576":         func(m object) { segment(m)["size"] = "1048576" },
		"offset of the segment":    func(m object) { segment(m)["offset"] = "18446744073709551615" },
		"iv_tweak":                 func(m object) { segment(m)["iv_tweak"] = "x" },
		"argon2 with 4294967295 passes": func(m object) {
			slot(m)["kdf"] = object{"type": "argon2id", "salt": "", "time": uint32(1<<32 - 1), "memory": 1 << 20, "cpus": 4}
		},
		"over 1099511627776 KiB": func(m object) {
			slot(m)["kdf"] = object{"type": "argon2id", "salt": "", "time": 1, "memory": 1 << 40, "cpus": 4}
		},
		"on 0 CPUs": func(m object) {
			slot(m)["kdf"] = object{"type": "argon2i", "salt": "", "time": 4, "memory": 32, "cpus": 0}
		},
		"with -1 iterations":         func(m object) { slot(m)["kdf"].(object)["iterations"] = -1 },
		"with 4294967295 iterations": func(m object) { m["digests"].(object)["0"].(object)["iterations"] = uint32(1<<32 - 1) },
		"1000000000 stripes":         func(m object) { slot(m)["af"].(object)["stripes"] = 1000000000 },
		"0 stripes":                  func(m object) { slot(m)["af"].(object)["stripes"] = 0 },
		`key area of "1" bytes`:      func(m object) { slot(m)["area"].(object)["size"] = "1" },
		"key area: value":            func(m object) { slot(m)["area"].(object)["offset"] = "9223372036854775807" },
		`hash "md5"`:                 func(m object) { slot(m)["af"].(object)["hash"] = "md5" },
		"a digest of 3 bytes":        func(m object) { m["digests"].(object)["0"].(object)["digest"] = "AAAA" },
		`key slot of type "future"`:  func(m object) { slot(m)["type"] = "future" },
		"no key slot belongs":        func(m object) { m["digests"] = object{} },
		`names key slot "9"`: func(m object) {
			m["digests"].(object)["0"].(object)["keyslots"] = []any{"0", "9"}
			m["keyslots"].(object)["8"] = slot(m)
		},
	} {
		d := recipe{edit: edit}.make(t)
		_, err := Open(context.Background(), d, [][]byte{[]byte("banana")}, Options{})
		if !errors.Is(err, ErrUnsupported) && !errors.Is(err, ErrHeader) || !strings.Contains(fmt.Sprint(err), want) {
			t.Errorf("%s: %v", want, err)
		}
		if errors.Is(err, ErrPassphrase) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

func TestDamagedLUKS1HeadersAreRefused(t *testing.T) {
	for want, edit := range map[string]func(b []byte){
		"a key of 0 bytes":     func(b []byte) { clear(b[luks1KeyBytes:][:4]) },
		"a key of 16777280":    func(b []byte) { b[luks1KeyBytes] = 1 },
		`cipher "aas-`:         func(b []byte) { b[luks1CipherName+1] = 'a' },
		`hash "sha156"`:        func(b []byte) { b[luks1Hash+3] = '1' },
		"neither enabled":      func(b []byte) { b[luks1Slots]++ },
		"0 stripes":            func(b []byte) { clear(b[luks1Slots+luks1SlotStripes:][:4]) },
		"3221225472 stripes":   func(b []byte) { binary.BigEndian.PutUint32(b[luks1Slots+luks1SlotStripes:], 3<<30) },
		"with 0 iterations":    func(b []byte) { clear(b[luks1Slots+luks1SlotCountOff:][:4]) },
		"4278190082 iter":      func(b []byte) { b[luks1DigestCount] = 255 },
		"payload is to begin":  func(b []byte) { b[luks1PayloadOffset] = 1 },
		"another device":       func(b []byte) { clear(b[luks1PayloadOffset:][:4]) },
		"no key slot in use":   func(b []byte) { binary.BigEndian.PutUint32(b[luks1Slots:], luks1Disabled) },
		"no key slot can be u": func(b []byte) { binary.BigEndian.PutUint32(b[luks1Slots+luks1SlotMaterial:], 1<<31) },
	} {
		d := recipe{version: 1}.make(t)
		edit(d.data)
		if _, err := Open(context.Background(), d, [][]byte{[]byte("banana")}, Options{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

func TestAHeaderCanLieOnAnotherDevice(t *testing.T) {
	r := recipe{edit: func(m object) { m["segments"].(object)["0"].(object)["offset"] = "0" }}
	header := r.make(t)
	payload := &disk{data: bytes.Clone(header.data[payloadOffset:])}
	header.data = header.data[:payloadOffset]
	if _, err := Open(context.Background(), header, [][]byte{[]byte("banana")}, Options{}); !errors.Is(err, ErrDetached) {
		t.Error(err)
	}
	c, err := Open(context.Background(), payload, [][]byte{[]byte("banana")}, Options{Header: header})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if !bytes.Equal(readAll(t, c), r.plain()) {
		t.Error("decrypted to something else")
	}
}

func TestOfTheFormerSizesOnlyWholeSectorsCount(t *testing.T) {
	r := recipe{sector: 4096}
	d := r.make(t)
	d.data = d.data[:len(d.data)-1]
	c := opened(t, d)
	if c.Size() != int64(len(r.plain())-4096) {
		t.Error(c.Size())
	}
	r.edit = func(m object) { m["segments"].(object)["0"].(object)["size"] = "8192" }
	if c := opened(t, r.make(t)); c.Size() != 8192 {
		t.Error(c.Size())
	}
}

// A passphrase that is wrong must cost time, not trust: a header is checked as a whole
// before a key is derived.
func FuzzHeader(f *testing.F) {
	one, two := recipe{version: 1}.make(f).data[:luks1HeaderSize], recipe{}.make(f).data[:2*luks2MinSize]
	f.Add(one)
	f.Add(two)
	f.Fuzz(func(t *testing.T, b []byte) {
		checkHeader(t, b)
		if len(b) >= luks2MinSize && string(b[:6]) == primaryMagic {
			checkHeader(t, summed(bytes.Clone(b[:luks2MinSize])))
		}
	})
}

func checkHeader(t *testing.T, b []byte) {
	h, err := readHeader(&disk{data: b})
	if err == nil {
		checkBounds(t, h)
	}
}

func checkBounds(t *testing.T, h *header) {
	if h.payload.offset < 0 || h.payload.size < 0 || h.payload.sector < 512 || h.payload.sector > 4096 {
		t.Errorf("%+v", h.payload)
	}
	for _, s := range h.slots {
		if s.err != nil {
			continue
		}
		if s.material.size() < 1 || s.material.size() > maxMaterial || s.material.areaKey > maxKeySize || s.kdf.check() != nil || s.digest.kdf.check() != nil {
			t.Errorf("%+v", s)
		}
	}
}

func FuzzMetadata(f *testing.F) {
	d := recipe{passphrases: []string{"a", "b"}}.make(f)
	text, _, _ := bytes.Cut(d.data[luks2Binary:luks2MinSize], []byte{0})
	f.Add(text)
	f.Add(bytes.ReplaceAll(text, []byte(`"dynamic"`), []byte(`"65536"`)))
	f.Fuzz(func(t *testing.T, text []byte) {
		h, err := decodeLUKS2(&luks2Copy{size: luks2MinSize, text: text})
		if err != nil {
			return
		}
		if !json.Valid(text) {
			t.Error("taken, but no JSON")
		}
		checkBounds(t, h)
	})
}
