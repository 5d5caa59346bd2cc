package scan_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"

	"lvm2fs/scan"
)

// Copy an LV out of a virtual machine's disk: an image in the format qcow2, with partitions, one of them encrypted.
func ExampleOpen() {
	key := scan.Key{Bytes: []byte("banana")}
	session, err := scan.Open(context.Background(), []string{"testdata/server.qcow2"}, scan.Options{Keys: []scan.Key{key}})
	if err != nil {
		log.Fatal(err)
	}
	defer session.Close()
	lv, err := session.Result().LV("server/motd")
	if err != nil {
		log.Fatal(err)
	}
	volume, err := lv.Open()
	if err != nil {
		log.Fatal(err)
	}
	n, err := io.Copy(output("motd.img"), io.NewSectionReader(volume, 0, volume.Size()))
	fmt.Println(n, "bytes", err)
	// Output:
	// 4096 bytes <nil>
}

// Look at the first MiB of whatever LVs there are, as a scanner does. What cannot be read is passed over and reported.
func ExampleSession_Result() {
	session, err := scan.Open(context.Background(), []string{"testdata/server.qcow2"}, scan.Options{
		Passphrase: func(_ context.Context, q scan.Question) ([]byte, error) { return []byte("banana"), nil },
		Nested:     true,
	})
	if err != nil {
		log.Fatal(err)
	}
	defer session.Close()
	found := session.Result()
	for _, problem := range found.Problems {
		log.Println(problem.Reason, problem.Err)
	}
	for _, vg := range found.VGs {
		for _, lv := range vg.LVs {
			volume, err := lv.Open()
			if err != nil {
				log.Println(err) // a pool, say, has no bytes of its own
				continue
			}
			first := make([]byte, min(1<<20, volume.Size()))
			if _, err := volume.ReadAt(first, 0); err != nil {
				log.Println(err) // never a wrong byte, and never a zero for one that is lost
				continue
			}
			fmt.Printf("%s/%s: %d bytes, %q...\n", vg.Name, lv.Name, len(first), first[:10])
		}
	}
	// Output:
	// server/motd: 4096 bytes, "All quiet."...
	// server/log: 8192 bytes, "first boot"...
}

// output is where a copy goes.
func output(name string) io.Writer {
	f, err := os.Create(filepath.Join(os.TempDir(), name))
	if err != nil {
		log.Fatal(err)
	}
	_ = os.Remove(f.Name())
	return f
}
