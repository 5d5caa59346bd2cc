//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"lvm2fs/internal/test/testpv"
)

// thinDisk makes a disk with a pool whose thin1, fully provisioned, has runs of 16 chunks here and there
// in the pool, and whose thin2 has one chunk in 1 TiB.
func (b *bench) thinDisk(chunks int) (image, metadata string, err error) {
	const run16 = 16
	var full []testpv.ThinMapping
	for i := range chunks {
		place := i / run16 * 7919 % (chunks / run16)
		full = append(full, testpv.ThinMapping{Chunk: i, Data: place*run16 + i%run16})
	}
	sparse := []testpv.ThinMapping{{Chunk: 1 << 22, Data: chunks}}
	source := b.temp("pool.xml")
	f, err := os.Create(source)
	if err != nil {
		return "", "", err
	}
	if err := errors.Join(testpv.WriteThinXML(f, chunks+run16, full, sparse), f.Close()); err != nil {
		return "", "", err
	}
	metadata = b.temp("pool.meta")
	if err := os.WriteFile(metadata, make([]byte, 64<<20), 0o600); err != nil {
		return "", "", err
	}
	if _, err := run("thin_restore", "-i", source, "-o", metadata); err != nil {
		return "", "", err
	}
	content, err := os.ReadFile(metadata)
	if err != nil {
		return "", "", err
	}
	image = b.temp("thin.img")
	_, err = testpv.WriteThinDisk(image, content, chunks+run16, chunks, 1<<24)
	return image, metadata, err
}

// thin measures thin volumes against a linear one of the same disk.
func (b *bench) thin() error {
	heading("Thin volumes, against a linear one")
	if _, err := exec.LookPath("thin_restore"); err != nil {
		fmt.Println("  skipped: thin_restore (thin-provisioning-tools) is not there")
		return nil
	}
	image, _, err := b.thinDisk(int(b.size / testpv.ThinChunk / 16 * 16))
	if err != nil {
		return err
	}
	err = b.scope(func() error {
		plain, err := b.mountLV("vg/plain", image)
		if err != nil {
			return err
		}
		thin := &mounted{file: filepath.Join(filepath.Dir(plain.file), "thin1")}
		files := []*mounted{plain, thin}
		var speed, iops [2]float64
		for range 3 {
			for i, m := range files {
				took, err := timed("dd", "if="+m.file, "of=/dev/null", "bs=1M", "status=none", fmt.Sprint("count=", b.size/mib))
				if err != nil {
					return err
				}
				speed[i] = max(speed[i], float64(b.size)/mib/took.Seconds())
				random, err := b.fio(m, 1)
				if err != nil {
					return err
				}
				iops[i] = max(iops[i], random/1000)
			}
		}
		row("linear, sequential", speed[0], "MiB/s", 0, "")
		row("thin, fully provisioned, sequential", speed[1], "MiB/s", speed[0], "of linear")
		row("linear, random 4 KiB", iops[0], "k IOPS", 0, "")
		row("thin, random 4 KiB", iops[1], "k IOPS", iops[0], "of linear")
		return nil
	})
	if err != nil {
		return err
	}
	dir, err := b.mkdir("dump")
	if err != nil {
		return err
	}
	took, err := timed(b.program, "dump", "-C", dir, "--lv", "vg/thin2", image)
	if err != nil {
		return err
	}
	row("dump of 64 KiB provisioned in 1 TiB", took.Seconds(), "s", 0, "")

	image, metadata, err := b.thinDisk(1 << 20)
	if err != nil {
		return err
	}
	first, err := timed("sh", "-c", fmt.Sprintf("thin_dump %s | head -c 1", metadata))
	if err != nil {
		return err
	}
	row("thin_dump, 1 million mappings, first output", first.Seconds(), "s", 0, "")
	mapped, err := timed("sh", "-c", fmt.Sprintf("%s map --lv vg/thin1 %s | head -c 1", b.program, image))
	if err != nil {
		return err
	}
	row("lvm2fs map, the same pool, first output", mapped.Seconds(), "s", first.Seconds(), "of thin_dump")
	return nil
}
