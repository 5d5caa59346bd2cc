package text

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// format writes a tree as text that Parse reads.
func format(b *strings.Builder, s *Section) {
	quote := func(s string) string {
		return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
	}
	for _, e := range s.entries {
		b.WriteString(quote(e.key))
		if e.section != nil {
			b.WriteString(" {\n")
			format(b, e.section)
			b.WriteString("}\n")
			continue
		}
		b.WriteString(" = [")
		for _, v := range e.values {
			if v.Kind == String {
				b.WriteString(quote(v.Str))
			} else {
				b.WriteString(v.Str)
			}
			b.WriteString(", ")
		}
		b.WriteString("]\n")
	}
}

// FuzzParse holds that a text that is read means the same after it was written in
// another way, and that an error lies within the text.
func FuzzParse(f *testing.F) {
	backups, _ := filepath.Glob("../../../testdata/images/*/metadata-*.vg")
	for _, name := range backups {
		src, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(src)
	}
	for _, src := range []string{
		`a = "\"\\\n" b = 'x"\' c = [x, 1, -1.5 ,] # d` + "\n'e f' { g = 010 h { } }\x00",
		"a = 1 a { b = 2 b = 3 } a { } a = [ ]",
		`policy_settings{migration_threshold=4096}a = ["x" 'y']`,
	} {
		f.Add([]byte(src))
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		top, err := Parse(src)
		if err != nil {
			var syntax *SyntaxError
			if !errors.As(err, &syntax) {
				t.Fatalf("%v is no *SyntaxError", err)
			}
			lines := strings.Split(string(src), "\n")
			if p := syntax.Pos; p.Line < 1 || p.Line > len(lines) || p.Column < 1 || p.Column > len(lines[p.Line-1])+1 {
				t.Fatalf("%v is outside of the text", err)
			}
			return
		}
		var b strings.Builder
		format(&b, top)
		again, err := Parse([]byte(b.String()))
		if err != nil {
			t.Fatalf("written anew: %v\n%s", err, b.String())
		}
		if first, second := outline(top), outline(again); first != second {
			t.Fatalf("read as\n%s\nand written anew as\n%s", first, second)
		}
		use(top)
	})
}

// use calls every way of look-up for every key.
func use(s *Section) {
	for _, e := range s.entries {
		for _, key := range []string{e.key, e.key + "x"} {
			s.Lookup(key)
			_, err1 := s.Str(key)
			_, err2 := s.OptStr(key)
			_, err3 := s.Uint(key, 100)
			_, err4 := s.OptUint(key, 1, 100)
			_, err5 := s.OptInt(key, 1)
			_, err6 := s.Strs(key)
			_ = fmt.Sprint(err1, err2, err3, err4, err5, err6)
		}
		if len(s.repeats) == 0 && s.Section(e.key) != e.section {
			panic("a section is not found by its key")
		}
	}
	for _, sub := range s.Sections() {
		use(sub)
	}
}
