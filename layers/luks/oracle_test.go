package luks

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"lvm2fs/blockdev"
	"lvm2fs/internal/test/testenv"
	"lvm2fs/mapping"
)

func run(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
}

func openFile(t *testing.T, path string) *blockdev.Device {
	t.Helper()
	d, err := blockdev.Open(path, blockdev.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func write(t *testing.T, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestContainersMadeByQEMUAreReadAndWrittenAsQEMUDoes(t *testing.T) {
	testenv.Long(t)
	testenv.NeedTools(t, "qemu-img")
	for _, options := range []string{
		"cipher-alg=aes-256,cipher-mode=xts,ivgen-alg=plain64,hash-alg=sha256",
		"cipher-alg=aes-256,cipher-mode=cbc,ivgen-alg=essiv,ivgen-hash-alg=sha256,hash-alg=sha1",
		"cipher-alg=aes-128,cipher-mode=cbc,ivgen-alg=plain64,hash-alg=ripemd160",
		"cipher-alg=twofish-256,cipher-mode=xts,ivgen-alg=plain64,hash-alg=sha224",
	} {
		t.Run(options, func(t *testing.T) {
			dir := t.TempDir()
			raw, passphrase, image := filepath.Join(dir, "raw"), filepath.Join(dir, "passphrase"), filepath.Join(dir, "image")
			plain := pattern(1 << 20)
			write(t, raw, plain)
			write(t, passphrase, []byte("banana"))
			encrypt(t, raw, image, passphrase, options)
			c := opened(t, openFile(t, image))
			if !bytes.Equal(readAll(t, c), plain) {
				t.Fatal("read something else")
			}
			w := c.(mapping.WritableDevice)
			copy(plain[1000:], "written in the middle of a sector")
			if err := w.Claim(); err != nil {
				t.Fatal(err)
			}
			_, err := w.WriteAt(plain[1000:3000], 1000)
			if err := errors.Join(err, w.Sync(), w.Release()); err != nil {
				t.Fatal(err)
			}
			run(t, "qemu-img", "convert", "-O", "raw", "--object", "secret,id=s,file="+passphrase,
				"--image-opts", "driver=luks,key-secret=s,file.filename="+image, raw)
			if b, err := os.ReadFile(raw); err != nil || !bytes.Equal(b, plain) {
				t.Error("QEMU reads something else than what was written", err)
			}
		})
	}
}

// encrypt makes a container with the contents of raw. QEMU measures how fast the machine is, and gives up on a busy
// one.
func encrypt(t *testing.T, raw, image, passphrase, options string) {
	t.Helper()
	for range 20 {
		out, err := exec.Command("qemu-img", "convert", "-O", "luks", "--object", "secret,id=s,file="+passphrase,
			"-o", "key-secret=s,iter-time=10,"+options, raw, image).CombinedOutput()
		if err == nil {
			return
		}
		if !bytes.Contains(out, []byte("accurate CPU usage")) {
			t.Fatalf("qemu-img: %v\n%s", err, out)
		}
	}
	t.Skip("the machine is too busy for QEMU")
}

func TestContainersMadeByCryptsetupOpen(t *testing.T) {
	testenv.Long(t)
	testenv.NeedTools(t, "cryptsetup")
	fast := []string{"--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000"}
	for name, args := range map[string][]string{
		"LUKS1":              append(fast, "--type", "luks1", "--hash", "sha512"),
		"LUKS2":              append(fast, "--type", "luks2", "--label", "a label"),
		"argon2i":            {"--type", "luks2", "--pbkdf", "argon2i", "--pbkdf-memory", "1024", "--pbkdf-force-iterations", "4"},
		"argon2id":           {"--type", "luks2", "--pbkdf", "argon2id", "--pbkdf-memory", "2048", "--pbkdf-force-iterations", "5", "--pbkdf-parallel", "1"},
		"large header":       append(fast, "--type", "luks2", "--luks2-metadata-size", "1m", "--luks2-keyslots-size", "4m"),
		"keys of their own":  append(fast, "--type", "luks2", "--keyslot-cipher", "aes-cbc-essiv:sha256", "--keyslot-key-size", "128"),
		"aes-cbc-essiv":      append(fast, "--type", "luks2", "--cipher", "aes-cbc-essiv:sha256", "--key-size", "256"),
		"sectors of 4096":    append(fast, "--type", "luks2", "--sector-size", "4096"),
		"sectors of 2048":    append(fast, "--type", "luks2", "--sector-size", "2048"),
		"another key slot":   append(fast, "--type", "luks2", "--key-slot", "5"),
		"another key slot 1": append(fast, "--type", "luks1", "--key-slot", "7"),
		"hash":               append(fast, "--type", "luks2", "--hash", "sha3-512"),
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			key, image := filepath.Join(dir, "key"), filepath.Join(dir, "image")
			write(t, key, []byte("banana"))
			write(t, image, nil)
			if err := os.Truncate(image, 24<<20); err != nil {
				t.Fatal(err)
			}
			run(t, "cryptsetup", append(append([]string{"luksFormat", "-q"}, args...), image, key)...)
			c := opened(t, openFile(t, image))
			t.Logf("%+v", c.Info())
			if c.Info().UUID == "" || c.Size() < 8<<20 {
				t.Error(c.Info(), c.Size())
			}
			if _, err := Open(context.Background(), openFile(t, image), [][]byte{[]byte("banan")}, Options{}); !errors.Is(err, ErrPassphrase) {
				t.Error(err)
			}
		})
	}
}

func TestAHeaderDetachedByCryptsetupOpens(t *testing.T) {
	testenv.NeedTools(t, "cryptsetup")
	for _, version := range []string{"luks1", "luks2"} {
		dir := t.TempDir()
		key, image, header := filepath.Join(dir, "key"), filepath.Join(dir, "image"), filepath.Join(dir, "header")
		write(t, key, []byte("banana"))
		write(t, image, make([]byte, 1<<20))
		write(t, header, nil)
		if err := os.Truncate(header, 16<<20); err != nil {
			t.Fatal(err)
		}
		run(t, "cryptsetup", "luksFormat", "-q", "--type", version, "--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000", "--header", header, image, key)
		c, err := Open(context.Background(), openFile(t, image), [][]byte{[]byte("banana")}, Options{Header: openFile(t, header)})
		if err != nil {
			t.Fatal(err)
		}
		if c.Size() != 1<<20 || c.Info().Offset != 0 {
			t.Error(c.Size(), c.Info())
		}
		_ = c.Close()
	}
}
