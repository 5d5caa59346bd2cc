//go:build linux

package main

import (
	"os"
	"strings"
)

// luksKey opens the container of the run.
const luksKey = "banana"

// below measures an LV in an image and in a container against the same one in a raw file.
func (b *bench) below() error {
	heading("The same LV in a raw file, in a qcow2 image, in a LUKS container, MiB/s (median of %d)", rounds)
	if !exists("qemu-img") {
		row("skipped: qemu-img is not there", 0, "", 0, "")
		return nil
	}
	return b.scope(func() error {
		qcow2, container, key := b.temp("pv.qcow2"), b.temp("pv.luks"), b.temp("key")
		for _, path := range []string{qcow2, container, key} {
			b.removeLater(path)
		}
		if err := os.WriteFile(key, []byte(luksKey), 0o600); err != nil {
			return err
		}
		if _, err := run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", b.image, qcow2); err != nil {
			return err
		}
		if err := b.encrypt(container); err != nil {
			return err
		}
		var files []*mounted
		for _, args := range [][]string{{b.image}, {qcow2}, {"--key-file", key, container}} {
			m, err := b.mountLV("bench/lv", args...)
			if err != nil {
				return err
			}
			files = append(files, m)
		}
		speed, err := race(b.size, files...)
		if err != nil {
			return err
		}
		row("raw", speed.of(0), "MiB/s", 0, "")
		speed.goal("qcow2", 1, 0, "of raw", 0.7)
		row("LUKS1, aes-xts with 512 bits of key", speed.of(2), "MiB/s", speed.of(2)/speed.ratio(2, 0), "of raw")
		return nil
	})
}

// encrypt makes a LUKS container with the contents of the image. QEMU measures how fast the machine is, and gives up
// on a busy one.
func (b *bench) encrypt(container string) (err error) {
	for range 20 {
		if _, err = run("qemu-img", "convert", "-f", "raw", "-O", "luks", "--object", "secret,id=key,data="+luksKey,
			"-o", "key-secret=key,cipher-alg=aes-256,cipher-mode=xts,ivgen-alg=plain64,iter-time=100", b.image, container); err == nil || !strings.Contains(err.Error(), "accurate CPU usage") {
			return err
		}
	}
	return err
}
