package text

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"lvm2fs/internal/test/testenv"
)

// outline writes a tree in one way, whatever way it was written in before.
func outline(s *Section) string {
	var b strings.Builder
	var walk func(*Section)
	walk = func(s *Section) {
		for _, e := range s.entries {
			fmt.Fprintf(&b, "%q", e.key)
			if e.section != nil {
				b.WriteString("{")
				walk(e.section)
				b.WriteString("} ")
				continue
			}
			b.WriteString("=[")
			for i, v := range e.values {
				if i > 0 {
					b.WriteString(",")
				}
				switch v.Kind {
				case Int:
					fmt.Fprint(&b, v.Int)
				case Float:
					fmt.Fprint(&b, v.Str)
				case String:
					fmt.Fprintf(&b, "%q", v.Str)
				}
			}
			b.WriteString("] ")
		}
	}
	walk(s)
	return strings.TrimSpace(b.String())
}

func TestTheGrammar(t *testing.T) {
	for _, test := range []struct{ name, src, want string }{
		{"nothing", "", ""},
		{"only a comment", "# hello", ""},
		{"an integer", "seqno = 22", `"seqno"=[22]`},
		{"a negative integer", "read_ahead = -1", `"read_ahead"=[-1]`},
		{"an integer with a plus", "a = +5", `"a"=[5]`},
		{"an octal integer", "a = 010", `"a"=[8]`},
		{"a leading zero", "a = 03", `"a"=[3]`},
		{"zero", "a = 0", `"a"=[0]`},
		{"the largest integer", "a = 9223372036854775807", fmt.Sprintf(`"a"=[%d]`, math.MaxInt64)},
		{"the smallest integer", "a = -9223372036854775808", fmt.Sprintf(`"a"=[%d]`, math.MinInt64)},
		{"a float", "a = -1.50", `"a"=[-1.50]`},
		{"a float without digits in front", "a = .5", `"a"=[.5]`},
		{"a float without digits behind", "a = 5.", `"a"=[5.]`},
		{"a string", `id = "x y"`, `"id"=["x y"]`},
		{"the two escapes", `a = "\"\\"`, `"a"=["\"\\"]`},
		{"a backslash before anything else", `a = "\n\x"`, `"a"=["\\n\\x"]`},
		{"a backslash before the closing quote", `a = "\\" b = 1`, `"a"=["\\"] "b"=[1]`},
		{"a single-quoted string", `a = 'x"\y\'`, `"a"=["x\"\\y\\"]`},
		{"an empty string", `a = ""`, `"a"=[""]`},
		{"a string over two lines", "a = \"x\ny\"", `"a"=["x\ny"]`},
		{"a comment sign within a string", `a = "#" b = 1`, `"a"=["#"] "b"=[1]`},
		{"an unquoted string", "write_policy = sync", `"write_policy"=["sync"]`},
		{"an empty list", "flags = []", `"flags"=[]`},
		{"a list of strings", `status = ["READ", "WRITE"]`, `"status"=["READ","WRITE"]`},
		{"a mixed list", `stripes = ["pv0", 0, "pv1", 10]`, `"stripes"=["pv0",0,"pv1",10]`},
		{"a trailing comma", `a = ["x", ]`, `"a"=["x"]`},
		{"no comma before a string", `a = ["x" "y" 'z']`, `"a"=["x","y","z"]`},
		{"unquoted strings in a list", "a = [ x , y ]", `"a"=["x","y"]`},
		{"a section", "vg { a = 1 }", `"vg"{"a"=[1] }`},
		{"an empty section", "vg {}", `"vg"{}`},
		{
			"no blanks at all", `vg{id="x"policy_settings{migration_threshold=4096}}n=1`,
			`"vg"{"id"=["x"] "policy_settings"{"migration_threshold"=[4096] } } "n"=[1]`,
		},
		{"every kind of white space", "a\t=\r\n1\v\fb = 2", `"a"=[1] "b"=[2]`},
		{"comments after any token", "a # x = 2\n= # y\n[ # z\n1 # ]\n, 2 # [\n] # end", `"a"=[1,2]`},
		{"a comment right behind a value", "a = 1# one\nb = x# two", `"a"=[1] "b"=["x"]`},
		{"quoted keys", `"a b" = 1 'c' { }`, `"a b"=[1] "c"{}`},
		{"a key that looks like a number", "1 { 2 = 3 } -x = 4", `"1"{"2"=[3] } "-x"=[4]`},
		{"a key with the characters of names", "my-vg_1.x+y { }", `"my-vg_1.x+y"{}`},
		{"one key in two sections", "a { k = 1 } b { k = 2 }", `"a"{"k"=[1] } "b"{"k"=[2] }`},
		{"nothing counts behind a NUL", "a = 1\x00}}} \"", `"a"=[1]`},
		{"bytes that are not ASCII", "a = \"\xff\xc3\xa9\"", `"a"=["\xffé"]`},
	} {
		t.Run(test.name, func(t *testing.T) {
			top, err := Parse([]byte(test.src))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, outline(top)); diff != "" {
				t.Errorf("%s\n(-want +got)\n%s", test.src, diff)
			}
		})
	}
}

func TestASyntaxErrorSaysWhere(t *testing.T) {
	deep := strings.Repeat("s {", maxDepth+1) + strings.Repeat("}", maxDepth+1)
	for _, test := range []struct{ name, src, want string }{
		{"a value without a key", "= 1", `line 1, column 1: unexpected "=", want a key`},
		{"a brace too many", "vg { }\n}", `line 2, column 1: unexpected "}", want a key`},
		{"a missing brace", "vg {\n a = 1\n", `line 3, column 1: unexpected the end of the text, want a key or "}"`},
		{"a key alone", "vg", `line 1, column 3: unexpected the end of the text, want "=" or "{"`},
		{"two keys", "a b = 1", `line 1, column 3: unexpected "b", want "=" or "{"`},
		{"a key without a value", "a =", `line 1, column 4: unexpected the end of the text, want a value`},
		{"a section for a value", "a = { }", `line 1, column 5: unexpected "{", want a value`},
		{"a bracket for a value", "a = ]", `line 1, column 5: unexpected "]", want a value`},
		{"two scalars", `a = "x" 5`, `line 1, column 10: unexpected the end of the text, want "=" or "{"`},
		{"an open list", `a = ["x", `, `line 1, column 11: unexpected the end of the text, want a value or "]"`},
		{"an open list of one", `a = ["x"`, `line 1, column 9: unexpected the end of the text, want "," or "]"`},
		{"a list in a list", "a = [[1]]", `line 1, column 6: unexpected "[", want a value or "]"`},
		{"two commas", "a = [1,,2]", `line 1, column 8: unexpected ",", want a value or "]"`},
		{"only a comma", "a = [,]", `line 1, column 6: unexpected ",", want a value or "]"`},
		{"no comma before a number", `a = ["x" 1]`, `line 1, column 10: unexpected "1", want "," or "]"`},
		{"no comma before a word", `a = ["x" y ]`, `line 1, column 10: unexpected "y", want "," or "]"`},
		{"an open string", "a = 1\nb = \"x\nc", `line 2, column 5: a string without its closing quote`},
		{"an open string that ends in a backslash", `b = "x\`, `line 1, column 5: a string without its closing quote`},
		{"an open key", "\n\n 'vg { }", `line 3, column 2: a string without its closing quote`},
		{"a hexadecimal number", "a = 0x10", `line 1, column 5: a malformed number (a string needs quotes)`},
		{"an octal number with a 9", "a = 019", `line 1, column 5: a number with a leading 0 is octal, and has no digit above 7`},
		{"letters behind a number", "a = 12ab", `line 1, column 5: a malformed number (a string needs quotes)`},
		{"a sign alone", "a = -", `line 1, column 5: a malformed number (a string needs quotes)`},
		{"a dot alone", "a = .", `line 1, column 5: a malformed number (a string needs quotes)`},
		{"words that run together", "a = [x,y]", `line 1, column 6: the unquoted value "x,y]" is ambiguous`},
		{"a path for a key", "a/b = 1", `line 1, column 1: the key "a/b" contains a slash`},
		{"too many levels", deep, fmt.Sprintf("line 1, column %d: sections are nested deeper than %d", 3*maxDepth+3, maxDepth)},
	} {
		t.Run(test.name, func(t *testing.T) {
			top, err := Parse([]byte(test.src))
			var syntax *SyntaxError
			if !errors.As(err, &syntax) {
				t.Fatalf("%s\ngot %v and error %v, want a *SyntaxError", test.src, top, err)
			}
			if diff := cmp.Diff(test.want, err.Error()); diff != "" {
				t.Errorf("%s\n(-want +got)\n%s", test.src, diff)
			}
		})
	}
}

func TestTheDeepestNestingAllowedIsRead(t *testing.T) {
	if _, err := Parse([]byte(strings.Repeat("s {", maxDepth) + strings.Repeat("}", maxDepth))); err != nil {
		t.Error(err)
	}
}

func TestADuplicateAmongThousandsOfKeysIsFound(t *testing.T) {
	for _, n := range []int{few - 1, few, few + 1, 5000} {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, "k%d = %d\n", i, i)
		}
		top, err := Parse([]byte(b.String()))
		if err != nil || len(top.Repeats()) > 0 {
			t.Fatal(top.Repeats(), err)
		}
		fmt.Fprintf(&b, "k%d { }", n/2)
		top, err = Parse([]byte(b.String()))
		if err != nil {
			t.Fatal(err)
		}
		if want := fmt.Sprintf("k%d (line %d, column 1) occurs twice, first at line %d, column 1", n/2, n+1, n/2+1); len(top.Repeats()) != 1 || top.Repeats()[0].Error() != want {
			t.Errorf("got %v, want %s", top.Repeats(), want)
		}
	}
}

func TestOfAKeyThatOccursTwiceTheFirstIsFound(t *testing.T) {
	for _, test := range []struct{ src, repeat string }{
		{"a = 1\n a = 2", "a (line 2, column 2) occurs twice, first at line 1, column 1"},
		{"a = 1\n a { }", "a (line 2, column 2) occurs twice, first at line 1, column 1"},
	} {
		top, err := Parse([]byte(test.src))
		if err != nil {
			t.Fatal(err)
		}
		if a, err := top.Uint("a", 10); a != 1 || err != nil || len(top.Repeats()) != 1 || top.Repeats()[0].Error() != test.repeat {
			t.Errorf("%s\ngot %d, %v, repeats %v", test.src, a, err, top.Repeats())
		}
	}
	top, err := Parse([]byte("a { x = 1 } a = 2 a { x = 3 }"))
	if err != nil {
		t.Fatal(err)
	}
	if x, err := top.Section("a").Uint("x", 10); x != 1 || err != nil || len(top.Sections()) != 2 || len(top.Repeats()) != 2 {
		t.Errorf("got x = %d, %v, %d sections, repeats %v", x, err, len(top.Sections()), top.Repeats())
	}
	if a, err := top.OnlyValues().Uint("a", 10); a != 2 || err != nil {
		t.Errorf("behind the section is %d, %v", a, err)
	}
}

func TestATextThatIsTooLargeIsRefused(t *testing.T) {
	testenv.Long(t)
	if _, err := Parse(make([]byte, maxSize+1)); err == nil {
		t.Error("no error for more bytes than the bound")
	}
	values := "a = [" + strings.Repeat("1,", maxNodes) + "]"
	if _, err := Parse([]byte(values)); err == nil || !strings.Contains(err.Error(), "keys and values") {
		t.Errorf("got %v for more values than the bound", err)
	}
}

func TestParseDoesNotKeepItsSource(t *testing.T) {
	src := []byte(`a = "before"`)
	top, err := Parse(src)
	if err != nil {
		t.Fatal(err)
	}
	copy(src, `b = "xxxxxx"`)
	if got, _ := top.Str("a"); got != "before" {
		t.Errorf("a is %q after the source has changed", got)
	}
}

func TestPositionsCountLinesAndBytes(t *testing.T) {
	top, err := Parse([]byte("# one\n\tvg { # two\r\n  a = [ \"x\ny\", 7 ] b=\"é\" c='d'\n}"))
	if err != nil {
		t.Fatal(err)
	}
	vg := top.Section("vg")
	values, _ := vg.Lookup("a")
	c, _ := vg.Lookup("c")
	got := []Pos{top.Pos, vg.Pos, values[0].Pos, values[1].Pos, c[0].Pos}
	want := []Pos{{1, 1}, {2, 2}, {3, 9}, {4, 5}, {4, 18}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestTheBackupsOfTheTestImagesParse(t *testing.T) {
	files, err := filepath.Glob("../../../testdata/images/*/metadata-*.vg")
	if err != nil || len(files) == 0 {
		t.Fatalf("no backups in testdata: %v", err)
	}
	for _, file := range files {
		src, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		top, err := Parse(src)
		if err != nil {
			t.Errorf("%s: %v", file, err)
			continue
		}
		if contents, err := top.Str("contents"); err != nil || contents != "Text Format Volume Group" {
			t.Errorf("%s: contents is %q, %v", file, contents, err)
		}
		name := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(file), "metadata-"), ".vg")
		if subs := top.Sections(); len(subs) != 1 || subs[0].Key != name {
			t.Errorf("%s: top level is %s", file, outline(top)[:100])
		}
	}
}

// manyLVs is a text as LVM2 writes it of a VG with n LVs.
func manyLVs(n int) []byte {
	var b strings.Builder
	b.WriteString("vg {\nid = \"kSmvzg-hu2Q-PsJ3-3bzy-oyEH-IhsQ-LD9BHl\"\nseqno = 2001\nformat = \"lvm2\"\nstatus = [\"RESIZEABLE\", \"READ\", \"WRITE\"]\nextent_size = 128\nlogical_volumes {\n")
	for i := range n {
		fmt.Fprintf(&b, "lv%04d {\nid = \"kSmvzg-hu2Q-PsJ3-3bzy-oyEH-IhsQ-L%05d\"\nstatus = [\"READ\", \"WRITE\", \"VISIBLE\"]\nflags = []\ncreation_time = 1795365656\ncreation_host = \"(none)\"\nsegment_count = 1\n\nsegment1 {\nstart_extent = 0\nextent_count = 1\n\ntype = \"striped\"\nstripe_count = 1\n\nstripes = [\n\"pv0\", %d\n]\n}\n}\n", i, i, i)
	}
	b.WriteString("}\n}\ncontents = \"Text Format Volume Group\"\nversion = 1\n")
	return []byte(b.String())
}

func BenchmarkParseVGWith2000LVs(b *testing.B) {
	src := manyLVs(2000)
	b.SetBytes(int64(len(src)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse(src); err != nil {
			b.Fatal(err)
		}
	}
}

func TestHostileTextsTakeNoLongerThanTheirLength(t *testing.T) {
	testenv.Long(t)
	const n = 4 << 20
	start := time.Now()
	for _, unit := range []string{"a{", "a=[", "#\n", "\\\"", "x", "\"\",", "1,", "k=1 "} {
		for _, prefix := range []string{"", "a=\"", "a=["} {
			src := prefix + strings.Repeat(unit, n/len(unit))
			if _, err := Parse([]byte(src)); err == nil && unit != "#\n" && prefix+unit != "k=1 " {
				t.Errorf("no error for %.20s...", src)
			}
		}
	}
	// Some 0.2 s; anything quadratic would be at it for hours.
	if took := time.Since(start); took > 30*time.Second {
		t.Errorf("%d MiB took %v", 24*n>>20, took)
	}
}
