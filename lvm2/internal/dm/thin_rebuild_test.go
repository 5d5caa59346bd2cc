package dm

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"lvm2fs/internal/test/testenv"
	"lvm2fs/lvm2/internal/pdata"
)

const rebuildChunk = 64 << 10

// mappedTo are the mappings of each device: chunk of the device → chunk of the pool.
type mappedTo map[uint64]map[uint64]uint64

// kernelPools are metadata of pools that the kernel made; see testdata/thin/make.sh.
func kernelPools(t *testing.T) map[string]memory {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(testenv.Root(), "testdata/thin/*.zst"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no pools: %v", err)
	}
	pools := map[string]memory{}
	dec, err := zstd.NewReader(nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err == nil {
			b, err = dec.DecodeAll(b, nil)
		}
		if err != nil {
			t.Fatal(err)
		}
		pools[strings.TrimSuffix(filepath.Base(file), ".zst")] = b
	}
	return pools
}

// chunksOf is the number of chunks that a pool has by its superblock.
func chunksOf(m memory) uint64 { return binary.LittleEndian.Uint64(m[64:]) }

func openKernelPool(t *testing.T, m memory) *ThinPool {
	t.Helper()
	p, err := OpenThinPool(volumeOf(m), Zero(int64(chunksOf(m))*rebuildChunk), rebuildChunk)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// mappings are all that can be read of a pool.
func (p *ThinPool) mappings(t *testing.T) mappedTo {
	t.Helper()
	all := mappedTo{}
	eachLeaf(p.level1, func(l pdata.Leaf) {
		for i := range l.Len() {
			m := map[uint64]uint64{}
			all[l.Key(i)] = m
			eachLeaf(p.tree(binary.LittleEndian.Uint64(l.Value(i))), func(l pdata.Leaf) {
				for i := range l.Len() {
					m[l.Key(i)] = dataChunk(l.Value(i))
				}
			})
		}
	})
	return all
}

// tally counts the chunks of devices, up to their last ones, that read as they should: mapped ones and unmapped ones.
// It also counts those that do not.
type tally struct{ mapped, unmapped, wrong, missing int }

func (a tally) plus(b tally) tally {
	return tally{a.mapped + b.mapped, a.unmapped + b.unmapped, a.wrong + b.wrong, a.missing + b.missing}
}

// compareTo counts the chunks of all devices, those that are mapped and those that are not, up to some behind the
// last that is. It names one that is wrong.
func (truth mappedTo) compareTo(leaves func(device uint64) (leafFinder, error)) (sum tally, wrong string) {
	for _, id := range slices.Sorted(maps.Keys(truth)) {
		want := truth[id]
		end := uint64(10)
		for chunk := range want {
			end = max(end, chunk+10)
		}
		finder, err := leaves(id)
		if err != nil {
			sum.missing += int(end)
			continue
		}
		for chunk := uint64(0); chunk < end; {
			leaf, err := finder.Leaf(chunk)
			if err != nil {
				to := min(end-1, chunk)
				if d, ok := damageOf(err); ok {
					to = min(end-1, max(chunk, d.To))
				}
				sum.missing += int(to - chunk + 1)
				chunk = to + 1
				continue
			}
			if leaf.From > chunk || leaf.To < chunk {
				return sum, fmt.Sprintf("device %d: asked for chunk %d, got a leaf of %d to %d", id, chunk, leaf.From, leaf.To)
			}
			for ; chunk <= leaf.To && chunk < end; chunk++ {
				i := leaf.Search(chunk)
				got, found := uint64(0), i < leaf.Len() && leaf.Key(i) == chunk
				if found {
					got = dataChunk(leaf.Value(i))
				}
				switch at, mapped := want[chunk]; {
				case mapped && found && at == got:
					sum.mapped++
				case !mapped && !found:
					sum.unmapped++
				default:
					sum.wrong++
					wrong = fmt.Sprintf("device %d, chunk %d: %d %v, not %d %v (leaf %d)", id, chunk, got, found, at, mapped, leaf.Block())
				}
			}
		}
	}
	return sum, wrong
}

// usesOf is what the blocks of a pool are used for.
func usesOf(t *testing.T, p *ThinPool) map[string][]uint64 {
	t.Helper()
	uses := map[string][]uint64{}
	seen := map[uint64]bool{}
	note := func(use string, number uint64) bool {
		if seen[number] {
			return false
		}
		seen[number] = true
		uses[use] = append(uses[use], number)
		return true
	}
	var tree func(use string, number uint64, depth int, leaf func(n pdata.RawNode))
	tree = func(use string, number uint64, depth int, leaf func(n pdata.RawNode)) {
		n, err := p.blocks.ReadNode(number)
		if err != nil {
			t.Fatal(err)
		}
		kind := " inner"
		switch {
		case depth == 0:
			kind = " root"
		case n.Leaf():
			kind = " leaf"
		}
		if !note(use+kind, number) {
			return
		}
		if n.Leaf() {
			if leaf != nil {
				leaf(n)
			}
			return
		}
		for i := range n.Len() {
			tree(use, n.Uint64(i), depth+1, leaf)
		}
	}
	tree("level1", p.level1.Root, 0, func(n pdata.RawNode) {
		for i := range n.Len() {
			tree("level2", n.Uint64(i), 0, nil)
		}
	})
	tree("details", p.details.Root, 0, nil)
	index, counts := p.dataMap.Roots()
	tree("data index", index, 0, nil)
	tree("data counts", counts, 0, nil)
	p.dataMap.EachBitmap(func(number uint64) { note("data bitmap", number) })
	index, counts = p.metadataMap.Roots()
	note("metadata index", index)
	tree("metadata counts", counts, 0, nil)
	p.metadataMap.EachBitmap(func(number uint64) { note("metadata bitmap", number) })
	return uses
}

// damageTo are ways to damage blocks of one kind or several.
var damageTo = [][]string{
	{"level1 root"},
	{"level1 leaf"},
	{"level2 root"},
	{"level2 inner"},
	{"level2 leaf"},
	{"details root"},
	{"data index root"},
	{"data bitmap"},
	{"metadata index"},
	{"metadata bitmap"},
	{"metadata counts root"},
	{"level2 root", "level2 root"},
	{"level2 inner", "level2 inner"},
	{"level2 root", "level2 leaf"},
	{"level2 inner", "level2 leaf", "level2 leaf"},
	{"level2 leaf", "level2 leaf", "level2 leaf", "level2 leaf"},
	{"level2 root", "details root"},
	{"level2 root", "metadata bitmap"},
	{"level2 root", "metadata index"},
	{"level2 inner", "metadata index"},
	{"level1 root", "details root"},
	{"level1 root", "level2 root"},
	{"level1 root", "level2 leaf"},
	{"level2 root", "level2 inner"},
	{"level2 root", "data bitmap", "level2 leaf"},
	{"level2 root", "metadata counts root"},
	{"level1 root", "metadata bitmap"},
	{"level1 root", "metadata index"},
	{"level1 leaf", "level2 root"},
}

// damageToCompare are those ways for which it takes long to see what others make of it.
var damageToCompare = [][]string{
	{"level1 root"},
	{"level2 root"},
	{"level2 inner"},
	{"level2 leaf"},
	{"details root"},
	{"level2 root", "level2 leaf"},
}

// damaged is the metadata with blocks of kinds damaged: zeroed, or with a few of their bits changed. It also says
// which blocks; nil if there are none of a kind.
func damaged(m memory, uses map[string][]uint64, kinds []string, r *rand.Rand) (memory, []uint64) {
	m = slices.Clone(m)
	var hit []uint64
	for _, kind := range kinds {
		of := slices.DeleteFunc(slices.Clone(uses[kind]), func(n uint64) bool { return slices.Contains(hit, n) })
		if len(of) == 0 {
			return nil, nil
		}
		number := of[r.IntN(len(of))]
		hit = append(hit, number)
		b := m[number*pdata.BlockSize:][:pdata.BlockSize]
		if r.IntN(2) == 0 {
			clear(b)
		} else {
			b[100+r.IntN(3000)] ^= 0x55
		}
	}
	return m, hit
}

// damagedPool is a pool of the kernel with damaged blocks.
type damagedPool struct {
	name  string
	truth mappedTo
	m     memory
}

// eachDamagedPool calls visit with each pool of the kernel damaged in each of the ways.
func eachDamagedPool(t *testing.T, ways [][]string, visit func(d damagedPool)) {
	t.Helper()
	r := rand.New(rand.NewPCG(1, 2))
	pools := kernelPools(t)
	for _, name := range slices.Sorted(maps.Keys(pools)) {
		p := openKernelPool(t, pools[name])
		truth, uses := p.mappings(t), usesOf(t, p)
		for _, kinds := range ways {
			if m, hit := damaged(pools[name], uses, kinds, r); m != nil { // it has such blocks
				visit(damagedPool{fmt.Sprintf("%s without %v (blocks %d)", name, strings.Join(kinds, ", "), hit), truth, m})
			}
		}
	}
}

// rebuilt is what is read of the pool as it is put together again.
func (d damagedPool) rebuilt(t *testing.T, likely bool) tally {
	t.Helper()
	pool := openKernelPool(t, d.m)
	plan, err := RebuildThinPool(volumeOf(d.m), pool.data, rebuildChunk, 0, slices.Sorted(maps.Keys(d.truth)))
	if err != nil {
		t.Fatalf("%s: %v", d.name, err)
	}
	pool.Rebuilt(plan, likely)
	sum, wrong := d.truth.compareTo(pool.leaves)
	if wrong != "" {
		t.Errorf("%s, likely %v: %s", d.name, likely, wrong)
	}
	return sum
}

func TestWhatIsPutTogetherAgainIsRight(t *testing.T) {
	testenv.Long(t)
	eachDamagedPool(t, damageTo, func(d damagedPool) {
		asIs, _ := d.truth.compareTo(openKernelPool(t, d.m).leaves)
		certain, likely := d.rebuilt(t, false), d.rebuilt(t, true)
		t.Logf("%s: %d chunks missing, %d with what is certain, %d with what is likely", d.name, asIs.missing, certain.missing, likely.missing)
		if certain.missing > asIs.missing || likely.missing > certain.missing {
			t.Errorf("%s: more is missing than before", d.name)
		}
	})
}

// repaired is what is read of the pool as thin_repair puts it together again; all is missing if it gives up.
func (d damagedPool) repaired(t *testing.T, dir string) tally {
	t.Helper()
	in, out := filepath.Join(dir, "in"), filepath.Join(dir, "out")
	for path, b := range map[string][]byte{in: d.m, out: make([]byte, len(d.m))} {
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	nothing := func(uint64) (leafFinder, error) { return nil, os.ErrNotExist }
	ctx, stop := context.WithTimeout(t.Context(), 10*time.Second) // of some metadata it finds no end
	defer stop()
	if err := exec.CommandContext(ctx, "thin_repair", "-i", in, "-o", out).Run(); err != nil {
		sum, _ := d.truth.compareTo(nothing)
		return sum
	}
	b, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	pool, err := OpenThinPool(volumeOf(b), Zero(int64(chunksOf(d.m))*rebuildChunk), rebuildChunk)
	if err != nil || pool == nil {
		t.Fatalf("%s: what thin_repair made: %v", d.name, err)
	}
	sum, _ := d.truth.compareTo(pool.leaves)
	return sum
}

// The superblock is lost, and the user names the root that it led to. What was beneath that root is put together too.
func TestWhatWasBeneathANamedRootIsPutTogetherAgain(t *testing.T) {
	testenv.Long(t)
	for _, way := range [][]string{{"level2 root"}, {"level2 inner", "level2 leaf"}, {"level2 root", "level2 root"}, {"level2 root", "metadata index"}} {
		eachDamagedPool(t, [][]string{way}, func(d damagedPool) {
			whole := openKernelPool(t, d.m)
			clear(d.m[:pdata.BlockSize])
			plan, err := RebuildThinPool(volumeOf(d.m), whole.data, rebuildChunk, whole.level1.Root, slices.Sorted(maps.Keys(d.truth)))
			if err != nil {
				t.Fatal(err)
			}
			pool := ThinPoolAt(volumeOf(d.m), whole.data, rebuildChunk, whole.level1.Root)
			asIs, _ := d.truth.compareTo(pool.leaves)
			pool.Rebuilt(plan, true)
			sum, wrong := d.truth.compareTo(pool.leaves)
			if wrong != "" || sum.mapped < asIs.mapped {
				t.Errorf("%s: %v, %s", d.name, sum, wrong)
			}
			t.Logf("%s: mapped, unmapped, wrong, missing: %v; as it is: %v %v", d.name, sum, asIs, plan.Plan().Notes)
			if _, err := RebuildThinPool(volumeOf(d.m), whole.data, rebuildChunk, 0, nil); !errors.Is(err, ErrNoThinRoot) {
				t.Errorf("%s: no root was named, and %v", d.name, err)
			}
		})
	}
}

func TestMoreIsPutTogetherAgainThanByThinRepairAndNothingWrong(t *testing.T) {
	testenv.Long(t)
	testenv.NeedTools(t, "thin_repair")
	dir := t.TempDir()
	if shm, err := os.MkdirTemp("/dev/shm", "lvm2fs"); err == nil { // it flushes often
		defer os.RemoveAll(shm)
		dir = shm
	}
	var ours, certain, theirs tally
	pools, more, less := 0, 0, 0
	eachDamagedPool(t, damageToCompare, func(d damagedPool) {
		if strings.HasPrefix(d.name, "deep") && !strings.Contains(d.name, "inner") {
			return // takes long
		}
		a, b := d.rebuilt(t, true), d.repaired(t, dir)
		t.Logf("%s: mapped, unmapped, wrong, missing: %v; thin_repair: %v", d.name, a, b)
		pools++
		switch {
		case a.mapped > b.mapped:
			more++
		case a.mapped < b.mapped:
			less++
		}
		ours, theirs, certain = ours.plus(a), theirs.plus(b), certain.plus(d.rebuilt(t, false))
	})
	t.Logf("%d pools: mapped, unmapped, wrong, missing: %v, without what is only likely %v; thin_repair: %v. More is right in %d pools, less in %d", pools, ours, certain, theirs, more, less)
	if pools < 30 || ours.wrong > 0 || certain.mapped <= theirs.mapped || less > 0 {
		t.Error("thin_repair makes more of it, or something is wrong")
	}
}
