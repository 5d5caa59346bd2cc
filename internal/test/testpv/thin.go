package testpv

import (
	"bufio"
	"fmt"
	"io"
	"os"
)

// ThinChunk is the size of the chunks of pools made here, in bytes.
const ThinChunk = 64 << 10

// ThinMapping says that a chunk of a thin volume lies in a chunk of the pool.
type ThinMapping struct{ Chunk, Data int }

// WriteThinXML writes what thin_restore makes the metadata of a pool of: devices 1, 2, … with their
// mappings, in order of chunks.
func WriteThinXML(w io.Writer, dataChunks int, devices ...[]ThinMapping) error {
	out := bufio.NewWriter(w)
	fmt.Fprintf(out, "<superblock uuid=\"\" time=\"0\" transaction=\"0\" flags=\"0\" version=\"2\" data_block_size=\"%d\" nr_data_blocks=\"%d\">\n", ThinChunk/512, dataChunks)
	for i, mappings := range devices {
		fmt.Fprintf(out, "<device dev_id=\"%d\" mapped_blocks=\"%d\" transaction=\"0\" creation_time=\"0\" snap_time=\"0\">\n", i+1, len(mappings))
		for _, m := range mappings {
			fmt.Fprintf(out, "<single_mapping origin_block=\"%d\" data_block=\"%d\" time=\"0\"/>\n", m.Chunk, m.Data)
		}
		fmt.Fprintln(out, "</device>")
	}
	fmt.Fprintln(out, "</superblock>")
	return out.Flush()
}

// WriteThinDisk makes an image file, sparse, with VG vg: a pool that has the metadata, thin LVs thin1,
// thin2, … of the given numbers of chunks, and a linear LV plain as large as the pool's data. It
// returns the byte at which the pool's data begin.
func WriteThinDisk(path string, metadata []byte, dataChunks int, chunks ...int) (dataStart int64, err error) {
	extents := func(bytes int) int { return bytes / ExtentSize }
	meta, data := extents(len(metadata)), extents(dataChunks*ThinChunk)
	vg := VG{Name: "vg", Seqno: 1, PVs: []string{"disk"}, PVExtents: meta + 2*data, LVs: []LV{
		{Name: "pool_tmeta", Status: `"READ", "WRITE"`, Segments: []string{Linear(0, meta, "pv0", 0)}},
		{Name: "pool_tdata", Status: `"READ", "WRITE"`, Segments: []string{Linear(0, data, "pv0", meta)}},
		{Name: "plain", Segments: []string{Linear(0, data, "pv0", meta+data)}},
		{Name: "pool", Segments: []string{fmt.Sprintf("start_extent = 0\nextent_count = %d\ntype = \"thin-pool\"\nmetadata = \"pool_tmeta\"\npool = \"pool_tdata\"\n"+
			"transaction_id = 0\nchunk_size = %d\nzero_new_blocks = 1", data, ThinChunk/512)}},
	}}
	for i, n := range chunks {
		vg.LVs = append(vg.LVs, LV{Name: fmt.Sprintf("thin%d", i+1), Segments: []string{fmt.Sprintf("start_extent = 0\nextent_count = %d\ntype = \"thin\"\n"+
			"thin_pool = \"pool\"\ntransaction_id = 0\ndevice_id = %d", extents(n*ThinChunk), i+1)}})
	}
	head := New("disk", UUID("disk"), DataStart, vg.Text())
	if err := os.WriteFile(path, append(head.Bytes, metadata...), 0o600); err != nil {
		return 0, err
	}
	dataStart = DataStart + int64(len(metadata))
	return dataStart, os.Truncate(path, dataStart+2*int64(dataChunks)*ThinChunk)
}
