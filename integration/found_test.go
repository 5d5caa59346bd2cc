package integration

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash/crc32"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"lvm2fs/internal/test/testenv"
	"lvm2fs/internal/test/testimages"
)

// runProgram is what the program under test prints, and its exit code.
func runProgram(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out, errs bytes.Buffer
	cmd := exec.Command(program, args...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		code = exit.ExitCode()
	} else if err != nil {
		t.Fatal(err)
	}
	return out.String(), errs.String(), code
}

func unpackFound(t *testing.T, name string) (disks []string) {
	t.Helper()
	dir := t.TempDir()
	if err := testimages.Extract(filepath.Join(testenv.NeedFound(t), name, "disks.tar.zst"), dir); err != nil {
		t.Fatal(err)
	}
	disks, err := filepath.Glob(filepath.Join(dir, "*.img"))
	if err != nil || len(disks) < 2 {
		t.Fatal(disks, err)
	}
	return disks
}

// inEveryOrder gives the disks as they are and the other way round.
func inEveryOrder(disks []string) [][]string {
	back := slices.Clone(disks)
	slices.Reverse(back)
	return [][]string{disks, back}
}

// The sums are the kernel's; the order of arguments decides nothing.
func TestDisksThatOnceGaveOtherBytesGiveTheKernels(t *testing.T) {
	for _, c := range []struct{ name, lv, sum string }{
		{"md-stale-member-beats-array", "vg_md_raid1_1_0/data", "cd0a6222"},
		{"raid1-one-event-behind", "vg_synchalf/fresh", "fc07e27e"},
	} {
		for _, disks := range inEveryOrder(unpackFound(t, c.name)) {
			out := t.TempDir()
			if _, stderr, code := runProgram(t, append([]string{"dump", "-C", out, "--lv", c.lv}, disks...)...); code != 0 {
				t.Errorf("%s: exit code %d: %s", c.name, code, stderr)
				continue
			}
			text, err := os.ReadFile(filepath.Join(out, c.lv))
			if err != nil {
				t.Fatal(err)
			}
			if sum := sha256.Sum256(text); !strings.HasPrefix(hex.EncodeToString(sum[:]), c.sum) {
				t.Errorf("%s: %s is %x, not %s", c.name, c.lv, sum, c.sum)
			}
		}
	}
}

// Leg 0 has lost the superblock of its checksums and has other bytes at 1 MiB; leg 1 has them right.
func TestALegWhoseChecksumsAreLostIsNotReadUnchecked(t *testing.T) {
	for _, disks := range inEveryOrder(unpackFound(t, "integrity-zero-superblock")) {
		out := t.TempDir()
		_, stderr, code := runProgram(t, append([]string{"dump", "-C", out, "--lv", "vg_integc/mir"}, disks...)...)
		name := map[int]string{0: "mir", 3: "mir.partial"}[code]
		if name == "" {
			t.Fatalf("exit code %d: %s", code, stderr)
		}
		text, err := os.ReadFile(filepath.Join(out, "vg_integc", name))
		if err != nil {
			t.Fatal(err)
		}
		if got := crc32.ChecksumIEEE(text[1<<20:][:64<<10]); got != 0x510e020b {
			t.Errorf("the 64 KiB at 1 MiB are %08x, not as leg 1 has it", got)
		}
	}
}

// imageFound unpacks an image that is compressed alone.
func imageFound(t *testing.T, name, file string) string {
	t.Helper()
	packed, err := os.Open(filepath.Join(testenv.NeedFound(t), name, file+".zst"))
	if err != nil {
		t.Fatal(err)
	}
	defer packed.Close()
	r, err := zstd.NewReader(packed)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	path := filepath.Join(t.TempDir(), file)
	image, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer image.Close()
	if _, err := io.Copy(image, r); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestDisksThatWereOnceRefusedAreListed(t *testing.T) {
	for _, c := range []struct{ name, file, want string }{
		{"qnap-drbd", "disk.img", "vg_md_raid1_1_0/data"},
		{"qnap-drbd", "md1.img", "vg_md_raid1_1_0/data"},
		{"qnap-drbd", "member0.img", "vg_md_raid1_1_0/data"},
		{"vg-named-description", "description.img", "description/"},
	} {
		stdout, stderr, code := runProgram(t, "list", "--noheadings", "-o", "lv_full_name", imageFound(t, c.name, c.file))
		if code != 0 || !strings.Contains(stdout, c.want) {
			t.Errorf("%s/%s: exit code %d\n%s%s", c.name, c.file, code, stdout, stderr)
		}
	}
}
