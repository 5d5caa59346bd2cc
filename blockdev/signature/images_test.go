package signature_test

import (
	"os"
	"path/filepath"
	"testing"

	"lvm2fs/blockdev/signature"
	"lvm2fs/internal/testimages"
)

func TestScratch(t *testing.T) {
	for _, c := range testimages.All(t) {
		dir := t.TempDir()
		if err := testimages.Extract(filepath.Join(c.Dir, "disks.tar.zst"), dir); err != nil {
			t.Fatal(err)
		}
		fs, _ := filepath.Glob(dir + "/*")
		for _, p := range fs {
			f, _ := os.Open(p)
			info, _ := f.Stat()
			s, err := signature.Component(f, info.Size())
			all, err2 := signature.Detect(f, info.Size())
			t.Log(c.Name, filepath.Base(p), s, err, all, err2)
			f.Close()
		}
		os.RemoveAll(dir)
	}
}
