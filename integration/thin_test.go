package integration

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"lvm2fs/blockdev"
	"lvm2fs/internal/test/testenv"
	"lvm2fs/internal/test/testpv"
	"lvm2fs/lvm2"
	"lvm2fs/mapping"
)

// thinDump is what thin_dump prints and thin_restore reads, as far as it says where data lie.
type thinDump struct {
	Devices []thinDevice `xml:"device"`
}

type thinDevice struct {
	ID     uint64      `xml:"dev_id,attr"`
	Ranges []thinRange `xml:"range_mapping"`
	Single []thinRange `xml:"single_mapping"`
}

type thinRange struct {
	Origin uint64 `xml:"origin_begin,attr"`
	Block  uint64 `xml:"origin_block,attr"`
	Data   uint64 `xml:"data_begin,attr"`
	At     uint64 `xml:"data_block,attr"`
	Length uint64 `xml:"length,attr"`
}

// restoreThin is what thin_restore makes of a pool: so many bytes of metadata.
func restoreThin(t *testing.T, bytes, dataChunks int, devices ...[]testpv.ThinMapping) []byte {
	t.Helper()
	testenv.NeedTools(t, "thin_restore")
	dir := t.TempDir()
	source, metadata := filepath.Join(dir, "pool.xml"), filepath.Join(dir, "pool.meta")
	f, err := os.Create(source)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(testpv.WriteThinXML(f, dataChunks, devices...), f.Close()); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(metadata, make([]byte, bytes), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("thin_restore", "-i", source, "-o", metadata).CombinedOutput(); err != nil {
		t.Fatalf("thin_restore: %v: %s", err, out)
	}
	restored, err := os.ReadFile(metadata)
	if err != nil {
		t.Fatal(err)
	}
	return restored
}

// Container engines make thin devices in a pool that no LV stands for.
func TestAMountOfAllShowsThinDevicesWithoutAnLV(t *testing.T) {
	const chunks = 16
	meta := restoreThin(t, 4<<20, chunks, []testpv.ThinMapping{{Chunk: 0, Data: 3}}, []testpv.ThinMapping{{Chunk: 0, Data: 5}, {Chunk: 2, Data: 1}})
	disk := filepath.Join(me().tempDir(t), "disk.img")
	dataStart, err := testpv.WriteThinDisk(disk, meta, chunks, 4)
	if err != nil {
		t.Fatal(err)
	}
	data := make([]byte, chunks*testpv.ThinChunk)
	for i := range data {
		data[i] = byte(1 + i/testpv.ThinChunk)
	}
	f, err := os.OpenFile(disk, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(data, dataStart); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}

	if _, err := os.Stat(filepath.Join(me().mount(t, "-r", disk), "vg/pool#2")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without -a: %v", err)
	}
	got, err := os.ReadFile(filepath.Join(me().mount(t, "-r", "-a", disk), "vg/pool#2"))
	chunk := func(b byte) []byte { return bytes.Repeat([]byte{b}, testpv.ThinChunk) }
	if want := slices.Concat(chunk(6), chunk(0), chunk(2)); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

// TestAPoolWithAMillionMappingsReadsAsThinDumpSays compares every mapping with what thin_dump, another
// reader, makes of the same metadata.
func TestAPoolWithAMillionMappingsReadsAsThinDumpSays(t *testing.T) {
	testenv.Long(t)
	testenv.NeedTools(t, "thin_restore", "thin_dump")
	const devices, mappings = 4, 250_000
	dir := t.TempDir()
	metadata := filepath.Join(dir, "pool.meta")
	places := rand.Perm(devices * mappings)
	pool := make([][]testpv.ThinMapping, devices)
	for d := range pool {
		for i := range mappings {
			pool[d] = append(pool[d], testpv.ThinMapping{Chunk: 2*i + i%2, Data: places[d*mappings+i]})
		}
	}
	meta := restoreThin(t, 64<<20, len(places), pool...)
	if err := os.WriteFile(metadata, meta, 0o600); err != nil {
		t.Fatal(err)
	}
	dumped, err := exec.Command("thin_dump", metadata).Output()
	if err != nil {
		t.Fatalf("thin_dump: %v", err)
	}
	var dump thinDump
	if err := xml.NewDecoder(bytes.NewReader(dumped)).Decode(&dump); err != nil {
		t.Fatal(err)
	}
	disk := filepath.Join(dir, "disk.img")
	const chunks = 2*mappings + 1
	dataStart, err := testpv.WriteThinDisk(disk, meta, len(places), chunks, chunks, chunks, chunks)
	if err != nil {
		t.Fatal(err)
	}
	dev, err := blockdev.Open(disk, blockdev.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer dev.Close()
	scan := lvm2.Open([]lvm2.Device{dev}, lvm2.Options{})
	if len(scan.VGs) != 1 || len(dump.Devices) != devices {
		t.Fatalf("%v %v, %d devices", scan.Rejected, scan.Warnings, len(dump.Devices))
	}
	for _, d := range dump.Devices {
		want := map[int64]int64{} // chunk → byte of the disk
		for _, r := range d.Single {
			want[int64(r.Block)] = dataStart + int64(r.At)*testpv.ThinChunk
		}
		for _, r := range d.Ranges {
			for i := range r.Length {
				want[int64(r.Origin+i)] = dataStart + int64(r.Data+i)*testpv.ThinChunk
			}
		}
		if len(want) != mappings {
			t.Fatalf("thin_dump says %d mappings", len(want))
		}
		compareMappings(t, scan.VGs[0].LV(fmt.Sprintf("thin%d", d.ID)), want)
	}
}

func compareMappings(t *testing.T, lv *lvm2.LV, want map[int64]int64) {
	t.Helper()
	v, err := lv.Open()
	if err != nil {
		t.Fatal(err)
	}
	wrong := errors.New("wrong")
	err = mapping.Walk(v, 0, v.Size(), func(off int64, e mapping.Extent) error {
		for at := int64(0); at < e.Length; at += testpv.ThinChunk {
			place, mapped := want[(off+at)/testpv.ThinChunk]
			if mapped != (e.Kind == mapping.Data) || mapped && place != e.Offset+at {
				return fmt.Errorf("%w: chunk %d of %s: %v at %d, thin_dump says %d", wrong, (off+at)/testpv.ThinChunk, lv, e.Kind, e.Offset+at, place)
			}
			delete(want, (off+at)/testpv.ThinChunk)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(want) != 0 {
		t.Errorf("%d mappings of %s were not found", len(want), lv)
	}
}
