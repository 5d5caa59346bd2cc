package pieces

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"lvm2fs/blockdev"
	"lvm2fs/internal/test/testenv"
	"lvm2fs/mapping"
)

// place makes files of the given sizes, in order. Each has bytes of its own.
func place(t *testing.T, sizes []int, names ...string) (dir string, whole []byte) {
	t.Helper()
	dir = t.TempDir()
	for i, name := range names {
		b := bytes.Repeat([]byte{byte(i + 1)}, sizes[min(i, len(sizes)-1)])
		whole = append(whole, b...)
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir, whole
}

func open(t *testing.T, path string) (*Disk, error) {
	t.Helper()
	f, err := blockdev.Open(path, blockdev.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	d, err := Open(f)
	if err == nil {
		t.Cleanup(func() { d.Close() })
	}
	return d, err
}

func TestAnyPieceNamesAllOfThem(t *testing.T) {
	for _, names := range [][]string{
		{"disk.001", "disk.002", "disk.003"},
		{"disk.raw.000", "disk.raw.001", "disk.raw.002"},
		{"disk00", "disk01"},
		{"xaa", "xab", "xac"},
		{"disk.img.aa", "disk.img.ab"},
		{"diskaa", "diskab"},
		{"disk.aaa", "disk.aab"},
	} {
		// These are no pieces.
		others := []string{"disk.img", "disk.log", "disk.txt", "notes", "disk.0001", "other.001", "disk.qcow2", "b2024"}
		if names[0] == "disk.aaa" {
			others = others[3:] // img could be a piece of that
		}
		dir, _ := place(t, []int{1}, slices.Concat(names, others)...)
		var want []string
		for _, name := range names {
			want = append(want, filepath.Join(dir, name))
		}
		for _, name := range names {
			if got, err := Find(filepath.Join(dir, name)); err != nil || !slices.Equal(got, want) {
				t.Errorf("%s: %v, %v", name, got, err)
			}
		}
		for _, name := range others {
			if got, err := Find(filepath.Join(dir, name)); len(got) > 1 || err != nil && !errors.Is(err, ErrNoPiece) {
				t.Errorf("%s: %v, %v", name, got, err)
			}
		}
	}
}

func TestWhatIsNotCertainIsNotJoined(t *testing.T) {
	for _, c := range []struct {
		names []string
		sizes []int
		want  string
	}{
		{[]string{"disk.001", "disk.003"}, []int{10}, "no disk.002"},
		{[]string{"disk.002", "disk.003"}, []int{10}, "there is no disk.001"},
		{[]string{"xaa", "xab", "xad"}, []int{10}, "no xac"},
		{[]string{"disk.ab", "disk.ac"}, []int{10}, "there is no disk.aa"},
		{[]string{"disk.001", "disk.002", "disk.003"}, []int{10, 9, 10}, "disk.002"},
		{[]string{"disk.001", "disk.002"}, []int{10, 11}, "has 11 bytes"},
		{[]string{"disk.001", "disk.002"}, []int{10, 0}, "has 0 bytes"},
		{[]string{"disk.001", "disk.002"}, []int{0, 0}, "has 0 bytes"},
	} {
		dir, _ := place(t, c.sizes, c.names...)
		_, err := open(t, filepath.Join(dir, c.names[0]))
		if text := strings.ReplaceAll(errorText(err), dir+"/", ""); !errors.Is(err, ErrUncertain) || !strings.Contains(text, c.want) {
			t.Errorf("%v: %v", c.names, err)
		}
	}
	// split has two ways to go on after xyz.
	var all []string
	for a := 'a'; a <= 'y'; a++ {
		for b := 'a'; b <= 'z'; b++ {
			all = append(all, "x"+string(a)+string(b))
		}
	}
	dir, _ := place(t, []int{1}, append(all, "xza", "xzaaa")...)
	if _, err := Find(filepath.Join(dir, "xaa")); !errors.Is(err, ErrUncertain) || !strings.Contains(err.Error(), "xzaaa") {
		t.Error(err)
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestPiecesAreOneDisk(t *testing.T) {
	dir, want := place(t, []int{1000, 1000, 700}, "disk.001", "disk.002", "disk.003")
	d, err := open(t, filepath.Join(dir, "disk.001"))
	if err != nil {
		t.Fatal(err)
	}
	if d.Size() != 2700 || !strings.HasSuffix(d.Name(), "disk.001 ... disk.003") || len(mapping.Bottom(d)) != 3 {
		t.Errorf("%s: %d bytes, %v", d.Name(), d.Size(), d.Beneath())
	}
	for _, r := range [][2]int{{0, 2700}, {999, 2}, {1000, 1000}, {1, 2699}, {2600, 100}} {
		p := make([]byte, r[1])
		if n, err := d.ReadAt(p, int64(r[0])); n != len(p) || err != nil || !bytes.Equal(p, want[r[0]:][:r[1]]) {
			t.Errorf("%v: %d, %v", r, n, err)
		}
	}
	if n, err := d.ReadAt(make([]byte, 10), 2695); n != 5 || err != io.EOF {
		t.Error(n, err)
	}
	if e, err := d.Map(1500, 5000); err != nil || e.Length != 500 || e.Offset != 500 || e.Device != mapping.Device(d.files[1]) {
		t.Error(e, err)
	}
	// A piece that is cut off later gives an error there, and no zeros.
	if err := os.Truncate(filepath.Join(dir, "disk.002"), 300); err != nil {
		t.Fatal(err)
	}
	if n, err := d.ReadAt(make([]byte, 2700), 0); n != 1300 || err == nil || err == io.EOF {
		t.Error(n, err)
	}
}

func TestWhatSplitMakesIsJoined(t *testing.T) {
	testenv.NeedTools(t, "split")
	for _, args := range [][]string{{"-b", "1000"}, {"-b", "1000", "-d"}, {"-b", "7"}, {"-b", "7", "-d"}, {"-b", "7", "-a", "3"}, {"-b", "5000", "--numeric-suffixes=1", "-a", "3"}} {
		dir := t.TempDir()
		want := make([]byte, 7000)
		for i := range want {
			want[i] = byte(i * i >> 4)
		}
		whole := filepath.Join(dir, "whole")
		if err := os.WriteFile(whole, want, 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command("split", append(args, whole, filepath.Join(dir, "disk."))...).CombinedOutput(); err != nil {
			t.Skipf("split %v: %s", args, out)
		}
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		first := filepath.Join(dir, entries[0].Name())
		d, err := open(t, first)
		if err != nil {
			t.Errorf("%v: %v", args, err)
			continue
		}
		got := make([]byte, len(want))
		if n, err := d.ReadAt(got, 0); n != len(want) || err != nil || !bytes.Equal(got, want) {
			t.Errorf("%v: %d bytes in %d pieces, %v", args, n, len(d.files), err)
		}
		last := filepath.Join(dir, entries[len(entries)-2].Name())
		if all, err := Find(last); err != nil || len(all) != len(entries)-1 {
			t.Errorf("%v: %s: %d, %v", args, last, len(all), err)
		}
	}
}
