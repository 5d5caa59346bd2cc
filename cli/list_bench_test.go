package cli

import (
	"bufio"
	"io"
	"testing"

	"lvm2fs/blockdev"
	"lvm2fs/internal/test/testimages"
)

// Reading the metadata is part of it, as in a run of the command.
func BenchmarkListVGWith2000LVs(b *testing.B) {
	device, err := blockdev.Open(testimages.Load(b, "vg2000").Unpack(b)[0], blockdev.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer device.Close()
	for name, write := range writers {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				scan := inMemory(b, device)
				if err := write(newListing(scan, true), bufio.NewWriter(io.Discard)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
