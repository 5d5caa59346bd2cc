package integration

import (
	"crypto/rand"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"lvm2fs/internal/test/testenv"
	"lvm2fs/internal/test/testimages"
)

// kernel runs a script in the virtual machine with the disks attached, and gives what it
// wrote to /out/result. The disks stay as they are.
func kernel(t *testing.T, script string, disks ...string) string {
	t.Helper()
	return guestFile(t, guest{script: guestScript(t, "set -e\n"+script), disks: disks}.run(t), "result")
}

// The volumes are written through the mount, whole or in odd pieces. The real kernel then reads the same through
// device-mapper, and lvm2 finds nothing amiss.
func TestTheKernelReadsWhatWasWrittenThroughTheMount(t *testing.T) {
	testenv.NeedVM(t)
	testenv.NeedFUSE(t)
	var disks, want []string
	for _, name := range []string{"linear-multi", "striped"} {
		c := testimages.Load(t, name)
		own := me().unpack(t, c)
		dir := me().mount(t, own...)
		for i := range c.LVs {
			lv := &c.LVs[i]
			path := filepath.Join(dir, lv.Path())
			if lv.Attr[1] == 'w' {
				scribble(t, path, lv.Size)
			}
			want = append(want, fmt.Sprintf("%s  /dev/%s", fileSum(t, path), lv.Path()))
		}
		me().must(t, program, "umount", dir)
		disks = append(disks, own...)
	}
	got := kernel(t, `
vgchange -ay --sysinit >/dev/null
vgck >/out/result 2>&1
sha256sum `+devices(want)+` >>/out/result
`, disks...)
	if got, want := strings.TrimSpace(got), strings.Join(want, "\n"); got != want {
		t.Errorf("the kernel read\n%s\nwant\n%s", got, want)
	}
}

// devices are the second words of lines of sums, quoted.
func devices(sums []string) string {
	var paths []string
	for _, s := range sums {
		paths = append(paths, "'"+strings.Fields(s)[1]+"'")
	}
	return strings.Join(paths, " ")
}

// scribble writes pieces of many sizes and alignments all over a file.
func scribble(t *testing.T, path string, size int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for i, length := range []int64{512, 1, 4096, 4097, 65536, 100_003, 1 << 20, 1<<20 + 513} {
		for off := int64(i) * 777; off+length <= size; off += 3*length + size/16 + 511 {
			if _, err := io.CopyN(io.NewOffsetWriter(f, off), rand.Reader, length); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := f.WriteAt([]byte{0xa5}, size-1); err != nil {
		t.Fatal(err)
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
}
