package integration

import (
	"bufio"
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"lvm2fs/blockdev"
	"lvm2fs/internal/testenv"
	"lvm2fs/internal/testpv"
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

const thinChunk = 64 << 10

// millionMappings writes XML of a pool in which each of the devices has a mapping for every second
// chunk or so, out of order.
func millionMappings(w io.Writer, devices, mappings int) (dataChunks int) {
	out := bufio.NewWriter(w)
	defer out.Flush()
	places := rand.Perm(devices * mappings)
	fmt.Fprintf(out, `<superblock uuid="" time="0" transaction="0" flags="0" version="2" data_block_size="%d" nr_data_blocks="%d">`, thinChunk/512, len(places))
	for d := range devices {
		fmt.Fprintf(out, "<device dev_id=\"%d\" mapped_blocks=\"%d\" transaction=\"0\" creation_time=\"0\" snap_time=\"0\">\n", d+1, mappings)
		for i := range mappings {
			fmt.Fprintf(out, "<single_mapping origin_block=\"%d\" data_block=\"%d\" time=\"0\"/>\n", 2*i+i%2, places[d*mappings+i])
		}
		fmt.Fprintln(out, "</device>")
	}
	fmt.Fprintln(out, "</superblock>")
	return len(places)
}

// thinDisk is a disk with a pool that has the metadata in a file, and its thin LVs, thin1, thin2, …
func thinDisk(t *testing.T, metadata []byte, devices, mappings, dataChunks int) string {
	t.Helper()
	const extent = testpv.ExtentSize
	metaExtents := len(metadata) / extent
	dataExtents := dataChunks * thinChunk / extent
	virtual := (2*mappings + 3) * thinChunk / extent
	vg := testpv.VG{Name: "vg", Seqno: 1, PVs: []string{"disk"}, PVExtents: metaExtents + dataExtents, LVs: []testpv.LV{
		{Name: "pool_tmeta", Status: `"READ", "WRITE"`, Segments: []string{testpv.Linear(0, metaExtents, "pv0", 0)}},
		{Name: "pool_tdata", Status: `"READ", "WRITE"`, Segments: []string{testpv.Linear(0, dataExtents, "pv0", metaExtents)}},
		{Name: "pool", Segments: []string{fmt.Sprintf("start_extent = 0\nextent_count = %d\ntype = \"thin-pool\"\nmetadata = \"pool_tmeta\"\npool = \"pool_tdata\"\ntransaction_id = 0\nchunk_size = %d\nzero_new_blocks = 1", dataExtents, thinChunk/512)}},
	}}
	for d := range devices {
		vg.LVs = append(vg.LVs, testpv.LV{Name: fmt.Sprintf("thin%d", d+1), Segments: []string{
			fmt.Sprintf("start_extent = 0\nextent_count = %d\ntype = \"thin\"\nthin_pool = \"pool\"\ntransaction_id = 0\ndevice_id = %d", virtual, d+1),
		}})
	}
	path := filepath.Join(t.TempDir(), "disk.img")
	head := testpv.New("disk", testpv.UUID("disk"), testpv.DataStart, vg.Text())
	if err := os.WriteFile(path, append(head.Bytes, metadata...), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, int64(testpv.DataStart+(metaExtents+dataExtents)*extent)); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestAPoolWithAMillionMappingsReadsAsThinDumpSays compares every mapping with what thin_dump, another
// reader, makes of the same metadata.
func TestAPoolWithAMillionMappingsReadsAsThinDumpSays(t *testing.T) {
	testenv.NeedTools(t, "thin_restore", "thin_dump")
	const devices, mappings = 4, 250_000
	dir := t.TempDir()
	source, metadata := filepath.Join(dir, "pool.xml"), filepath.Join(dir, "pool.meta")
	f, err := os.Create(source)
	if err != nil {
		t.Fatal(err)
	}
	dataChunks := millionMappings(f, devices, mappings)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(metadata, make([]byte, 64<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("thin_restore", "-i", source, "-o", metadata).CombinedOutput(); err != nil {
		t.Fatalf("thin_restore: %v: %s", err, out)
	}
	dumped, err := exec.Command("thin_dump", metadata).Output()
	if err != nil {
		t.Fatalf("thin_dump: %v", err)
	}
	var dump thinDump
	if err := xml.NewDecoder(bytes.NewReader(dumped)).Decode(&dump); err != nil {
		t.Fatal(err)
	}
	meta, err := os.ReadFile(metadata)
	if err != nil {
		t.Fatal(err)
	}
	dev, err := blockdev.Open(thinDisk(t, meta, devices, mappings, dataChunks), blockdev.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer dev.Close()
	scan := lvm2.Open([]lvm2.Device{dev}, lvm2.Options{})
	if len(scan.VGs) != 1 || len(dump.Devices) != devices {
		t.Fatalf("%v %v, %d devices", scan.Rejected, scan.Warnings, len(dump.Devices))
	}
	dataStart := int64(testpv.DataStart + len(meta))
	for _, d := range dump.Devices {
		want := map[int64]int64{} // chunk → byte of the disk
		for _, r := range d.Single {
			want[int64(r.Block)] = dataStart + int64(r.At)*thinChunk
		}
		for _, r := range d.Ranges {
			for i := range r.Length {
				want[int64(r.Origin+i)] = dataStart + int64(r.Data+i)*thinChunk
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
		for at := int64(0); at < e.Length; at += thinChunk {
			place, mapped := want[(off+at)/thinChunk]
			if mapped != (e.Kind == mapping.Data) || mapped && place != e.Offset+at {
				return fmt.Errorf("%w: chunk %d of %s: %v at %d, thin_dump says %d", wrong, (off+at)/thinChunk, lv, e.Kind, e.Offset+at, place)
			}
			delete(want, (off+at)/thinChunk)
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
