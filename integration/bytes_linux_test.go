package integration

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"lvm2fs/internal/test/testenv"
	"lvm2fs/internal/test/testimages"
)

// A mount in the background is another process with the same arguments. JSON, a mount table or a log could spoil bytes
// of names in them.
func TestMountOfNamesThatAreNotUTF8(t *testing.T) {
	testenv.Long(t)
	const odd = "caf\xe9 \xff\xfe,\\=#\x1b[1m"
	c := testimages.Load(t, "linear-multi")
	asEach(t, func(t *testing.T, who person) {
		disks := who.unpack(t, c)
		for i, disk := range disks {
			disks[i] = filepath.Join(filepath.Dir(disk), odd+filepath.Base(disk))
			if err := os.Rename(disk, disks[i]); err != nil {
				t.Fatal(err)
			}
		}
		plain := who.mountpoint(t)
		dir, log := filepath.Join(filepath.Dir(plain), odd), filepath.Join(who.tempDir(t), odd+".log")
		if err := os.Rename(plain, dir); err != nil {
			t.Fatal(err)
		}
		args := []string{"--log-file", log, disks[0], dir}
		for _, disk := range disks[1:] {
			args = append(args, "-o", "device="+strings.NewReplacer(`\`, `\\`, `,`, `\,`).Replace(disk))
		}
		who.must(t, program, args...)
		for _, name := range c.Tree() {
			if _, err := os.Stat(filepath.Join(dir, name)); err != nil && !errors.Is(err, os.ErrPermission) {
				t.Error(err)
			}
		}
		who.must(t, program, "-o", "remount", dir)
		who.must(t, program, "umount", dir)
		if isMounted(dir) {
			t.Error("still mounted")
		}
		text, err := os.ReadFile(log)
		if err != nil || !strings.Contains(string(text), `caf\xe9 \xff\xfe`) || strings.Contains(string(text), "\x1b") {
			t.Errorf("%v: %q", err, text)
		}
	})
}
