package scan

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"lvm2fs/blockdev/pieces"
	"lvm2fs/internal/test/testenv"
	"lvm2fs/internal/test/testimages"
)

// A disk has lost its own header, and a copy was kept elsewhere. The copy opens the disk, whatever image the disk is
// in.
func TestAHeaderElsewhereIsForTheDiskAndNotTheFileThatItIsIn(t *testing.T) {
	testenv.NeedTools(t, "qemu-img")
	c := testimages.Load(t, "luks2-4k")
	disk, err := os.ReadFile(c.Unpack(t)[0])
	if err != nil {
		t.Fatal(err)
	}
	const header = 1 << 20 // and keys
	st := stack{t, t.TempDir()}
	opts := Options{Keys: []Key{{Bytes: []byte(c.Extra.Passphrase)}}}
	kept := st.write("header", disk[:header])
	clear(disk[:header])
	raw := st.write("disk", disk)
	for _, format := range []string{"raw", "qcow2", "vmdk"} {
		path := filepath.Join(st.dir, "disk."+format)
		if out, err := exec.Command("qemu-img", "convert", "-f", "raw", "-O", format, raw, path).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		opts.LUKSHeaders = []LUKSHeader{{path, kept}}
		s, _ := opened(t, opts, path)
		s.Result().reads(t, c)
	}
}

func TestPiecesAreReadAsTheImageThatTheyAreOf(t *testing.T) {
	for _, name := range []string{"luks2-4k", "banana"} {
		c := testimages.Load(t, name)
		disk, err := os.ReadFile(c.Unpack(t)[0])
		if err != nil {
			t.Fatal(err)
		}
		st := stack{t, t.TempDir()}
		var paths []string
		size := (len(disk)/5 + 511) / 512 * 512
		for i := 0; i*size < len(disk); i++ {
			paths = append([]string{st.write(fmt.Sprintf("disk.%03d", i+1), disk[i*size:min((i+1)*size, len(disk))])}, paths...)
		}
		opts := Options{Pieces: true}
		if c.Extra.Passphrase != "" {
			opts.Keys = []Key{{Bytes: []byte(c.Extra.Passphrase)}}
		}
		// One of them, or all, in any order.
		for _, named := range [][]string{paths, paths[1:2], paths[len(paths)-1:]} {
			s, _ := opened(t, opts, named...)
			s.Result().reads(t, c)
		}
		if err := os.Remove(paths[2]); err != nil {
			t.Fatal(err)
		}
		s, problems := opened(t, opts, paths[:1]...)
		if err := s.Result().NoVG(); !errors.Is(err, pieces.ErrUncertain) {
			t.Errorf("a piece is missing: %v, %s", err, problems)
		}
	}
}
