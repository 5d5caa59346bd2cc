package dm

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"testing"

	"lvm2fs/internal/test/testenv"
	"lvm2fs/mapping"
)

const testChunk = 4096

// newStore makes a COW store of the given chunks with exceptions, in their order.
func newStore(chunks int, exceptions []redirection) memory {
	m := random(chunks * testChunk)
	le := binary.LittleEndian
	clear(m[:testChunk])
	for i, v := range []uint32{storeMagic, 1, storeVersion, testChunk / 512} {
		le.PutUint32(m[4*i:], v)
	}
	const perArea = testChunk / exceptionSize
	for area := 0; area*perArea <= len(exceptions); area++ {
		at := (1 + area*(perArea+1)) * testChunk
		clear(m[at : at+testChunk])
		for i, e := range exceptions[area*perArea : min(len(exceptions), (area+1)*perArea)] {
			le.PutUint64(m[at+16*i:], e.origin)
			le.PutUint64(m[at+16*i+8:], e.store)
		}
	}
	return m
}

func readSnapshot(origin mapping.Volume, store *ExceptionStore, size int64) *Snapshot {
	return NewSnapshots(origin).Add("snapshot", store, size)
}

func openStore(t *testing.T, m memory) *ExceptionStore {
	t.Helper()
	s, err := OpenExceptionStore(volumeOf(m), testChunk)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestASnapshotReadsExceptionsFromTheStoreAndTheRestFromTheOrigin(t *testing.T) {
	testenv.Long(t)
	for _, count := range []int{0, 1, 255, 256, 257, 600} {
		const originChunks = 700
		origin := random(originChunks*testChunk - 1000)
		var exceptions []redirection
		next := uint64(2)
		for _, old := range rand.Perm(originChunks)[:count] {
			if next%257 == 1 {
				next++
			}
			exceptions = append(exceptions, redirection{uint64(old), next})
			next += uint64(rand.IntN(2)) + 1
		}
		if count == 600 { // runs of chunks in order too
			exceptions = exceptions[:200]
			for i := range exceptions {
				exceptions[i].origin = uint64(i)
			}
		}
		store := newStore(int(next)+600, exceptions)
		want := append([]byte(nil), origin...)
		for _, e := range exceptions {
			if at := e.origin * testChunk; at < uint64(len(want)) {
				copy(want[at:min(at+testChunk, uint64(len(want)))], store[e.store*testChunk:])
			}
		}
		checkVolume(t, readSnapshot(volumeOf(origin), openStore(t, store), origin.Size()), want, never)
		checkVolume(t, Merging(volumeOf(origin), openStore(t, store)), want, never)
	}
}

func TestASnapshotNeverActivatedIsItsOrigin(t *testing.T) {
	origin := random(20000)
	store := random(10 * testChunk)
	clear(store[:testChunk])
	checkVolume(t, readSnapshot(volumeOf(origin), openStore(t, store), origin.Size()), origin, never)
}

func TestAStoreWhoseHeaderWasLostIsNotOneThatWasNeverActivated(t *testing.T) {
	refused := func(why string, store memory) {
		t.Helper()
		if _, err := OpenExceptionStore(volumeOf(store), testChunk); !errors.Is(err, ErrExceptions) {
			t.Errorf("%s: %v", why, err)
		}
	}
	store := newStore(10, []redirection{{3, 2}, {0, 3}})
	clear(store[:4])
	refused("the rest of the header is there", store)
	clear(store[:testChunk])
	refused("a table", store)
	clear(store[testChunk:][:testChunk])
	openStore(t, store)
}

func TestAnOriginThatIsTooShortIsNotFilledUp(t *testing.T) {
	origin := random(3 * testChunk)
	store := newStore(10, []redirection{{4, 2}})
	want := make([]byte, 5*testChunk)
	copy(want, origin)
	copy(want[4*testChunk:], store[2*testChunk:3*testChunk])
	checkVolume(t, readSnapshot(volumeOf(origin), openStore(t, store), 5*testChunk), want, func(i int) bool { return i/testChunk == 3 })
}

func TestAStoreThatMakesNoSenseIsRefused(t *testing.T) {
	set32 := func(at int, v uint32) func(memory) {
		return func(m memory) { binary.LittleEndian.PutUint32(m[at:], v) }
	}
	set64 := func(at int, v uint64) func(memory) {
		return func(m memory) { binary.LittleEndian.PutUint64(m[at:], v) }
	}
	for name, change := range map[string]func(memory){
		"magic":                      set32(0, 1),
		"valid":                      set32(4, 2),
		"version":                    set32(8, 2),
		"no chunk size":              set32(12, 0),
		"chunk size no power of two": set32(12, 24),
		"chunk size beyond store":    set32(12, 1<<15),
		"new chunk beyond store":     set64(testChunk+8, 10),
		"new chunk is an area":       set64(testChunk+8, 1),
		"old chunk out of range":     set64(testChunk, 1<<60),
		"same old chunk twice":       set64(testChunk+16, 7),
		"no end": func(m memory) {
			for i := range 256 {
				set64(testChunk+16*i, uint64(i))(m)
				set64(testChunk+16*i+8, 2)(m)
			}
		},
	} {
		m := newStore(10, []redirection{{7, 2}, {8, 3}})
		change(m)
		s, err := OpenExceptionStore(volumeOf(m), testChunk)
		if err == nil {
			_, err = readSnapshot(Zero(testChunk), s, testChunk).ReadAt(make([]byte, 1), 0)
		}
		if !errors.Is(err, ErrExceptions) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAnInvalidatedStoreSaysSo(t *testing.T) {
	m := newStore(10, nil)
	m[4] = 0
	if openStore(t, m).Valid() {
		t.Error("valid")
	}
}

func FuzzExceptionStore(f *testing.F) {
	f.Add([]byte(newStore(10, []redirection{{7, 2}, {8, 3}})))
	f.Fuzz(func(t *testing.T, b []byte) {
		m := memory(b)
		s, err := OpenExceptionStore(volumeOf(m), testChunk)
		if err != nil {
			return
		}
		v := readSnapshot(Zero(1<<20), s, 1<<20)
		_ = mapping.Walk(v, 0, v.Size(), func(int64, mapping.Extent) error { return nil })
		_, _ = v.ReadAt(make([]byte, 1<<20), 0)
	})
}
