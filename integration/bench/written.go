//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"lvm2fs/internal/test/testpv"
)

// writtenSize is the size in bytes of the LV that is written.
const writtenSize = 64 * mib

// written measures writes to an LV in a qcow2 image against writes to the same LV in a raw file, in turn. First the
// image has to grow, then not any more.
func (b *bench) written() error {
	const rounds = 3
	heading("Writing an LV in a qcow2 image, on files in memory, against one in a raw file, MiB/s (median of turns)")
	if !exists("qemu-img") {
		row("skipped: qemu-img is not there", 0, "", 0, "")
		return nil
	}
	for _, size := range []int64{mib, 4 << 10} {
		grown, others := &turns{}, &turns{}
		for range rounds {
			if err := b.scope(func() error { return b.writeImage(size, grown, others) }); err != nil {
				return err
			}
		}
		for _, t := range []struct {
			name string
			*turns
		}{{"new clusters", grown}, {"others", others}} {
			speed := median(t.speeds)
			row(fmt.Sprintf("writes of %d KiB, %s", size>>10, t.name), speed, "MiB/s", speed/median(t.ratios), "of raw")
		}
	}
	return nil
}

// writeImage writes an LV twice, in pieces: in a raw file all of which is there, and in an image of it as it was before.
func (b *bench) writeImage(piece int64, grown, others *turns) error {
	const extents = int(writtenSize / testpv.ExtentSize)
	text := testpv.VG{Name: "bench", Seqno: 1, PVs: []string{"disk"}, PVExtents: extents, LVs: []testpv.LV{
		{Name: "lv", Segments: []string{testpv.Linear(0, extents, "pv0", 0)}},
	}}.Text()
	dir, err := b.memoryDir()
	if err != nil {
		return err
	}
	raw, image := filepath.Join(dir, "written.raw"), filepath.Join(dir, "written.qcow2")
	b.removeLater(raw)
	b.removeLater(image)
	length := int64(testpv.DataStart + writtenSize)
	if err := errors.Join(os.WriteFile(raw, testpv.New("disk", testpv.UUID("disk"), testpv.DataStart, text).Bytes, 0o600), os.Truncate(raw, length)); err != nil {
		return err
	}
	if _, err := run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, image); err != nil {
		return err
	}
	f, err := os.OpenFile(raw, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	if err := errors.Join(syscall.Fallocate(int(f.Fd()), 0, 0, length), f.Close()); err != nil {
		return err
	}
	plain, err := b.startDaemon("bench/lv", b.program, "-f", raw)
	if err != nil {
		return err
	}
	inImage, err := b.startDaemon("bench/lv", b.program, "-f", image)
	if err != nil {
		return err
	}
	const turn = writtenSize / 16
	for _, into := range []*turns{grown, others} {
		for off := int64(0); off < writtenSize; off += turn {
			base, err := writePart(plain.file, piece, off, turn)
			if err != nil {
				return err
			}
			speed, err := writePart(inImage.file, piece, off, turn)
			if err != nil {
				return err
			}
			into.speeds, into.ratios = append(into.speeds, speed), append(into.ratios, speed/base)
		}
	}
	return nil
}
