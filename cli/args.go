package cli

import (
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// canonicalArgs brings args into the order that kong can parse: COMMAND, flags, --,
// positionals. Flags may stand before, between and after the positionals; the first
// word that is neither a flag nor the value of one is the command if it is the name
// of one, and otherwise the command is mount. A device that is called like a command
// is reached by ./list or by mount list.
func canonicalArgs(model *kong.Application, args []string) []string {
	split := splitArgs(args, takesValue(model.Node))
	command := "mount"
	switch {
	case split.words > 0 && findCommand(model, split.positionals[0]) != nil:
		command, split.positionals = split.positionals[0], split.positionals[1:]
	case len(split.positionals) == 0 && onlyGlobal(model, split.flags):
		return split.flags
	}
	canonical := append([]string{command}, split.flags...)
	return append(append(canonical, "--"), split.positionals...)
}

type splitArgsResult struct {
	flags       []string // each with its value
	positionals []string
	words       int // how many of the positionals stood before "--"
}

func splitArgs(args []string, takesValue func(flag string) bool) splitArgsResult {
	var s splitArgsResult
	for i := 0; i < len(args); i++ {
		arg := args[i]
		switch {
		case arg == "--":
			s.positionals = append(s.positionals, args[i+1:]...)
			return s
		case arg == "-" || !strings.HasPrefix(arg, "-"):
			s.positionals = append(s.positionals, arg)
			s.words++
		default:
			s.flags = append(s.flags, arg)
			if valueFollows(arg, takesValue) && i+1 < len(args) {
				i++
				s.flags = append(s.flags, args[i])
			}
		}
	}
	return s
}

// valueFollows says whether the next argument is the value of arg: --flag VALUE, or
// -abc VALUE where c is the first of the letters to take one.
func valueFollows(arg string, takesValue func(flag string) bool) bool {
	if strings.HasPrefix(arg, "--") {
		return !strings.Contains(arg, "=") && takesValue(arg)
	}
	for i, letter := range arg[1:] {
		if takesValue("-" + string(letter)) {
			return i+len(string(letter)) == len(arg)-1
		}
	}
	return false
}

// takesValue knows the flags of every command; the same flag means the same in all
// of them.
func takesValue(root *kong.Node) func(flag string) bool {
	valued := map[string]bool{}
	for _, node := range append([]*kong.Node{root}, root.Children...) {
		for _, flag := range node.Flags {
			if flag.IsBool() || flag.IsCounter() {
				continue
			}
			valued["--"+flag.Name] = true
			if flag.Short != 0 {
				valued["-"+string(flag.Short)] = true
			}
		}
	}
	return func(flag string) bool { return valued[flag] }
}

// findCommand finds a command by its name or by another name for it; nil if there is none.
func findCommand(model *kong.Application, word string) *kong.Node {
	i := slices.IndexFunc(model.Children, func(node *kong.Node) bool {
		return node.Name == word || slices.Contains(node.Aliases, word)
	})
	if i < 0 {
		return nil
	}
	return model.Children[i]
}

// onlyGlobal says whether flags are all of the program itself: --help, --version.
func onlyGlobal(model *kong.Application, flags []string) bool {
	return !slices.ContainsFunc(flags, func(arg string) bool {
		return !slices.ContainsFunc(model.Flags, func(flag *kong.Flag) bool {
			return arg == "--"+flag.Name || flag.Short != 0 && arg == "-"+string(flag.Short)
		})
	})
}
