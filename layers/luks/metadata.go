package luks

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"math"
	"slices"
	"strconv"
	"strings"
)

// The JSON text of a LUKS2 header, as far as it matters here. Numbers of 64 bits are
// decimal strings in it, bytes are base64.
type luks2Metadata struct {
	Keyslots map[string]luks2Keyslot
	Segments map[string]luks2Segment
	Digests  map[string]luks2Digest
	Config   struct {
		Requirements json.RawMessage
	}
}

type luks2Keyslot struct {
	Type     string
	Priority *int
	KeySize  int `json:"key_size"`
	Area     struct {
		Type       string
		Offset     string
		Size       string
		Encryption string
		KeySize    int `json:"key_size"`
	}
	AF struct {
		Type    string
		Stripes int
		Hash    string
	}
	KDF luks2KDF
}

type luks2KDF struct {
	Type       string
	Salt       string
	Hash       string
	Iterations int64
	Time       int64
	Memory     int64
	CPUs       int64
}

type luks2Segment struct {
	Type       string
	Offset     string
	Size       string
	IVTweak    string `json:"iv_tweak"`
	Encryption string
	SectorSize int64 `json:"sector_size"`
	Integrity  json.RawMessage
	Flags      []string
}

type luks2Digest struct {
	Type       string
	Keyslots   []string
	Segments   []string
	Hash       string
	Iterations int64
	Salt       string
	Digest     string
}

// decodeLUKS2 decodes the text of a header whose checksum is right.
func decodeLUKS2(c *luks2Copy) (*header, error) {
	var m luks2Metadata
	if err := json.Unmarshal(c.text, &m); err != nil {
		return nil, damaged("JSON: %w", err)
	}
	if err := checkRequirements(m.Config.Requirements); err != nil {
		return nil, err
	}
	name, keySize, err := m.theSegment()
	if err != nil {
		return nil, err
	}
	h := &header{version: 2, size: 2 * c.size, uuid: c.uuid, label: c.label}
	if h.payload, err = m.Segments[name].payload(keySize); err != nil {
		return nil, err
	}
	for _, d := range m.Digests {
		if !slices.Contains(d.Segments, name) {
			continue
		}
		for _, slotName := range d.Keyslots {
			if len(h.slots) == maxSlots {
				return nil, damaged("more than %d key slots", maxSlots)
			}
			s := m.Keyslots[slotName].slot(slotName, d)
			s.ignored = m.Keyslots[slotName].priority() == 0
			h.slots = append(h.slots, s)
		}
	}
	slices.SortFunc(h.slots, func(a, b slot) int {
		return cmp.Or(
			cmp.Compare(m.Keyslots[b.name].priority(), m.Keyslots[a.name].priority()),
			cmp.Compare(len(a.name), len(b.name)),
			cmp.Compare(a.name, b.name))
	})
	return h, nil
}

// checkRequirements fails if the header demands what is not known here.
func checkRequirements(text json.RawMessage) error {
	if len(text) == 0 {
		return nil
	}
	var r map[string][]string
	if err := json.Unmarshal(text, &r); err != nil {
		return damaged("requirements: %w", err)
	}
	for kind, names := range r {
		if len(names) == 0 {
			continue
		}
		name := names[0]
		if strings.HasPrefix(name, "online-reencrypt") || strings.HasPrefix(name, "offline-reencrypt") {
			return unsupported("a re-encryption is under way (%s); finish it on Linux with cryptsetup reencrypt", name)
		}
		return unsupported("the header has the %s requirement %q", kind, name)
	}
	return nil
}

// theSegment returns the name of the one segment there may be, and the size of its key.
func (m *luks2Metadata) theSegment() (name string, keySize int, err error) {
	if len(m.Segments) != 1 {
		return "", 0, unsupported("%d segments: a re-encryption is under way", len(m.Segments))
	}
	for name = range m.Segments {
	}
	for _, d := range m.Digests {
		if !slices.Contains(d.Segments, name) {
			continue
		}
		for _, slotName := range d.Keyslots {
			k, ok := m.Keyslots[slotName]
			if !ok {
				return "", 0, damaged("a digest names key slot %q, which is not there", slotName)
			}
			if keySize != 0 && k.KeySize != keySize {
				return "", 0, damaged("key slots with keys of %d and %d bytes", keySize, k.KeySize)
			}
			keySize = k.KeySize
		}
	}
	if keySize == 0 {
		return "", 0, unsupported("no key slot belongs to the data")
	}
	return name, keySize, nil
}

func (s luks2Segment) payload(keySize int) (payload, error) {
	var p payload
	var err error
	switch {
	case s.Type != "crypt":
		return p, unsupported("a segment of type %q", s.Type)
	case len(s.Integrity) > 0:
		return p, unsupported("authenticated encryption (dm-integrity)")
	case len(s.Flags) > 0:
		return p, unsupported("a segment with the flags %q", s.Flags)
	case s.SectorSize < 512 || s.SectorSize > 4096 || s.SectorSize&(s.SectorSize-1) != 0:
		return p, damaged("sectors of %d bytes", s.SectorSize)
	}
	p.sector = s.SectorSize
	if p.cipher, err = parseCipher(s.Encryption, keySize); err != nil {
		return p, err
	}
	if p.offset, err = number(s.Offset); err != nil {
		return p, damaged("offset of the segment: %w", err)
	}
	if p.firstIV, err = strconv.ParseUint(cmp.Or(s.IVTweak, "0"), 10, 64); err != nil {
		return p, damaged("iv_tweak: %w", err)
	}
	if s.Size != "dynamic" {
		if p.size, err = number(s.Size); err != nil || p.size == 0 {
			return p, damaged("size of the segment: %q", s.Size)
		}
	}
	if p.offset%sector512 != 0 || p.size%p.sector != 0 {
		return p, damaged("a segment of %d bytes at byte %d, with sectors of %d bytes", p.size, p.offset, p.sector)
	}
	return p, nil
}

// priority is 2 for slots to try first, and 0 for those not to be tried unless they are asked for.
func (k luks2Keyslot) priority() int {
	if k.Priority == nil {
		return 1
	}
	return *k.Priority
}

func (k luks2Keyslot) slot(name string, d luks2Digest) slot {
	s := slot{name: name}
	s.err = k.fill(&s, d)
	return s
}

func (k luks2Keyslot) fill(s *slot, d luks2Digest) (err error) {
	switch {
	case k.Type != "luks2":
		return unsupported("a key slot of type %q", k.Type)
	case k.Area.Type != "raw":
		return unsupported("a key area of type %q", k.Area.Type)
	case k.AF.Type != "luks1":
		return unsupported("anti-forensic split of type %q", k.AF.Type)
	}
	s.material = material{stripes: k.AF.Stripes, keySize: k.KeySize, areaKey: k.Area.KeySize}
	if err := s.material.check(); err != nil {
		return err
	}
	if s.material.hash, err = hashByName(k.AF.Hash); err != nil {
		return err
	}
	if s.material.cipher, err = parseCipher(k.Area.Encryption, k.Area.KeySize); err != nil {
		return err
	}
	size, err := number(k.Area.Size)
	if err != nil || size < s.material.size() {
		return damaged("a key area of %q bytes", k.Area.Size)
	}
	if s.material.offset, err = number(k.Area.Offset); err != nil {
		return damaged("key area: %w", err)
	}
	if s.kdf, err = k.KDF.decode(); err != nil {
		return err
	}
	s.digest, err = d.decode()
	return err
}

func (k luks2KDF) decode() (kdf, error) {
	salt, err := base64.StdEncoding.DecodeString(k.Salt)
	if err != nil {
		return nil, damaged("salt: %w", err)
	}
	switch k.Type {
	case "pbkdf2":
		hash, err := hashByName(k.Hash)
		if err != nil {
			return nil, err
		}
		p := pbkdf2{hash, salt, k.Iterations}
		return p, p.check()
	case "argon2i", "argon2id":
		a := argon2{id: k.Type == "argon2id", salt: salt, time: k.Time, memory: k.Memory, cpus: k.CPUs}
		return a, a.check()
	}
	return nil, unsupported("key derivation %q", k.Type)
}

func (d luks2Digest) decode() (digest, error) {
	if d.Type != "pbkdf2" {
		return digest{}, unsupported("a digest of type %q", d.Type)
	}
	hash, err := hashByName(d.Hash)
	if err != nil {
		return digest{}, err
	}
	salt, err := base64.StdEncoding.DecodeString(d.Salt)
	if err != nil {
		return digest{}, damaged("salt of the digest: %w", err)
	}
	want, err := base64.StdEncoding.DecodeString(d.Digest)
	if err != nil {
		return digest{}, damaged("digest: %w", err)
	}
	if len(want) < 16 || len(want) > maxKeySize {
		return digest{}, damaged("a digest of %d bytes", len(want))
	}
	result := digest{pbkdf2{hash, salt, d.Iterations}, want}
	return result, result.kdf.check()
}

// number is a count of bytes.
func number(decimal string) (int64, error) {
	n, err := strconv.ParseUint(decimal, 10, 64)
	if err == nil && n > math.MaxInt64/2 {
		err = strconv.ErrRange
	}
	return int64(n), err
}
