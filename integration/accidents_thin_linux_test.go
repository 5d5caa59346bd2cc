package integration

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"lvm2fs/blockdev"
	"lvm2fs/lvm2"
	"lvm2fs/mapping"
)

// checkThinNodes damages each node of a pool's metadata on a disk, and reads the LVs of the pool: as they are, and as
// they are put together again. Each byte is what it was, or an error.
func checkThinNodes(t *testing.T, disk string) {
	truth := dumpThin(t, disk)
	for lv, d := range truth {
		if len(d.contents) != 20<<20 || len(d.lost) > 0 {
			t.Fatalf("%s cannot be read before anything is damaged", lv)
		}
	}
	more := 0
	for use, at := range thinBlocks(t, disk) {
		image := filepath.Join(t.TempDir(), "disk")
		b, err := os.ReadFile(disk)
		if err != nil {
			t.Fatal(err)
		}
		for i := range 64 {
			b[at+200+int64(i)] ^= 0xff
		}
		if err := os.WriteFile(image, b, 0o600); err != nil {
			t.Fatal(err)
		}
		plain, wrong := dumpThin(t, image).compare(truth)
		if wrong != "" {
			t.Errorf("%s damaged: %s", use, wrong)
		}
		flags := []string{"--thin-rebuild", "thinnodes/pool=likely"}
		rebuilt, wrong := dumpThin(t, image, flags...).compare(truth)
		if wrong != "" {
			t.Errorf("%s damaged, put together again: %s", use, wrong)
		}
		if rebuilt < plain {
			t.Errorf("%s damaged: %d blocks can be read, and %d when it is put together again", use, plain, rebuilt)
		}
		more += rebuilt - plain
		t.Logf("%s: %d blocks can be read, %d when it is put together again", use, plain, rebuilt)
	}
	if more == 0 {
		t.Error("nothing was put together again")
	}
}

// dumped is what could be read of an LV.
type dumped struct {
	contents []byte
	lost     [][2]int64
}

type dumpedLVs map[string]dumped

// dumpThin writes out the LVs of the pool on an image. It notes as lost what cannot be read.
func dumpThin(t *testing.T, image string, flags ...string) dumpedLVs {
	t.Helper()
	all := dumpedLVs{}
	for _, lv := range []string{"keep", "snap"} {
		dir := t.TempDir()
		args := append([]string{"dump", "-C", dir, "--lv", "thinnodes/" + lv}, flags...)
		_, _, code := runProgram(t, append(args, image)...)
		path := filepath.Join(dir, "thinnodes", lv)
		contents, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) {
			contents, err = os.ReadFile(path + ".partial")
			if code == 0 {
				t.Errorf("%v: some is lost, with status 0", args)
			}
		}
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		all[lv] = dumped{contents, lostRanges(t, path+".map")}
	}
	return all
}

// compare counts the blocks that are right, and names one that is wrong.
func (d dumpedLVs) compare(truth dumpedLVs) (right int, wrong string) {
	for lv, want := range truth {
		got := d[lv]
		for off := int64(0); off < int64(len(got.contents)); off += 4096 {
			if inAny(got.lost, off, off+4096) {
				continue
			}
			if !bytes.Equal(got.contents[off:off+4096], want.contents[off:off+4096]) {
				return right, fmt.Sprintf("byte %d of %s is wrong", off, lv)
			}
			right++
		}
	}
	return right, wrong
}

// thinBlocks are the bytes of the disk at which blocks of the pool's metadata begin: one block of each use, and each
// leaf of mappings.
func thinBlocks(t *testing.T, disk string) map[string]int64 {
	t.Helper()
	dev, err := blockdev.Open(disk, blockdev.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer dev.Close()
	scan := lvm2.Open([]lvm2.Device{dev}, lvm2.Options{})
	v, err := scan.VGs[0].LV("pool_tmeta").Open()
	if err != nil {
		t.Fatal(err)
	}
	w := thinWalk{t, v, map[string]int64{}}
	le := binary.LittleEndian
	super := w.block("superblock", 0)
	w.tree("details", le.Uint64(super[328:]), nil)
	w.tree("level 1", le.Uint64(super[320:]), func(device, root uint64) { w.tree(fmt.Sprintf("mappings of device %d", device), root, nil) })
	w.tree("data index", le.Uint64(super[80:]), nil)
	w.tree("data counts", le.Uint64(super[88:]), nil)
	w.block("metadata index", le.Uint64(super[208:]))
	w.tree("metadata counts", le.Uint64(super[216:]), nil)
	return w.found
}

type thinWalk struct {
	t     *testing.T
	v     mapping.Volume
	found map[string]int64
}

// block reads a block and notes where it is.
func (w *thinWalk) block(use string, number uint64) []byte {
	w.t.Helper()
	b := make([]byte, 4096)
	_, err := w.v.ReadAt(b, int64(number)*4096)
	e, mapErr := w.v.Map(int64(number)*4096, 4096)
	if err := errors.Join(err, mapErr); err != nil || e.Length < 4096 {
		w.t.Fatal(err, e)
	}
	w.found[fmt.Sprintf("%s, block %d", use, number)] = e.Offset
	return b
}

// tree visits the leaves of a tree whose values have 8 bytes. A tree with other values has no node but its root.
func (w *thinWalk) tree(use string, number uint64, visit func(key, value uint64)) {
	le := binary.LittleEndian
	b := w.block(use, number)
	inner := le.Uint32(b[4:]) == 1
	for i := range int(le.Uint32(b[16:])) {
		key, value := le.Uint64(b[32+8*i:]), le.Uint64(b[32+8*int(le.Uint32(b[20:]))+8*i:])
		switch {
		case inner:
			w.tree(use, value, visit)
		case visit != nil:
			visit(key, value)
		}
	}
}
