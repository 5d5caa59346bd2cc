package cli

import (
	"cmp"
	"errors"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"

	"github.com/alecthomas/kong"

	"lvm2fs/internal/test/testpv"
)

// latin1 is a name from before UTF-8. It also has what a separator or an escape could spoil.
const latin1 = "caf\xe9 \xff\xfe,\\,=\x1b[1m"

func TestBytesOfArgumentsStayWhatTheyAre(t *testing.T) {
	parser, err := newParser(new(CLI), io.Discard, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	var command *kong.Node
	check := func(value *kong.Value, args ...string) {
		if value.Enum != "" || value.Target.Kind() != reflect.String && value.Target.Kind() != reflect.Slice {
			return
		}
		words := []string{command.Name}
		for _, flag := range command.Flags {
			flag.Set = false // by an earlier check
			if flag.Required && flag.Value != value {
				words = append(words, "--"+flag.Name+"=x")
			}
		}
		args = append(words, args...)
		_, err := parser.Parse(canonicalArgs(parser.Model, args))
		if err != nil {
			t.Errorf("%q: %v", args, err)
			return
		}
		got := ""
		switch target := value.Target.Interface().(type) {
		case string:
			got = target
		case []string:
			got = target[len(target)-1]
		}
		if got != latin1 {
			t.Errorf("%q: %q", args, got)
		}
	}
	for _, command = range parser.Model.Children {
		for _, flag := range command.Flags {
			check(flag.Value, "--"+flag.Name, latin1)
			check(flag.Value, "--"+flag.Name+"="+latin1)
			if flag.Short != 0 {
				check(flag.Value, "-"+string(flag.Short), latin1)
				check(flag.Value, "-"+string(flag.Short)+latin1)
			}
		}
		var before []string // what stands in front of a positional
		for _, positional := range command.Positional {
			check(positional, append(before, latin1)...)
			if positional.IsSlice() {
				check(positional, append(before, "first", "--", latin1)...)
			}
			word, _, _ := strings.Cut(positional.Enum, ",")
			before = append(before, cmp.Or(word, "x"))
		}
	}
}

func TestFilesWhoseNamesAreNotUTF8(t *testing.T) {
	dir := t.TempDir()
	disk := writeDisks(t, testpv.VG{Name: "vg", Seqno: 1, PVs: []string{"sda"}, LVs: []testpv.LV{{Name: "lv", Segments: []string{testpv.Linear(0, 1, "pv0", 0)}}}})[0]
	image, out := filepath.Join(dir, latin1+".img"), filepath.Join(dir, "out "+latin1)
	if err := os.Rename(disk, image); errors.Is(err, syscall.EILSEQ) {
		t.Skip("SKIP: this file system takes names in UTF-8 only")
	} else if err != nil {
		t.Fatal(err)
	}
	if r := runMain("dump", "-C", out, image); r.code != exitOK {
		t.Fatalf("%+v", r)
	}
	if _, err := os.Stat(filepath.Join(out, "vg", "lv")); err != nil {
		t.Error(err)
	}
	escaped := `caf\xe9 \xff\xfe,\,=\x1b[1m`
	for want, args := range map[string][]string{
		"out " + escaped + "/vg/lv exists":                      {"dump", "-C", out, image},
		escaped + ".img(0)":                                     {"list", image},
		`caf\\xe9 \\xff\\xfe,\\,=\u001b[1m.img"`:                {"list", "--json", image},
		`caf\\xe9 \\xff\\xfe,\\,=\u001b[1m.img","device_offset`: {"map", "--json", "--lv", "vg/lv", image},
		escaped + ": no such file":                              {"list", filepath.Join(dir, latin1)},
		escaped + ".key: no such file":                          {"list", "--key-file", filepath.Join(dir, latin1+".key"), image},
	} {
		r := runMain(args...)
		if !strings.Contains(r.stdout+r.stderr, want) {
			t.Errorf("%q: no %q in\n%s%s", args, want, r.stdout, r.stderr)
		}
	}
}
