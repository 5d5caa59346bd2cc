// Unpack makes the disks of an archive disks.tar.zst:
//
//	go run ./internal/test/testimages/unpack ARCHIVE DIR
package main

import (
	"fmt"
	"os"

	"lvm2fs/internal/test/testimages"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: unpack ARCHIVE DIR")
		os.Exit(2)
	}
	if err := testimages.Extract(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "unpack:", err)
		os.Exit(1)
	}
}
