package integration

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"lvm2fs/internal/test/testenv"
	"lvm2fs/internal/test/testimages"
)

func TestVolumesOfVirtualDisksReadThroughTheMountAndCannotBeWritten(t *testing.T) {
	testenv.NeedFUSE(t)
	c := testimages.Load(t, "formats")
	dir := me().tempDir(t)
	c.UnpackTo(t, dir)
	for _, name := range c.Alternates {
		t.Run(name, func(t *testing.T) {
			mounted := me().mount(t, filepath.Join(dir, name))
			for i := range c.LVs {
				lv := &c.LVs[i]
				path := filepath.Join(mounted, lv.Path())
				verify(t, c, lv, verifyFile(lv, path))
				f, err := os.OpenFile(path, os.O_RDWR, 0)
				if !errors.Is(err, syscall.EROFS) {
					t.Errorf("opened for writing: %v", err)
				}
				if err == nil {
					f.Close()
				}
			}
		})
	}
}
