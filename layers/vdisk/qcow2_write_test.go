package vdisk

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"

	"lvm2fs/internal/test/testenv"
	"lvm2fs/mapping"
)

// An image has two snapshots inside. Neither changes by writes, holes or power cuts.
func TestSnapshotsInsideOfAnImageKeepTheirBytes(t *testing.T) {
	testenv.Long(t)
	for _, options := range []string{"", "compat=0.10", "cluster_size=512", "cluster_size=4k,refcount_bits=8"} {
		t.Run(options, func(t *testing.T) {
			w := newWorkshop(t)
			w.make("image", strings.TrimSpace("qcow2 "+options), true)
			w.img("snapshot", "-c", "one", "image")
			w.io("image", "write -P 5 50k 200k", "write -P 6 3M 100k", "discard 3M 64k")
			w.img("snapshot", "-c", "two", "image")
			w.io("image", "write -P 7 150k 10k")
			read := func(b []byte, name string) []byte {
				m, err := Open(&memory{data: b}, Options{Snapshot: name})
				if err != nil {
					t.Fatal(err)
				}
				return readAll(t, m)
			}
			image := w.bytes("image")
			one, two := read(image, "one"), read(image, "two")
			m := w.open("image").(*writable)
			disk := readAll(t, m)
			claim(t, m)
			for range 400 {
				changeOne(t, m, disk)
				if rand.IntN(50) == 0 {
					if err := m.Sync(); err != nil {
						t.Fatal(err)
					}
				}
			}
			release(t, m)
			w.check("image", "qcow2")
			if got := w.truth("image"); !bytes.Equal(got, disk) {
				t.Fatal("QEMU reads something else at byte", differs(got, disk))
			}
			same := func(b []byte) {
				t.Helper()
				if !bytes.Equal(read(b, "one"), one) || !bytes.Equal(read(b, "two"), two) {
					t.Fatal("a snapshot has changed")
				}
			}
			same(w.bytes("image"))
			// QEMU goes back, gives a snapshot up, and goes on. Nothing may be shared that should not be.
			w.img("snapshot", "-d", "one", "image")
			w.io("image", "write -P 8 1M 1M")
			w.img("snapshot", "-a", "two", "image")
			w.check("image", "qcow2")
			if got := w.truth("image"); !bytes.Equal(got, two) {
				t.Fatal("the snapshot is another one")
			}
			cutEverywhere(t, image, Options{}, 15, func(n int, after, _ []byte) {
				same(after)
				if n%40 == 0 {
					w.write("after", after)
					w.checkLeaks("after", "qcow2")
				}
			})
		})
	}
}

func TestCompressedClustersAreWrittenElsewhere(t *testing.T) {
	testenv.Long(t)
	for _, options := range []string{"compression_type=zlib", "compression_type=zstd,cluster_size=16k"} {
		w := newWorkshop(t)
		disk := disk(3<<20+512, 5)
		w.write("raw", disk)
		w.img("convert", "-c", "-f", "raw", "-O", "qcow2", "-o", options, "raw", "image")
		image := w.bytes("image")
		m := w.open("image").(*writable)
		claim(t, m)
		for range 400 {
			changeOne(t, m, disk)
		}
		release(t, m)
		w.check("image", "qcow2")
		if got := w.truth("image"); !bytes.Equal(got, disk) {
			t.Fatal("QEMU reads something else at byte", differs(got, disk))
		}
		cutEverywhere(t, image, Options{}, 15, func(n int, after, _ []byte) {
			if n%40 == 0 {
				w.write("after", after)
				w.checkLeaks("after", "qcow2")
			}
		})
	}
}

func TestOnlyTheTopOfAChainOfQcow2IsWritten(t *testing.T) {
	testenv.Long(t)
	for _, options := range []string{"compat=1.1", "compat=0.10", "cluster_size=2k"} {
		w := newWorkshop(t)
		w.make("base", "qcow2", true)
		w.img("create", "-q", "-f", "qcow2", "-b", "base", "-F", "qcow2", "-o", options, "top")
		w.io("top", "write -P 3 60k 3k", "write -z 1M 100k")
		before := w.bytes("base")
		m := w.open("top").(*writable)
		disk := w.truth("top")
		claim(t, m)
		for range 400 {
			changeOne(t, m, disk)
		}
		release(t, m)
		w.check("top", "qcow2")
		if got := w.truth("top"); !bytes.Equal(got, disk) {
			t.Fatalf("%s: QEMU reads something else at byte %d", options, differs(got, disk))
		}
		if !bytes.Equal(w.bytes("base"), before) {
			t.Fatal("the base was written")
		}
		w.img("commit", "-q", "top")
		if got := w.truth("base"); !bytes.Equal(got, disk) {
			t.Fatal("QEMU commits something else")
		}
	}
}

// The table of reference counts of this image has room for 8 MiB.
func TestTheTableOfReferenceCountsGrows(t *testing.T) {
	testenv.Long(t)
	w := newWorkshop(t)
	w.img("create", "-q", "-f", "qcow2", "-o", "cluster_size=512", "image", "24M")
	m := w.open("image").(*writable)
	before := m.layout.(*qcow2).countClusters
	disk := disk(24<<20, 7)
	claim(t, m)
	for off := 0; off < len(disk); off += 1 << 20 {
		if _, err := m.WriteAt(disk[off:off+1<<20], int64(off)); err != nil {
			t.Fatal(err)
		}
	}
	release(t, m)
	if m.layout.(*qcow2).countClusters == before {
		t.Error("it has not grown")
	}
	w.check("image", "qcow2")
	if got := w.truth("image"); !bytes.Equal(got, disk) {
		t.Fatal("QEMU reads something else at byte", differs(got, disk))
	}
}

// The power is cut while that table grows. The image is made so that little is missing until then.
func TestAPowerCutWhileTheTableOfReferenceCountsGrows(t *testing.T) {
	testenv.Long(t)
	w := newWorkshop(t)
	w.img("create", "-q", "-f", "qcow2", "-o", "cluster_size=512", "image", "12M")
	m := w.open("image").(*writable)
	q := m.layout.(*qcow2)
	claim(t, m)
	for off := int64(0); q.tables.end>>q.bits < q.countEntries()*q.perBlock()-600; off += 64 << 10 {
		if _, err := m.WriteAt(bytes.Repeat([]byte{3}, 64<<10), off); err != nil {
			t.Fatal(err)
		}
	}
	release(t, m)
	grew := false
	for range 3 {
		f := newCutFile(w.bytes("image"))
		m := openCut(t, f, Options{})
		before := m.layout.(*qcow2).countClusters
		disk := readAll(t, m)
		claim(t, m)
		p := bytes.Repeat([]byte{4}, 700<<10)
		at := int64(len(disk) - len(p))
		if _, err := m.WriteAt(p, at); err != nil {
			t.Fatal(err)
		}
		release(t, m)
		grew = grew || m.layout.(*qcow2).countClusters > before
		for n := len(f.steps); n >= 0; n-- {
			if near := f.steps[max(0, n-2):min(n+2, len(f.steps))]; n < len(f.steps) && rand.IntN(40) > 0 && !hasFlush(near) {
				continue
			}
			after := f.cut(n)
			got := readAll(t, openCut(t, newCutFile(after), Options{}))
			for i := range got {
				if got[i] != disk[i] && (int64(i) < at || got[i] != 4) {
					t.Fatalf("cut at %d: byte %d", n, i)
				}
			}
			if n == len(f.steps) || rand.IntN(8) == 0 {
				w.write("after", after)
				w.checkLeaks("after", "qcow2")
			}
		}
	}
	if !grew {
		t.Error("it has not grown")
	}
}

func hasFlush(steps []step) bool {
	for _, s := range steps {
		if s.data == nil && s.size == 0 {
			return true
		}
	}
	return false
}

func TestAQcow2ThatIsOnlyReadSaysWhy(t *testing.T) {
	w := newWorkshop(t)
	for kind, why := range map[string]string{
		"extended_l2=on":     "extended L2 entries",
		"data_file=external": "data are in another file",
	} {
		w.make("image", "qcow2 "+kind, false)
		if err := mapping.Unwritable(w.open("image")); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%s: %v", kind, err)
		}
	}
	w.make("bitmaps", "qcow2", true)
	w.img("bitmap", "--add", "bitmaps", "changes")
	if err := mapping.Unwritable(w.open("bitmaps")); err == nil || !strings.Contains(err.Error(), "bitmaps") {
		t.Error(err)
	}
	w.img("bitmap", "--remove", "bitmaps", "changes")
	if err := mapping.Unwritable(w.open("bitmaps")); err != nil {
		t.Error(err)
	}
	w.img("snapshot", "-c", "one", "bitmaps")
	m, err := w.tryOpen("bitmaps", Options{Snapshot: "one"})
	if err != nil {
		t.Fatal(err)
	}
	if err := mapping.Unwritable(m); err == nil || !strings.Contains(err.Error(), "snapshot") {
		t.Error(err)
	}
	b := w.bytes("bitmaps")
	b[qcowIncompatible+7] |= qcowDirty
	m, err = Open(newCutFile(b), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := m.(*writable).Claim(); !errors.Is(err, mapping.ErrNotWritable) || !strings.Contains(err.Error(), "dirty") {
		t.Error(err)
	}
}

func TestFeaturesThatAWriteWouldMakeWrongAreTakenBack(t *testing.T) {
	w := newWorkshop(t)
	w.make("image", "qcow2", true)
	b := w.bytes("image")
	b[qcowAutoclear] = 0x80 // nobody knows it
	f := newCutFile(b)
	m := openCut(t, f, Options{})
	claim(t, m)
	if f.data[qcowAutoclear] == 0 {
		t.Error("taken back, although nothing was written")
	}
	if _, err := m.WriteAt([]byte("new"), 0); err != nil {
		t.Fatal(err)
	}
	if f.data[qcowAutoclear] != 0 || f.steps[0].off != 0 || f.steps[1].data != nil {
		t.Error("not taken back before the first write")
	}
	release(t, m)
	claim(t, m)
	release(t, m)
}

// The marks in entries are compared with the counts. A cluster that two entries lead to is not written.
func TestClustersWhoseCountsAreWrongAreNotWritten(t *testing.T) {
	w := newWorkshop(t)
	w.make("image", "qcow2", true)
	b := w.bytes("image")
	m := openCut(t, newCutFile(b), Options{})
	q := m.layout.(*qcow2)
	e, err := q.entry(0)
	if err != nil {
		t.Fatal(err)
	}
	at, _, err := q.countPlace(int64(e.word&qcowOffsetMask) >> q.bits)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []uint16{0, 2} {
		binary.BigEndian.PutUint16(b[at:], n)
		m := openCut(t, newCutFile(b), Options{})
		claim(t, m)
		if _, err := m.WriteAt([]byte("new"), 0); !errors.Is(err, ErrDamaged) {
			t.Error(n, err)
		}
		if _, err := m.WriteAt([]byte("new"), 2<<20); err != nil {
			t.Error(n, err)
		}
		release(t, m)
	}
}

// An image on a device, which has an end of its own.
func TestAQcow2OnADeviceIsWrittenUpToItsEnd(t *testing.T) {
	w := newWorkshop(t)
	w.make("image", "qcow2", true)
	image := w.bytes("image")
	size := int64(len(image)) + 5<<17
	device := append(image, bytes.Repeat([]byte{0xee}, int(size)-len(image))...)
	f := newCutFile(device)
	f.fixed = true
	m := openCut(t, f, Options{})
	disk := readAll(t, m)
	claim(t, m)
	full := false
	for off := int64(2 << 20); off < 4<<20 && !full; off += 100_000 {
		_, err := m.WriteAt([]byte("something new"), off)
		full = err != nil
		if full && !errors.Is(err, ErrNoSpace) {
			t.Fatal(err)
		}
		if !full {
			copy(disk[off:], "something new")
		}
	}
	release(t, m)
	if !full {
		t.Error("it was never full")
	}
	checkImage(t, openCut(t, newCutFile(f.data), Options{}), disk)
	w.write("after", f.data)
	w.checkLeaks("after", "qcow2")
}
