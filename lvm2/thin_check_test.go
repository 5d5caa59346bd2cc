package lvm2

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"lvm2fs/internal/test/testenv"
	"lvm2fs/internal/test/testimages"
	"lvm2fs/lvm2/internal/dm"
	"lvm2fs/lvm2/internal/pdata"
	"lvm2fs/mapping"
)

// testPool is a pool of an image, with its metadata in memory.
type testPool struct {
	name      string
	metadata  []byte
	data      mapping.Volume
	chunkSize int64
}

func poolsOf(t *testing.T, c *testimages.Case) (pools []testPool) {
	t.Helper()
	for _, vg := range openImages(t, c).VGs {
		for _, lv := range vg.LVs {
			if lv.ThinPool() == nil {
				continue
			}
			pool, err := vg.assembly.Pool(lv.LV)
			if err != nil {
				t.Fatal(err)
			}
			p := testPool{c.Name + "/" + lv.Name, make([]byte, pool.Metadata.Size()), pool.Data, pool.ChunkSize}
			if _, err := pool.Metadata.ReadAt(p.metadata, 0); err != nil {
				t.Fatal(err)
			}
			pools = append(pools, p)
		}
	}
	return pools
}

// check is all that our check finds.
func (p testPool) check(t *testing.T) error {
	t.Helper()
	var all []error
	metadata := dm.Device(ramDisk{p.metadata}, 0, int64(len(p.metadata)))
	if _, err := dm.CheckThinPool(metadata, p.data, p.chunkSize, func(err error) error {
		all = append(all, err)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return errors.Join(all...)
}

// thinCheck is what thin_check says.
func (p testPool) thinCheck(t *testing.T, file string) error {
	t.Helper()
	if err := os.WriteFile(file, p.metadata, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("thin_check", file).CombinedOutput()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &exit):
		return errors.New(string(out))
	}
	t.Fatal(err)
	return nil
}

type ramDisk struct{ b []byte }

func (d ramDisk) Size() int64  { return int64(len(d.b)) }
func (d ramDisk) Name() string { return "ram" }
func (d ramDisk) ReadAt(p []byte, off int64) (int, error) {
	return copy(p, d.b[off:]), nil
}

// sample is at most n blocks of the pool that are of any kind, among them one of each.
func (p testPool) sample(n int) (numbers []int) {
	seen := map[string]bool{}
	for _, number := range rand.Perm(len(p.metadata) / pdata.BlockSize) {
		for kind, k := range kinds {
			if k.Check(p.metadata[number*pdata.BlockSize:][:pdata.BlockSize], uint64(number)) == nil && (len(numbers) < n || !seen[kind]) {
				seen[kind] = true
				numbers = append(numbers, number)
			}
		}
	}
	return numbers
}

func withThinPools(t *testing.T) (pools []testPool) {
	t.Helper()
	for _, c := range testimages.All(t) {
		if c.Supported() && (strings.HasPrefix(c.Name, "thin") || c.Name == "lvstack" || c.Name == "historical") {
			pools = append(pools, poolsOf(t, c)...)
		}
	}
	return pools
}

func TestNothingIsWrongWithThePoolsOfTheKernel(t *testing.T) {
	for _, p := range withThinPools(t) {
		if err := p.check(t); err != nil {
			t.Errorf("%s: %v", p.name, err)
		}
	}
}

// kinds are the checksums of blocks, as salts, and where blocks have their own number.
var kinds = map[string]pdata.Kind{"superblock": pdata.ThinSuperblock, "node": pdata.Node, "bitmap": pdata.Bitmap, "index": pdata.SpaceMapIndex}

// damages are ways to damage a block so that its checksum is right. They say whether they could.
var damages = map[string]func(b []byte) bool{
	"an entry fewer": func(b []byte) bool {
		le := binary.LittleEndian
		n := le.Uint32(b[16:])
		le.PutUint32(b[16:], n-1)
		return n > 0
	},
	"a count": func(b []byte) bool {
		b[16+rand.IntN(64)] ^= 1 << rand.IntN(8)
		return true
	},
	"a value": func(b []byte) bool {
		at := 32 + 8*int(binary.LittleEndian.Uint32(b[20:]))
		b[at+rand.IntN(5)] ^= 1 << rand.IntN(8)
		return binary.LittleEndian.Uint32(b[16:]) > 0
	},
	"its number": func(b []byte) bool {
		b[8] ^= 1
		return true
	},
	"room": func(b []byte) bool {
		b[20]--
		return true
	},
	"a child twice": func(b []byte) bool {
		le := binary.LittleEndian
		at := 32 + 8*le.Uint32(b[20:])
		copy(b[at+8:at+16], b[at:at+8])
		return le.Uint32(b[16:]) > 1 && le.Uint32(b[24:]) == 8
	},
}

// Our check finds more than thin_check 0.9, which compares neither the counts of data blocks nor the numbers of
// mappings.
func TestTheCheckFindsWhatThinCheckFinds(t *testing.T) {
	testenv.Long(t)
	testenv.NeedTools(t, "thin_check")
	file := filepath.Join(t.TempDir(), "metadata")
	for i, p := range withThinPools(t) {
		if err := p.thinCheck(t, file); err != nil {
			t.Errorf("%s: thin_check: %v", p.name, err)
		}
		if i%4 > 0 { // thin_check takes its time
			continue
		}
		found, both := 0, 0
		try := func(what string, number int) {
			err, other := p.check(t), p.thinCheck(t, file)
			if other != nil && err == nil {
				t.Errorf("%s: %s of block %d: nothing found, and thin_check: %v", p.name, what, number, other)
			}
			if err != nil {
				found++
				if other != nil {
					both++
				}
			}
		}
		for _, number := range p.sample(6) {
			b := p.metadata[number*pdata.BlockSize:][:pdata.BlockSize]
			was := append([]byte(nil), b...)
			for kind, k := range kinds {
				if k.Check(b, uint64(number)) != nil {
					continue
				}
				b[16+rand.IntN(pdata.BlockSize-16)] ^= 1 << rand.IntN(8)
				try("checksum", number)
				copy(b, was)
				for what, damage := range damages {
					if what != "its number" && (kind == "superblock" || kind == "index" || (what == "a count") != (kind == "bitmap")) {
						continue
					}
					if damage(b) {
						k.Seal(b)
						try(what, number)
					}
					copy(b, was)
				}
			}
		}
		t.Logf("%s: %d found, %d by thin_check too", p.name, found, both)
		if both == 0 {
			t.Errorf("%s: nothing was found", p.name)
		}
	}
}

func TestBlocksThatLeakAreNamed(t *testing.T) {
	testenv.Long(t)
	p := poolsOf(t, testimages.Load(t, "thin"))[0]
	for number := range len(p.metadata) / pdata.BlockSize {
		b := p.metadata[number*pdata.BlockSize:][:pdata.BlockSize]
		if pdata.Bitmap.Check(b, uint64(number)) != nil {
			continue
		}
		was := append([]byte(nil), b...)
		b[16+110] |= 0xAA // blocks 440 to 443 are free in both maps
		pdata.Bitmap.Seal(b)
		if err := p.check(t); err != nil { // else nothing leads to this bitmap any more
			var count *pdata.CountError
			if !errors.As(err, &count) || !count.Leak() || count.From != 440 || count.To != 444 {
				t.Errorf("bitmap %d: %v", number, err)
			}
		}
		copy(b, was)
	}
}

func TestACheckOfAThinLVVerifiesItsPoolOnce(t *testing.T) {
	testenv.Long(t)
	var c Checker
	found := 0
	c.Found = func(Finding) error { found++; return nil }
	for _, vg := range openImages(t, testimages.Load(t, "thin")).VGs {
		for _, lv := range vg.LVs {
			if lv.ThinPool() == nil && lv.Pool() == nil {
				continue
			}
			sum, err := c.Check(t.Context(), lv)
			if err != nil || !sum.Good() || sum.Metadata < 10*pdata.BlockSize {
				t.Errorf("%s: %v, %+v", lv, err, sum)
			}
		}
	}
	if found > 0 {
		t.Errorf("%d findings", found)
	}
}
