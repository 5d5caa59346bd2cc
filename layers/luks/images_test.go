package luks

import (
	"context"
	"errors"
	"testing"

	"lvm2fs/blockdev"
	"lvm2fs/internal/test/testimages"
	"lvm2fs/lvm2"
	"lvm2fs/mapping"
)

func openImage(t *testing.T, c *testimages.Case) *blockdev.Device {
	t.Helper()
	d, err := blockdev.Open(c.Unpack(t)[0], blockdev.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func TestContainersMadeByCryptsetupAreReadAsTheKernelReadThem(t *testing.T) {
	for _, name := range []string{"luks1", "luks2", "luks2-4k"} {
		t.Run(name, func(t *testing.T) {
			c := testimages.Load(t, name)
			container, err := Open(context.Background(), openImage(t, c), [][]byte{[]byte(c.Extra.Passphrase)}, Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer container.Close()
			t.Logf("%+v", container.Info())
			scan := lvm2.Open([]lvm2.Device{container}, lvm2.Options{})
			if len(scan.VGs) != 1 {
				t.Fatal(scan.Rejected)
			}
			for i := range c.LVs {
				expected := &c.LVs[i]
				v, err := find(t, scan, expected).Open()
				if err != nil {
					t.Fatal(err)
				}
				if err := expected.Verify(v, v.Size()); err != nil {
					t.Error(err)
				}
				if e, err := v.Map(0, v.Size()); err != nil || e.Kind != mapping.Computed {
					t.Error(e, err)
				}
			}
		})
	}
}

func find(t *testing.T, scan *lvm2.Scan, expected *testimages.LV) *lvm2.LV {
	t.Helper()
	for _, lv := range scan.VGs[0].LVs {
		if lv.Name == expected.LV {
			return lv
		}
	}
	t.Fatalf("no LV %s", expected.LV)
	return nil
}

func TestAWrongPassphraseIsSaidToBeOne(t *testing.T) {
	for _, name := range []string{"luks1", "luks2", "luks2-4k"} {
		t.Run(name, func(t *testing.T) {
			c := testimages.Load(t, name)
			_, err := Open(context.Background(), openImage(t, c), [][]byte{[]byte(c.Extra.Passphrase + "\n")}, Options{})
			if !errors.Is(err, ErrPassphrase) {
				t.Error(err)
			}
		})
	}
}
