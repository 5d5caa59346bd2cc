package integration

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"lvm2fs/internal/test/testenv"
	"lvm2fs/internal/test/testimages"
)

// Two kinds of images are not written: qcow2 with extended entries, and VMDK for transport.
func TestVolumesOfVirtualDisksReadThroughTheMountAndMostCanBeWritten(t *testing.T) {
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
				want := error(nil)
				if slices.Contains([]string{"disk0-extl2.qcow2", "disk0-stream.vmdk"}, name) {
					want = syscall.EROFS
				}
				f, err := os.OpenFile(path, os.O_RDWR, 0)
				if !errors.Is(err, want) {
					t.Errorf("opened for writing: %v, want %v", err, want)
				}
				if err == nil {
					f.Close()
				}
			}
		})
	}
}
