package integration

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
	"path/filepath"
	"testing"

	"lvm2fs/internal/test/testenv"
	"lvm2fs/internal/test/testimages"
)

// Only what the user writes changes a disk. Nothing else does: not mounting for writing, listing, reading, mapping,
// dumping, reloading or unmounting.
func TestNoByteOfADeviceChangesUnlessTheUserWrites(t *testing.T) {
	testenv.Long(t)
	for _, name := range []string{"linear-multi", "striped", "errzero", "linear-missing", "meta-corrupt", "meta-wrap", "same-name", "outdated-pv", "reshape-cut", "takeovers-half", "thin-merge-pending", "thin-needscheck", "md-raid1-replace"} {
		t.Run(name, func(t *testing.T) {
			c := testimages.Load(t, name)
			asEach(t, func(t *testing.T, who person) {
				disks := who.unpack(t, c)
				before := sums(t, disks)

				who.must(t, program, append([]string{"list", "-a"}, disks...)...)
				for _, lv := range c.Tree() {
					who.run(t, program, append([]string{"map", "--lv", lv}, disks...)...)
				}
				who.run(t, program, append([]string{"dump", "-C", who.tempDir(t)}, disks...)...)
				dir := who.mount(t, disks...)
				for _, file := range tree(t, who, dir) {
					_ = who.do(func() error { return readAll(filepath.Join(dir, file)) }) // lost ranges fail
				}
				who.must(t, program, "-o", "remount", dir)
				who.must(t, program, "umount", dir)

				for i, after := range sums(t, disks) {
					if after != before[i] {
						t.Errorf("%s has changed", disks[i])
					}
				}
			})
		})
	}
}

func readAll(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(io.Discard, f)
	return err
}

func sums(t *testing.T, paths []string) (sums []string) {
	t.Helper()
	for _, path := range paths {
		sums = append(sums, fileSum(t, path))
	}
	return sums
}

func fileSum(t *testing.T, path string) string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(sum.Sum(nil))
}
