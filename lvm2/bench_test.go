package lvm2

import (
	"bytes"
	"os"
	"testing"

	"lvm2fs/internal/test/testimages"
	"lvm2fs/mapping"
)

// memoryDevice is a disk in memory, so that what is measured is what lvm2 adds.
type memoryDevice struct {
	*bytes.Reader
	name string
}

func (d memoryDevice) Name() string { return d.name }

func openInMemory(b *testing.B, name, path string) *Volume {
	b.Helper()
	var devices []Device
	for _, file := range testimages.Load(b, name).Unpack(b) {
		content, err := os.ReadFile(file)
		if err != nil {
			b.Fatal(err)
		}
		devices = append(devices, memoryDevice{bytes.NewReader(content), file})
	}
	lv := Open(devices, Options{}).find(path)
	if lv == nil {
		b.Fatalf("no LV %s", path)
	}
	v, err := lv.Open()
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { v.Close() })
	return v
}

var benchmarkLVs = map[string]string{
	"linear-multi": "vg-multi_1.x+y/root-fs",
	"striped":      "vg_striped/mixed",
	"thin":         "vg_thin/vol_a_s1",
	"raid5_ls":     "vg_raid5_ls/wide",
}

func BenchmarkReadOfAMiB(b *testing.B) {
	for name, path := range benchmarkLVs {
		b.Run(name, func(b *testing.B) {
			v := openInMemory(b, name, path)
			p := make([]byte, min(1<<20, v.Size()))
			b.SetBytes(int64(len(p)))
			for b.Loop() {
				if _, err := v.ReadAt(p, 0); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkMapOfAWholeLV(b *testing.B) {
	for name, path := range benchmarkLVs {
		b.Run(name, func(b *testing.B) {
			v := openInMemory(b, name, path)
			for b.Loop() {
				err := mapping.Walk(v, 0, v.Size(), func(int64, mapping.Extent) error { return nil })
				if err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
