package cli

import (
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"

	"lvm2fs/internal/test/testenv"
)

// manual is docs/lvm2fs.8, by the command that its parts are about; "" is the part
// before the first.
func manual(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(testenv.Root(), "docs", "lvm2fs.8"))
	if err != nil {
		t.Fatal(err)
	}
	sections := map[string]string{}
	for i, section := range strings.Split(strings.Split(string(text), "\n.Sh FILES")[0], "\n.Ss ") {
		name := ""
		if i > 0 {
			name, section, _ = strings.Cut(section, "\n")
		}
		sections[name] = section
	}
	return sections
}

// flagItem is how the manual begins what it says of a flag.
func flagItem(flag *kong.Flag) string {
	item := ".It Fl "
	if flag.Short != 0 {
		item += string(flag.Short) + " , Fl "
	}
	return item + "-" + flag.Name
}

func hasItem(section, item string) bool {
	return slices.ContainsFunc(strings.Split(section, "\n"), func(line string) bool {
		return line == item || strings.HasPrefix(line, item+" ")
	})
}

// shown are the commands that a user is told of.
func shown(model *kong.Application) []*kong.Node {
	return slices.DeleteFunc(slices.Clone(model.Children), func(node *kong.Node) bool { return node.Hidden })
}

func TestTheManualDescribesEveryCommandFlagAndMountOption(t *testing.T) {
	parser, err := newParser(new(CLI), io.Discard, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	sections := manual(t)
	common := sections[""]
	for _, flag := range parser.Model.Flags {
		if !hasItem(common, flagItem(flag)) {
			t.Errorf("%q is missing", flagItem(flag))
		}
	}
	for _, command := range shown(parser.Model) {
		section, ok := sections[command.Name]
		if !ok {
			t.Errorf("command %s is missing", command.Name)
		}
		for _, flag := range command.Flags {
			if flag.Hidden || hasItem(section, flagItem(flag)) || hasItem(common, flagItem(flag)) {
				continue
			}
			t.Errorf("%s: %q is missing", command.Name, flagItem(flag))
		}
	}
	for _, option := range optionNames(parser.Model) {
		if !strings.Contains(sections["mount"], "Cm "+strings.TrimSuffix(option, "=")) && !strings.Contains(sections["mount"], ", "+strings.TrimSuffix(option, "=")) {
			t.Errorf("mount option %s is missing", option)
		}
	}
}

func TestTheManualDescribesNoFlagThatIsNotThere(t *testing.T) {
	parser, err := newParser(new(CLI), io.Discard, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	var items []string
	for _, node := range append([]*kong.Node{parser.Model.Node}, parser.Model.Children...) {
		for _, flag := range node.Flags {
			items = append(items, flagItem(flag))
		}
	}
	for name, section := range manual(t) {
		for _, line := range strings.Split(section, "\n") {
			if strings.HasPrefix(line, ".It Fl ") && !slices.ContainsFunc(items, func(item string) bool { return hasItem(line, item) }) {
				t.Errorf("%s: %q is of no flag", name, line)
			}
		}
	}
}

func TestEveryCommandAndFlagHasHelpAndEveryCommandExamples(t *testing.T) {
	parser, err := newParser(new(CLI), io.Discard, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	for _, command := range shown(parser.Model) {
		if command.Help == "" || usage(command) == "" {
			t.Errorf("%s: no help or no usage", command.Name)
		}
		if !strings.Contains(command.Detail, "Examples:\n  lvm2fs ") {
			t.Errorf("%s: no examples", command.Name)
		}
		for _, flag := range command.Flags {
			if flag.Help == "" {
				t.Errorf("%s: no help for --%s", command.Name, flag.Name)
			}
		}
	}
}

func TestTheSynopsisNamesEveryFlagOfEveryCommand(t *testing.T) {
	parser, err := newParser(new(CLI), io.Discard, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(manual(t)[""], ".Sh SYNOPSIS\n")
	text, _, _ = strings.Cut(text, ".Sh ")
	// The part that begins with the word command is about every command with devices.
	parts := map[string]string{}
	for _, part := range strings.Split(text, ".Nm\n")[1:] {
		name, _, _ := strings.Cut(part, "\n")
		parts[name[strings.LastIndex(name, " ")+1:]] += part // a command may have several forms
	}
	for _, command := range shown(parser.Model) {
		part, ok := parts[command.Name]
		if !ok {
			t.Errorf("%s is missing", command.Name)
		}
		for _, flag := range slices.Concat(command.Flags, parser.Model.Flags) {
			names := "-" + regexp.QuoteMeta(flag.Name)
			if flag.Short != 0 {
				names += "|[[:alpha:]]*" + string(flag.Short) + "[[:alpha:]]*"
			}
			named := regexp.MustCompile(`(?m)Fl (` + names + `)( |$)`)
			if !flag.Hidden && !named.MatchString(part) && !named.MatchString(parts["command"]) {
				t.Errorf("%s: --%s is missing", command.Name, flag.Name)
			}
		}
	}
}
