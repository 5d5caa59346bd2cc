//go:build linux

package main

import (
	"crypto/aes"
	"crypto/cipher"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// lvm runs lvm2 on the devices given and on no others. Nothing is activated, so no
// device-mapper is needed.
func lvm(devices []string, command string, args ...string) (string, error) {
	filter := ""
	for _, d := range devices {
		filter += `"a|^` + d + `$|",`
	}
	config := `global{activation=0 locking_dir="` + os.TempDir() + `/lvm2fs-bench-lock"} backup{backup=0 archive=0} ` +
		`devices{use_devicesfile=0 global_filter=[` + filter + `"r|.*|"]}`
	return run("lvm", append([]string{command, "--config", config}, args...)...)
}

// attach makes a loop device of a file.
func (b *bench) attach(path string, flags ...string) (string, error) {
	loop, err := run("losetup", append(append([]string{"--find", "--show"}, flags...), path)...)
	if err == nil {
		b.later(func() { _, _ = run("losetup", "-d", loop) })
	}
	return loop, err
}

func (b *bench) mountDevice(device string, flags ...string) (string, error) {
	dir, err := b.mkdir("mnt")
	if err != nil {
		return "", err
	}
	if _, err := run("mount", append(flags, device, dir)...); err != nil {
		return "", err
	}
	b.later(func() { _, _ = run("umount", dir) })
	return dir, nil
}

// memoryDir is a directory, in memory where the system has files there.
func (b *bench) memoryDir() (dir string, err error) {
	if _, err := os.Stat("/dev/shm"); err != nil {
		return b.dir, nil
	}
	if dir, err = os.MkdirTemp("/dev/shm", "lvm2fs-bench-"); err == nil {
		b.removeLater(dir)
	}
	return dir, err
}

// makePV makes an image with the VG bench and its one LV lv, and says where the LV
// starts.
func (b *bench) makePV(size int64) (image string, start int64, err error) {
	return b.makePVAt(b.temp("pv.img"), size)
}

func (b *bench) makePVAt(image string, size int64) (_ string, start int64, err error) {
	const extent = 4 << 20
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		return "", 0, err
	}
	if err := os.Truncate(image, size+2*extent); err != nil {
		return "", 0, err
	}
	err = b.scope(func() error {
		loop, err := b.attach(image)
		if err != nil {
			return err
		}
		devices := []string{loop}
		if _, err := lvm(devices, "vgcreate", "-y", "-s", "4m", "bench", loop); err != nil {
			return err
		}
		if _, err := lvm(devices, "lvcreate", "-y", "-an", "-Zn", "-Wn", "-n", "lv", "-l", strconv.FormatInt(size/extent, 10), "bench"); err != nil {
			return err
		}
		out, err := lvm(devices, "pvs", "--noheadings", "--nosuffix", "--units", "b", "-o", "pe_start", loop)
		if err != nil {
			return err
		}
		start, err = strconv.ParseInt(strings.TrimSpace(out), 10, 64)
		return err
	})
	return image, start, err
}

// makeDisk makes the disk of the run, full of bytes that do not compress, with an ext4 of
// a source tree's sizes in a second one.
func (b *bench) makeDisk() (err error) {
	if b.image, b.start, err = b.makePV(b.size); err != nil {
		return err
	}
	f, err := os.OpenFile(b.image, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	block, err := aes.NewCipher(make([]byte, 16))
	if err != nil {
		return err
	}
	noise := cipher.NewCTR(block, make([]byte, 16))
	buf := make([]byte, 1<<20)
	for off := int64(0); off < b.size; off += int64(len(buf)) {
		noise.XORKeyStream(buf, buf)
		if _, err := f.WriteAt(buf, b.start+off); err != nil {
			return err
		}
	}
	fmt.Printf("lvm2fs against others, on an LV of %d MiB whose image is in the page cache\n", b.size>>20)
	return f.Sync()
}

// makeTree fills a directory with one large file and many small ones.
func makeTree(dir string, size int64) error {
	noise := make([]byte, size/2)
	for i := range noise {
		noise[i] = byte(i * i >> 7)
	}
	if err := os.WriteFile(filepath.Join(dir, "large"), noise, 0o600); err != nil {
		return err
	}
	for i := range int(size / 4 / (16 << 10)) {
		sub := filepath.Join(dir, fmt.Sprint(i/100))
		if err := os.MkdirAll(sub, 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(sub, fmt.Sprint(i)), noise[i*512:][:4<<10+i%5*(6<<10)], 0o600); err != nil {
			return err
		}
	}
	return nil
}
