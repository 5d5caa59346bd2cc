package cli

import (
	"bytes"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestLinesAreBrokenBetweenWords(t *testing.T) {
	for _, c := range []struct {
		width      int
		text, want string
	}{
		{20, "short", "short"},
		{10, "one two three four", "one two\nthree four"},
		{10, "one\ntwo\n\nthree", "one two\n\nthree"},
		{10, "unbreakable", "unbreakable"},
		{12, "a,bcdef,ghijk,l", "a,bcdef,\nghijk,l"},
		{16, "  -x  says what it does", "  -x  says what\n      it does"},
		{16, "  an indented line", "  an indented\n  line"},
		{8, "größe größe", "größe\ngröße"},
	} {
		if got := wrapText(c.text, c.width); got != c.want {
			t.Errorf("%q at %d:\n%s\nnot\n%s", c.text, c.width, got, c.want)
		}
	}
}

func TestHelpFitsATerminal(t *testing.T) {
	commands := []string{""}
	parser, err := newParser(new(CLI), new(bytes.Buffer), new(bytes.Buffer))
	if err != nil {
		t.Fatal(err)
	}
	for _, command := range parser.Model.Children {
		commands = append(commands, command.Name)
	}
	for _, command := range commands {
		var stdout bytes.Buffer
		args := strings.Fields(command + " --help")
		if code := Main(args, strings.NewReader(""), &stdout, &stdout); code != exitOK {
			t.Fatalf("%v: %s", args, stdout.String())
		}
		for line := range strings.Lines(stdout.String()) {
			if n := utf8.RuneCountInString(strings.TrimRight(line, "\n")); n > 80 {
				t.Errorf("%v: a line of %d characters: %s", args, n, line)
			}
		}
	}
}

func TestTheLocaleTellsWhetherTreesAreASCII(t *testing.T) {
	for _, c := range []struct {
		env  map[string]string
		want bool
	}{
		{nil, false},
		{map[string]string{"LANG": "de_DE.UTF-8"}, true},
		{map[string]string{"LANG": "C.utf8"}, true},
		{map[string]string{"LANG": "de_DE.UTF-8", "LC_ALL": "C"}, false},
		{map[string]string{"LANG": "C", "LC_CTYPE": "en_GB.UTF-8"}, true},
		{map[string]string{"LANG": "de_DE.ISO-8859-1"}, false},
	} {
		if got := hasUTF8(func(name string) string { return c.env[name] }); got != c.want {
			t.Errorf("%v: %v", c.env, got)
		}
	}
}
