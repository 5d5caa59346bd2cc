package integration

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"golang.org/x/sys/unix"

	holes "lvm2fs/internal/sparse"
	"lvm2fs/internal/test/testenv"
	"lvm2fs/internal/test/testimages"
)

// sparseSums are sums over where the data of files are, and over the data.
func sparseSums(t *testing.T, paths []string) (sums []string) {
	t.Helper()
	for _, path := range paths {
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		info, err := f.Stat()
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.New()
		for off := int64(0); off < info.Size(); {
			from, to, err := holes.NextData(f, off, info.Size())
			if err != nil { // all of it counts
				from, to = off, info.Size()
			}
			fmt.Fprintln(sum, from, to)
			if _, err := io.Copy(sum, io.NewSectionReader(f, from, to-from)); err != nil {
				t.Fatal(err)
			}
			off = max(to, off+1)
		}
		sums = append(sums, hex.EncodeToString(sum.Sum(nil)))
	}
	return sums
}

// What was synced to an overlay outlives the process behind the mount.
func TestWhatWasSyncedToAnOverlayIsThereAfterTheMountWasKilled(t *testing.T) {
	testenv.Long(t)
	testenv.NeedFUSE(t)
	who := me()
	disks := who.unpack(t, testimages.Load(t, "thin"))
	changes := who.tempDir(t)
	flags := append([]string{"-o", "overlay=" + changes}, disks...)
	d := who.serve(t, flags...)
	f, err := os.OpenFile(filepath.Join(d.dir, "vg_thin/vol_b_ro"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	synced := bytes.Repeat([]byte("synced. "), 100_000)
	if _, err := f.WriteAt(synced, 12345); err != nil {
		t.Fatal(err)
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(bytes.Repeat([]byte("later..."), 1000), 12345); err != nil {
		t.Fatal(err)
	}
	if err := d.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if !d.hasEnded(10 * time.Second) {
		t.Fatal("it does not end")
	}
	f.Close()
	who.must(t, program, "umount", "-l", d.dir)

	dir := who.mount(t, flags...)
	got, err := os.ReadFile(filepath.Join(dir, "vg_thin/vol_b_ro"))
	if err != nil {
		t.Fatal(err)
	}
	if got := got[12345:][:len(synced)]; !bytes.Equal(got, synced) {
		t.Error("what was synced is not there")
	}
}

func TestAnOverlayOnAFullFileSystemSaysSoAndLosesNothing(t *testing.T) {
	testenv.Long(t)
	testenv.NeedRoot(t)
	testenv.NeedFUSE(t)
	who := me()
	disks := who.unpack(t, testimages.Load(t, "thin"))
	changes := who.tempDir(t)
	if err := unix.Mount("tmpfs", changes, "tmpfs", 0, "size=1m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(changes, unix.MNT_DETACH) })
	dir := who.mount(t, append([]string{"-o", "overlay=" + changes}, disks...)...)
	f, err := os.OpenFile(filepath.Join(dir, "vg_thin/vol_a"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	block := bytes.Repeat([]byte("block..."), 4096/8)
	var full int64
	for ; full < 1000; full++ {
		if _, err = f.WriteAt(block, full*4096); err != nil {
			break
		}
	}
	if !errors.Is(err, syscall.ENOSPC) || full < 100 {
		t.Fatalf("after %d blocks: %v", full, err)
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	f.Close()
	who.must(t, program, "umount", dir)
	if err := unix.Mount("tmpfs", changes, "tmpfs", unix.MS_REMOUNT, "size=4m"); err != nil {
		t.Fatal(err)
	}
	dir = who.mount(t, append([]string{"-o", "overlay=" + changes}, disks...)...)
	got, err := os.ReadFile(filepath.Join(dir, "vg_thin/vol_a"))
	if err != nil || !bytes.Equal(got[:full*4096], bytes.Repeat(block, int(full))) {
		t.Errorf("what was written before is not there, %v", err)
	}
}

// Every LV of every image that can be read can be written with an overlay, and the disks stay as they are.
func TestEveryLVThatCanBeReadCanBeWrittenWithAnOverlay(t *testing.T) {
	testenv.Long(t)
	testenv.NeedFUSE(t)
	for _, name := range []string{
		"errzero", "linear-missing", "striped", "thin", "thin-external", "snapshot", "snapshot-merge-half", "vdo", "cache-dirty",
		"writecache-crash", "raid6-degraded2", "raid-stale", "reshape-half", "mirror", "integrity", "md-raid5-degraded", "formats", "part-gpt", "sector4k", "meta-exported",
	} {
		t.Run(name, func(t *testing.T) {
			c := testimages.Load(t, name)
			who := me()
			disks := who.unpack(t, c)
			before := sparseSums(t, disks)
			changes := who.tempDir(t)
			dir := who.mount(t, slices.Concat([]string{"-o", "overlay=" + changes}, who.flags(t, c), disks)...)
			written := 0
			for _, path := range c.Tree() {
				f, err := os.OpenFile(filepath.Join(dir, path), os.O_RDWR, 0)
				if err != nil {
					if readAll(filepath.Join(dir, path)) == nil {
						t.Errorf("%s can be read and not be written: %v", path, err)
					}
					continue
				}
				want := []byte("written at block 3 of " + path + strings.Repeat(".", 4096))[:4096]
				if _, err := f.WriteAt(want, 3*4096); err != nil {
					t.Errorf("%s: %v", path, err)
				}
				got := make([]byte, len(want))
				if _, err := f.ReadAt(got, 3*4096); err != nil || !bytes.Equal(got, want) {
					t.Errorf("%s: not what was written, %v", path, err)
				}
				if err := f.Close(); err != nil {
					t.Error(err)
				}
				written++
			}
			if written == 0 {
				t.Error("nothing could be written")
			}
			who.must(t, program, "umount", dir)
			for i, sum := range sparseSums(t, disks) {
				if sum != before[i] {
					t.Errorf("%s has changed", disks[i])
				}
			}
		})
	}
}

// What is shown as it was is read-only, and can be written with an overlay all the same.
func TestAVGAsItWasCanBeWrittenWithAnOverlay(t *testing.T) {
	testenv.Long(t)
	who := me()
	disks := who.unpack(t, testimages.Load(t, "linear-one"))
	before := sparseSums(t, disks)
	changes, out := who.tempDir(t), who.tempDir(t)
	past := append([]string{"--at", "banana=3"}, disks...)
	want := bytes.Repeat([]byte("new "), 1024)

	dir := who.mount(t, past...)
	if f, err := os.OpenFile(filepath.Join(dir, "banana/chocolate"), os.O_RDWR, 0); err == nil {
		f.Close()
		t.Error("without an overlay it can be opened for writing")
	}
	dir = who.mount(t, append([]string{"-o", "overlay=" + changes}, past...)...)
	f, err := os.OpenFile(filepath.Join(dir, "banana/chocolate"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteAt(want, 12345)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	who.must(t, program, "umount", dir)

	listed, err := jsonschema.UnmarshalJSON(strings.NewReader(who.must(t, program, "overlay", "list", "--json", changes)))
	if err != nil {
		t.Fatal(err)
	}
	schema, err := jsonschema.NewCompiler().Compile("../docs/overlay.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := schema.Validate(listed); err != nil {
		t.Error(err)
	}
	who.must(t, program, append([]string{"dump", "-C", out, "--overlay", changes, "--lv", "banana/chocolate"}, past...)...)
	dumped, err := os.ReadFile(filepath.Join(out, "banana/chocolate"))
	if err != nil || !bytes.Equal(dumped[12345:][:len(want)], want) {
		t.Errorf("the dump has not what was written, %v", err)
	}
	if after := sparseSums(t, disks); !slices.Equal(after, before) {
		t.Error("a disk has changed")
	}
}
