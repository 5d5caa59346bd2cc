package vdisk

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"

	"lvm2fs/blockdev"
	"lvm2fs/internal/test/testenv"
	"lvm2fs/mapping"
)

// made are images that QEMU makes, empty or with something in them.
var made = []string{
	"vpc force_size=on",
	"vpc subformat=fixed,force_size=on",
	"vmdk",
	"vmdk zeroed_grain=on",
	"vdi",
	"vdi static=on",
	"vhdx block_size=1M",
	"vhdx subformat=fixed,block_size=1M",
	"qcow2",
	"qcow2 compat=0.10",
	"qcow2 cluster_size=512",
	"qcow2 cluster_size=2M",
	"qcow2 cluster_size=4k,refcount_bits=1",
	"qcow2 cluster_size=1k,refcount_bits=64,lazy_refcounts=on",
	"qcow2 preallocation=metadata",
}

// qemuFormat is what QEMU calls it.
func qemuFormat(kind string) string { return strings.Fields(kind)[0] }

// make has QEMU make an image of 4 MiB, perhaps with something in it.
func (w workshop) make(name, kind string, full bool) {
	w.Helper()
	format, options, _ := strings.Cut(kind, " ")
	args := []string{"create", "-q", "-f", format}
	if options != "" {
		args = append(args, "-o", options)
	}
	w.img(append(args, name, "4M")...)
	if full {
		w.io(name, "write -P 1 0 100k", "write -P 2 1M 300k", "write -z 1100k 200k", "write -P 7 4000k 96k")
	}
}

func (w workshop) bytes(name string) []byte {
	w.Helper()
	b, err := os.ReadFile(w.path(name))
	if err != nil {
		w.Fatal(err)
	}
	return b
}

// check has QEMU check an image, where it knows how to.
func (w workshop) check(name, kind string) {
	w.Helper()
	switch qemuFormat(kind) {
	case "qcow2", "vdi", "vmdk", "vhdx":
		w.img("check", "-q", "-f", qemuFormat(kind), name)
	}
}

func TestRandomWritesAreWhatQEMUReads(t *testing.T) {
	testenv.Long(t)
	for _, kind := range made {
		for _, full := range []bool{false, true} {
			name := kind
			if full {
				name += ", with something in it"
			}
			t.Run(name, func(t *testing.T) {
				w := newWorkshop(t)
				w.make("image", kind, full)
				for range 2 {
					m := w.open("image").(*writable)
					disk := w.truth("image", "-f", qemuFormat(kind))
					for range 2 {
						claim(t, m)
						for range 1 + 2000/len(made) {
							changeOne(t, m, disk)
							if rand.IntN(40) == 0 {
								if err := m.Sync(); err != nil {
									t.Fatal(err)
								}
							}
							if rand.IntN(10) == 0 {
								off := rand.IntN(len(disk))
								p := make([]byte, min(1+rand.IntN(100_000), len(disk)-off))
								if _, err := m.ReadAt(p, int64(off)); err != nil || !bytes.Equal(p, disk[off:off+len(p)]) {
									t.Fatalf("%d bytes at %d: %v", len(p), off, err)
								}
							}
						}
						checkMap(t, m, disk)
						release(t, m)
						w.check("image", kind)
						if got := w.truth("image", "-f", qemuFormat(kind)); !bytes.Equal(got, disk) {
							t.Fatalf("QEMU reads something else at byte %d", differs(got, disk))
						}
					}
					// QEMU goes on, and so do we.
					w.io("image", "write -P 9 300k 200k", "write -z 2M 64k", "write -P 8 3000k 1k", "discard 1M 128k")
				}
				checkImage(t, w.open("image"), w.truth("image", "-f", qemuFormat(kind)))
			})
		}
	}
}

// judgedStates is how many of the states that power cuts leave QEMU judges, for an image of each kind.
// LVM2FS_CUT_STATES sets another number.
func judgedStates() int {
	if n, err := strconv.Atoi(os.Getenv("LVM2FS_CUT_STATES")); err == nil {
		return n
	}
	return 8
}

func TestAPowerCutWhileAnImageIsWritten(t *testing.T) {
	testenv.Long(t)
	states := judgedStates()
	for _, kind := range made {
		t.Run(kind, func(t *testing.T) {
			for judged := 0; judged < states; {
				w := newWorkshop(t)
				w.make("image", kind, rand.IntN(3) > 0)
				cutEverywhere(t, w.bytes("image"), Options{}, 30, func(n int, after, disk []byte) {
					if judged >= states || states < 200 && n%20 != 0 {
						return
					}
					judged++
					w.write("after", after)
					w.checkLeaks("after", kind)
					if got := w.truth("after", "-f", qemuFormat(kind)); !bytes.Equal(got, disk) {
						t.Fatalf("QEMU reads something else at byte %d", differs(got, disk))
					}
					// QEMU takes it for zeros what lies behind the last block of a VHD, where a cut leaves data that nothing leads to.
					if n%10 == 0 && qemuFormat(kind) != "vpc" {
						w.io("after", "write -P 9 300k 200k", "write -P 8 3000k 1k")
						w.checkLeaks("after", kind)
						copy(disk[300<<10:], bytes.Repeat([]byte{9}, 200<<10))
						copy(disk[3000<<10:], bytes.Repeat([]byte{8}, 1<<10))
						if got := w.truth("after", "-f", qemuFormat(kind)); !bytes.Equal(got, disk) {
							t.Fatalf("QEMU went on, and reads something else at byte %d", differs(got, disk))
						}
					}
				})
			}
		})
	}
}

// checkLeaks has QEMU check an image in which some space may be lost.
func (w workshop) checkLeaks(name, kind string) {
	w.Helper()
	args := []string{"check", "-f", qemuFormat(kind)}
	switch qemuFormat(kind) {
	case "qcow2", "vdi", "vmdk":
	case "vhdx":
		args = append(args, "-r", "all") // it replays the log only then
	default:
		return
	}
	out, err := w.try("qemu-img", append(args, w.path(name))...)
	if err != nil && !strings.Contains(out, "leaked clusters") || strings.Contains(out, "ERROR") {
		w.Fatalf("%v\n%s", err, out)
	}
}

// After a write that fails, each byte it was about is as it was or as it should become, and all others are as they
// were. The same holds for what follows.
func TestAWriteThatFailsHarmsNothingElseOfAnImage(t *testing.T) {
	testenv.Long(t)
	for _, kind := range made {
		for _, always := range []bool{false, true} {
			t.Run(kind, func(t *testing.T) {
				w := newWorkshop(t)
				w.make("image", kind, true)
				image := w.bytes("image")
				for after := 0; after < 300; after += 1 + after/4 {
					f := newCutFile(image)
					m := openCut(t, f, Options{})
					disk := readAll(t, m)
					claim(t, m)
					f.fail, f.always = after, always
					may := [][]byte{bytes.Clone(disk)} // since the last flush that succeeded
					failed := false
					for range 12 {
						off := rand.Int64N(int64(len(disk)) - 70_000)
						p := bytes.Repeat([]byte{byte(rand.IntN(256))}, 1+rand.IntN(70_000))
						next := bytes.Clone(disk)
						copy(next[off:], p)
						_, err := m.WriteAt(p, off)
						failed = failed || err != nil
						disk = next
						may = append(may, next)
						if err == nil && rand.IntN(4) > 0 {
							continue
						}
						got := readAll(t, m)
						if i := notOf(may, got); i >= 0 {
							t.Fatalf("after %d: byte %d", after, i)
						}
						if err != nil {
							disk = got
							may = append(may, got)
						} else if !bytes.Equal(got, disk) {
							t.Fatal("what was written is not read")
						}
						if rand.IntN(3) == 0 {
							if err := m.Sync(); err != nil {
								failed = true
							} else {
								may = [][]byte{bytes.Clone(disk)}
							}
						}
					}
					err := m.Release()
					failed = failed || err != nil
					f.fail = -1
					got := readAll(t, openCut(t, newCutFile(f.data), Options{}))
					if i := notOf(may, got); i >= 0 {
						t.Fatalf("after %d, read again: byte %d", after, i)
					}
					if err == nil && !bytes.Equal(got, disk) {
						t.Fatalf("after %d: what was released without an error is not there", after)
					}
					if !failed {
						break
					}
				}
			})
		}
	}
}

// notOf is the first byte that is in none of the disks; negative if all are.
func notOf(may [][]byte, got []byte) int {
	for i := 0; i < len(got); i++ {
		if i%sectorSize == 0 && i+sectorSize <= len(got) && bytes.Equal(got[i:i+sectorSize], may[len(may)-1][i:i+sectorSize]) {
			i += sectorSize - 1
			continue
		}
		ok := false
		for j := len(may) - 1; j >= 0 && !ok; j-- {
			ok = may[j][i] == got[i]
		}
		if !ok {
			return i
		}
	}
	return -1
}

func TestAnImageIsWrittenInOneWayAtATime(t *testing.T) {
	f := newCutFile(sampleVMDK())
	a, b := openCut(t, f, Options{}), openCut(t, f, Options{})
	claim(t, a)
	claim(t, a)
	if err := b.Claim(); !errors.Is(err, ErrInUse) || !errors.Is(err, mapping.ErrInUse) {
		t.Fatal(err)
	}
	release(t, a)
	if err := b.Claim(); !errors.Is(err, ErrInUse) {
		t.Fatal(err)
	}
	if _, err := a.WriteAt([]byte("new"), 1<<20); err != nil {
		t.Fatal(err)
	}
	release(t, a)
	if _, err := a.WriteAt([]byte("new"), 1<<20); !errors.Is(err, ErrNotClaimed) {
		t.Fatal(err)
	}
	// Its content ID is another one now.
	if err := b.Claim(); !errors.Is(err, ErrChanged) || !errors.Is(err, mapping.ErrChanged) {
		t.Fatal(err)
	}
	if f.claims != 0 {
		t.Fatal(f.claims, "claims are left")
	}
	c := openCut(t, f, Options{})
	claim(t, c)
	p := make([]byte, 3)
	if _, err := c.ReadAt(p, 1<<20); err != nil || string(p) != "new" {
		t.Fatalf("%q, %v", p, err)
	}
	release(t, c)
}

func TestAnImageThatCannotGrowIsWrittenWhereItIs(t *testing.T) {
	for name, b := range samples() {
		if name == "qcow2" { // it has no reference counts
			continue
		}
		f := newCutFile(b)
		f.fixed = true
		m := openCut(t, f, Options{})
		claim(t, m)
		if _, err := m.WriteAt([]byte("new"), 100); err != nil {
			t.Error(name, err)
		}
		if _, err := m.WriteAt([]byte("new"), 2<<20); !errors.Is(err, ErrNoSpace) || !mapping.NoSpace(err) {
			t.Errorf("%s: %v; want ErrNoSpace", name, err)
		}
		if err := m.Release(); err != nil {
			t.Error(name, err)
		}
	}
}

func TestWhatIsOnlyReadSaysWhy(t *testing.T) {
	w := newWorkshop(t)
	w.write("raw", disk(1<<20, 1))
	for kind, why := range map[string]string{
		"vmdk subformat=streamOptimized": "streamOptimized",
	} {
		format, options, _ := strings.Cut(kind, " ")
		args := []string{"convert", "-f", "raw", "-O", format}
		if options != "" {
			args = append(args, "-o", options)
		}
		w.img(append(args, "raw", "image")...)
		m := w.open("image")
		if err := mapping.Unwritable(m); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%s: %v", kind, err)
		}
		if err := m.(mapping.WritableDevice).Claim(); !errors.Is(err, mapping.ErrNotWritable) {
			t.Errorf("%s: %v", kind, err)
		}
	}
}

func TestDisksInSeveralFilesAreWritten(t *testing.T) {
	for _, kind := range []string{"vmdk subformat=monolithicFlat", "vmdk subformat=twoGbMaxExtentSparse", "vmdk subformat=twoGbMaxExtentFlat"} {
		w := newWorkshop(t)
		w.make("image.vmdk", kind, true)
		m := w.open("image.vmdk").(*writable)
		disk := readAll(t, m)
		before, err := contentID(m.dev)
		if err != nil {
			t.Fatal(err)
		}
		claim(t, m)
		for range 200 {
			changeOne(t, m, disk)
		}
		release(t, m)
		if after, err := contentID(m.dev); err != nil || after == before {
			t.Error("the content ID has stayed", before, after, err)
		}
		if got := w.truth("image.vmdk"); !bytes.Equal(got, disk) {
			t.Errorf("%s: QEMU reads something else", kind)
		}
	}
}

func TestTheFileOfAnImageIsClaimed(t *testing.T) {
	w := newWorkshop(t)
	w.make("image", "vmdk", true)
	m := w.open("image").(*writable)
	claim(t, m)
	other, err := w.tryOpen("image", Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := other.(*writable).Claim(); !errors.Is(err, blockdev.ErrBusy) {
		t.Fatal(err)
	}
	if out, err := w.try("qemu-io", "-c", "write 0 512", w.path("image")); err == nil {
		t.Fatal("QEMU wrote to it:", out)
	}
	if !m.Current() {
		t.Error("changed")
	}
	if _, err := m.WriteAt(make([]byte, 4096), 3<<20); err != nil {
		t.Fatal(err)
	}
	release(t, m)
	if !m.Current() {
		t.Error("its own changes are foreign to it")
	}
}
