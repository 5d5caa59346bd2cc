package integration

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"lvm2fs/internal/test/testenv"
	"lvm2fs/internal/test/testimages"
)

// copier is a way to copy a file over another. SRC and DST in its words stand for the paths of the two, DIR and NAME
// for the directory and the name of the second.
type copier struct {
	command    string // of the shell
	everywhere bool   // tried on all kinds of LVs, and with all sources
}

// begins says whether it copies what fits of a file that does not fit.
func (c copier) begins() bool { return !strings.HasPrefix(c.command, "qemu-img") }

// asks says whether it looks at the result of the truncation with which it makes a hole at the end.
func (c copier) asks() bool { return !strings.HasPrefix(c.command, "tar") }

var copiers = []copier{
	{"cp SRC DST", true},
	{"cp --sparse=auto SRC DST", false},
	{"cp --sparse=always SRC DST", true},
	{"cp --sparse=never SRC DST", false},
	{"cp --reflink=auto SRC DST", false},
	{"cp --reflink=never SRC DST", false},
	{"dd status=none if=SRC of=DST bs=16k", false},
	{"dd status=none if=SRC of=DST bs=64k conv=fsync", false},
	{"dd status=none if=SRC of=DST bs=64k conv=sparse", true},
	{"dd status=none if=SRC of=DST bs=16k conv=sparse,fsync", false},
	{"dd status=none if=SRC of=DST bs=64k conv=notrunc", true},
	{"dd status=none if=SRC of=DST bs=64k conv=notrunc,sparse", false},
	{"dd status=none if=SRC bs=64k conv=sparse >DST", false},
	{"dd status=none if=SRC of=DST bs=16k seek=3 conv=sparse", false},
	{"dd status=none if=SRC of=DST bs=512 count=1", false},
	{"dd status=none if=SRC of=DST bs=512 count=1 seek=100", false},
	{"qemu-img convert -q -f raw -O raw SRC DST", true},
	{"qemu-img convert -q -n -f raw -O raw SRC DST", true},
	{"qemu-img convert -q -W -m 8 -f raw -O raw SRC DST", false},
	{"rsync -I --inplace SRC DST", true},
	{"rsync -I --inplace --sparse SRC DST", true},
	{"rsync -I --inplace --no-whole-file SRC DST", false},
	{"rsync -I --append SRC DST", false},
	{"cat SRC >DST", false},
	{"tail -c +1 SRC | dd status=none bs=64k iflag=fullblock conv=sparse of=DST", false},
	{"{ head -c 5000 SRC; tail -c +5001 SRC; } >DST", false},
	{"tar -cS --mode=0640 --transform 's,.*,NAME,' -f - -C / SRC 2>/dev/null | tar -xOf - >DST", false},
	{"tar -cS --mode=0640 --transform 's,.*,NAME,' -f - -C / SRC 2>/dev/null | tar -x --overwrite --no-same-owner --no-same-permissions -m -C DIR -f -", true},
	{"python3 -c 'import shutil; shutil.copyfile(\"SRC\", \"DST\")'", false},
	{"truncate -s 0 DST", false},
}

// on is the command for these files.
func (c copier) on(source, target string) string {
	return strings.NewReplacer("SRC", source, "DST", target, "DIR", filepath.Dir(target), "NAME", filepath.Base(target)).Replace(c.command)
}

// sparse is a file to copy. Each letter of its layout is a sixteenth of its length: d is data, z is zeros that are
// written, a dot is a hole.
type sparse struct {
	layout string
	size   int64
	basic  bool // copied with each copier
}

// sparseFiles are sources for a target of that size in bytes.
func sparseFiles(size int64) []sparse {
	return []sparse{
		{"dddddddddddddddd", size, false},
		{"......dddddddddd", size, false},
		{"dd.d....d..ddd.d", size, true},
		{"dddddddd........", size, true},
		{"................", size, true},
		{"zzddzzzzddd.zzzz", size, false},
		{".d.d.d.dddddd.d.", size/2 + 777, false},
		{"...dd..d........", size/3 + 1, true},
		{"................", size / 2, false},
		{"dddddddddddddddd", 5000, false},
		{"................", 0, false},
		{"dddddddddddddddd", size + 100_000, true},
		{"ddd.dd..........", size + 100_000, false},
		{".d.....d.......d", size + 100_000, false},
	}
}

func (s sparse) String() string { return fmt.Sprintf("%d bytes of %s", s.size, s.layout) }

// full says whether nothing is left out.
func (s sparse) full() bool { return !strings.Contains(s.layout, ".") }

func (s sparse) write(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for i, c := range s.layout {
		from, to := s.size*int64(i)/16, s.size*int64(i+1)/16
		if c == '.' || from == to {
			continue
		}
		p := make([]byte, to-from)
		for k := range p {
			if c == 'd' {
				p[k] = byte(1 + (int(from)+k)%253)
			}
		}
		if _, err := f.WriteAt(p, from); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Truncate(s.size); err != nil {
		t.Fatal(err)
	}
}

// old is what lay in a target.
func old(size int64) []byte { return bytes.Repeat([]byte("old bytes. "), int(size/11+1))[:size] }

// overwrite writes over a file without truncating it.
func overwrite(t *testing.T, path string, p []byte) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o644)
	if err == nil {
		_, err = f.WriteAt(p, 0)
	}
	if err == nil {
		err = f.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
}

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	p, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// The same program copies onto an LV and onto a regular file that held other bytes before. Both then hold the same,
// and behind the end of the copy the LV keeps its own bytes. What does not fit is an error.
func TestCopiesOntoAVolumeAreAsOntoAFile(t *testing.T) {
	testenv.Long(t)
	testenv.NeedTools(t, "cp", "dd", "qemu-img", "rsync", "tar", "cat", "head", "tail", "truncate", "python3")
	for _, c := range []struct {
		image, path string
		flags       []string
		all         bool // copiers and sources
	}{
		{"linear-multi", "vg-multi_1.x+y/a+b--c.renamed", nil, true},
		{"linear-multi", "vg-multi_1.x+y/a+b--c.renamed", []string{"-o", "kernel_cache"}, false},
		{"raid5_ls", "vg_raid5_ls/narrow", nil, false},
		{"cache-clean", "vg_cacheclean/wtvol", nil, false},
	} {
		t.Run(strings.Join(append([]string{c.image}, c.flags...), " "), func(t *testing.T) {
			image := testimages.Load(t, c.image)
			dir := me().mount(t, append(c.flags, image.UnpackTo(t, inMemory(t))...)...)
			testCopies(t, filepath.Join(dir, c.path), lv(t, image, c.path).Size, c.all)
		})
	}
}

// inMemory is a directory where it takes no time to sync, as each close does.
func inMemory(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "lvm2fs-test-")
	if err != nil {
		return me().tempDir(t)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func testCopies(t *testing.T, volume string, size int64, all bool) {
	scratch := inMemory(t)
	source := filepath.Join(scratch, "source")
	regular := filepath.Join(scratch, "regular")
	before := old(size)
	for _, s := range sparseFiles(size) {
		s.write(t, source)
		for _, c := range copiers {
			if !(all || c.everywhere && s.basic) || !(c.everywhere || s.basic) {
				continue
			}
			if err := os.RemoveAll(regular); err != nil {
				t.Fatal(err)
			}
			overwrite(t, regular, before)
			overwrite(t, volume, before)
			onFile := me().run(t, "sh", "-c", c.on(source, regular))
			onVolume := me().run(t, "sh", "-c", c.on(source, volume))
			want, got := readFile(t, regular), readFile(t, volume)
			what := fmt.Sprintf("%s, of %s", c.command, s)
			if onFile.code != 0 && s.size <= size {
				t.Errorf("%s, onto a file: exit %d\n%s", what, onFile.code, onFile.stderr)
			}
			if int64(len(got)) != size {
				t.Errorf("%s: the volume has %d bytes now", what, len(got))
				continue
			}
			if onFile.code != 0 || int64(len(want)) > size {
				if onVolume.code == 0 && (c.asks() || s.full()) {
					t.Errorf("%s: not all of it was copied, exit 0", what)
				}
				if n := len(before); s.full() && c.begins() && !bytes.Equal(got, want[:n]) {
					t.Errorf("%s: not copied up to the end", what)
				}
				continue
			}
			if onVolume.code != 0 {
				t.Errorf("%s: exit %d\n%s", what, onVolume.code, onVolume.stderr)
			}
			if !bytes.Equal(got[:len(want)], want) {
				t.Errorf("%s: differs from a copy onto a file", what)
			}
			if !bytes.Equal(got[len(want):], before[len(want):]) {
				t.Errorf("%s: bytes behind the end of the copy have changed", what)
			}
		}
	}
}

func TestACopyThatCannotBeMadeChangesNothing(t *testing.T) {
	testenv.NeedTools(t, "cp")
	c := testimages.Load(t, "linear-multi")
	dir := me().mount(t, me().unpack(t, c)...)
	volume := filepath.Join(dir, "vg-multi_1.x+y/a+b--c.renamed")
	before := readFile(t, volume)
	source := filepath.Join(me().tempDir(t), "source")
	sparse{"dd.d....d..ddd.d", 100_000, true}.write(t, source)
	if r := me().run(t, "cp", "--reflink=always", source, volume); r.code == 0 {
		t.Error("cp --reflink=always: exit 0")
	}
	if !bytes.Equal(readFile(t, volume), before) {
		t.Error("the volume has other bytes now")
	}
}

// From one file of the mount to another the kernel copies by itself.
func TestACopyFromVolumeToVolumeLeavesNoOldBytes(t *testing.T) {
	testenv.Long(t)
	testenv.NeedTools(t, "cp")
	c := testimages.Load(t, "linear-multi")
	dir := me().mount(t, me().unpack(t, c)...)
	from, to := filepath.Join(dir, "vg-multi_1.x+y/a+b--c.renamed"), filepath.Join(dir, root)
	zeros := filepath.Join(dir, "vg-multi_1.x+y/zeroes")
	for _, source := range []string{from, zeros} {
		for _, mode := range []string{"auto", "always", "never"} {
			before := old(lv(t, c, root).Size)
			overwrite(t, to, before)
			me().must(t, "cp", "--sparse="+mode, source, to)
			copy(before, readFile(t, source))
			if !bytes.Equal(readFile(t, to), before) {
				t.Errorf("cp --sparse=%s %s: other bytes", mode, source)
			}
		}
	}
}

// Somebody truncates the file of an LV. A loop device that was there before sees the whole LV all the time.
func TestALoopDeviceKeepsItsVolumeThroughATruncation(t *testing.T) {
	testenv.Long(t)
	testenv.NeedLoop(t)
	c := testimages.Load(t, "linear-multi")
	dir := me().mount(t, me().unpack(t, c)...)
	volume := filepath.Join(dir, "vg-multi_1.x+y/a+b--c.renamed")
	want := readFile(t, volume)
	loop := loopDevice(t, volume)
	other := me().command("sh", "-c", "exec >"+volume+"; read line")
	stdin, err := other.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	truncated := func() bool {
		info, err := os.Stat(volume)
		return err == nil && info.Size() == 0
	}
	if !waitFor(10e9, truncated) {
		t.Error("the file does not show that it is truncated")
	}
	f, err := os.OpenFile(loop, os.O_RDWR|os.O_SYNC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	sector := bytes.Repeat([]byte("loop"), 1024)
	if _, err := f.WriteAt(sector, 1<<20); err != nil {
		t.Error(err)
	}
	copy(want[1<<20:], sector)
	if got, err := io.ReadAll(f); err != nil || !bytes.Equal(got, want) {
		t.Errorf("read from the loop device meanwhile: %d bytes, %v, or other ones", len(got), err)
	}
	stdin.Close()
	_ = other.Wait()
	if !bytes.Equal(readFile(t, volume), want) {
		t.Error("the LV has other bytes now")
	}
}
