package cli

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"lvm2fs/internal/testenv"
	"lvm2fs/internal/testimages"
)

// A header that was kept elsewhere opens the disk whose own is lost, whatever the disk is an image in.
func TestAHeaderElsewhereIsForTheDiskAndNotTheFileThatItIsIn(t *testing.T) {
	testenv.NeedTools(t, "qemu-img")
	c := testimages.Load(t, "luks2-4k")
	disk, err := os.ReadFile(c.Unpack(t)[0])
	if err != nil {
		t.Fatal(err)
	}
	const header = 1 << 20 // and keys
	st := stack{t, t.TempDir()}
	opts := keyOptions{KeyFile: []string{keyFileWith(t, c.Extra.Passphrase)}}
	kept := st.write("header", disk[:header])
	clear(disk[:header])
	raw := st.write("disk", disk)
	for _, format := range []string{"raw", "qcow2", "vmdk"} {
		path := filepath.Join(st.dir, "disk."+format)
		if out, err := exec.Command("qemu-img", "convert", "-f", "raw", "-O", format, raw, path).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		opts.LUKSHeader = []string{path + "=" + kept}
		s, _ := opened(t, deviceOptions{keyOptions: opts}, path)
		s.reads(t, c)
	}
}
