package cli

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

type completionCmd struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"bash, zsh or fish."`
}

// Help is shown by lvm2fs completion --help, between the synopsis and the flags.
func (completionCmd) Help() string {
	return `Examples:
  lvm2fs completion bash > /usr/share/bash-completion/completions/lvm2fs
  lvm2fs completion zsh > /usr/local/share/zsh/site-functions/_lvm2fs
  lvm2fs completion fish > ~/.config/fish/completions/lvm2fs.fish
  eval "$(lvm2fs completion bash)"          for this shell only`
}

func (c *completionCmd) Run(a *app, ctx *kong.Context) error {
	write := map[string]func(io.Writer, grammar){
		"bash": writeBash,
		"zsh":  writeZsh,
		"fish": writeFish,
	}[c.Shell]
	write(a.stdout, newGrammar(ctx.Model))
	return nil
}

// grammar is what completion needs of the command line.
type grammar struct {
	commands []completedCommand
	options  []string // of -o
}

type completedCommand struct {
	name, help string
	flags      []completedFlag
	words      []string // possible arguments; none for files
}

type completedFlag struct {
	names      []string // -o, --options
	help       string
	takesValue bool
	directory  bool // the value is one
}

func newGrammar(model *kong.Application) grammar {
	var g grammar
	for _, node := range model.Children {
		if node.Hidden {
			continue
		}
		command := completedCommand{name: node.Name, help: node.Help}
		for _, flag := range slices.Concat(node.Flags, model.Flags) {
			if !flag.Hidden {
				command.flags = append(command.flags, newCompletedFlag(flag))
			}
		}
		for _, arg := range node.Positional {
			if arg.Tag.Enum != "" {
				command.words = strings.Split(arg.Tag.Enum, ",")
			}
		}
		g.commands = append(g.commands, command)
	}
	g.options = slices.Concat([]string{
		"ro", "rw", "allow_other", "allow_root", "auto_unmount", "kernel_cache", "direct_io", "remount", "uid=", "gid=", "umask=",
		"fmask=", "dmask=", "attr_timeout=", "entry_timeout=", "max_read=", "idle=", "fsname=", "subtype=", "device=",
	}, passedOn)
	for name, flag := range optionFlags(model) {
		if !flag.IsBool() {
			name += "="
		}
		g.options = append(g.options, name)
	}
	slices.Sort(g.options)
	return g
}

func newCompletedFlag(flag *kong.Flag) completedFlag {
	f := completedFlag{
		help:       strings.SplitN(flag.Help, "\n", 2)[0],
		takesValue: !flag.IsBool() && !flag.IsCounter(),
		directory:  flag.PlaceHolder == "DIR",
	}
	if flag.Short != 0 {
		f.names = append(f.names, "-"+string(flag.Short))
	}
	f.names = append(f.names, "--"+flag.Name)
	return f
}

func (g grammar) names() []string {
	var names []string
	for _, c := range g.commands {
		names = append(names, c.name)
	}
	return names
}

// isOptions tells the flag whose values are mount options.
func (f completedFlag) isOptions() bool { return slices.Contains(f.names, "-o") }

func writeBash(w io.Writer, g grammar) {
	fmt.Fprintf(w, `# bash completion for lvm2fs
_lvm2fs() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}
    local command= flags= words= i
    for ((i = 1; i < COMP_CWORD; i++)); do
        case ${COMP_WORDS[i]} in
        %s) command=${COMP_WORDS[i]}; break ;;
        esac
    done
    case ${command:-mount} in
`, strings.Join(g.names(), "|"))
	for _, c := range g.commands {
		fmt.Fprintf(w, "    %s) flags='%s' words='%s' ;;\n", c.name, strings.Join(allNames(c), " "), strings.Join(c.words, " "))
	}
	fmt.Fprintf(w, `    esac
    [[ $command ]] || ((COMP_CWORD > 1)) || words='%s'
    COMPREPLY=()
    case $prev in
    -o | --options)
        local before=
        [[ $cur == *,* ]] && before=${cur%%,*},
        compopt -o nospace
        COMPREPLY=($(compgen -P "$before" -W '%s' -- "${cur##*,}"))
        return ;;
`, strings.Join(g.names(), " "), strings.Join(g.options, " "))
	if dirs := valueFlags(g, true); len(dirs) > 0 {
		fmt.Fprintf(w, "    %s) compopt -o dirnames; return ;;\n", strings.Join(dirs, " | "))
	}
	if files := valueFlags(g, false); len(files) > 0 {
		fmt.Fprintf(w, "    %s) compopt -o default; return ;;\n", strings.Join(files, " | "))
	}
	fmt.Fprint(w, `    esac
    if [[ $cur == -* ]]; then
        COMPREPLY=($(compgen -W "$flags" -- "$cur"))
        return
    fi
    compopt -o default
    COMPREPLY=($(compgen -W "$words" -- "$cur") $(compgen -f -- "$cur"))
    compopt -o filenames
}
complete -F _lvm2fs lvm2fs
`)
}

func allNames(c completedCommand) []string {
	var names []string
	for _, f := range c.flags {
		names = append(names, f.names...)
	}
	return names
}

// valueFlags are the flags of all commands with a directory as value, or with another.
func valueFlags(g grammar, directory bool) []string {
	var names []string
	for _, c := range g.commands {
		for _, f := range c.flags {
			if f.takesValue && !f.isOptions() && f.directory == directory {
				names = append(names, f.names...)
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func writeZsh(w io.Writer, g grammar) {
	fmt.Fprintf(w, `#compdef lvm2fs
_lvm2fs() {
    local command=mount word
    for word in "${(@)words[2,CURRENT-1]}"; do
        case $word in
        (%s) command=$word; break ;;
        esac
    done
    if (( CURRENT == 2 )) && [[ $PREFIX != -* ]]; then
        local -a commands=(
`, strings.Join(g.names(), "|"))
	for _, c := range g.commands {
		fmt.Fprintf(w, "            %s\n", quote(c.name+":"+c.help))
	}
	fmt.Fprint(w, `        )
        _describe command commands
        _files
        return
    fi
    case $command in
`)
	for _, c := range g.commands {
		fmt.Fprintf(w, "    (%s)\n        _arguments -s -S", c.name)
		for _, f := range c.flags {
			for _, name := range f.names {
				fmt.Fprintf(w, " \\\n            %s", quote(zshFlag(g, name, f)))
			}
		}
		argument := "*:file:_files"
		if len(c.words) > 0 {
			argument = "*:shell:(" + strings.Join(c.words, " ") + ")"
		}
		fmt.Fprintf(w, " \\\n            %s ;;\n", quote(argument))
	}
	fmt.Fprint(w, `    esac
}
if [[ $funcstack[1] == _lvm2fs ]]; then
    _lvm2fs "$@"
else
    compdef _lvm2fs lvm2fs
fi
`)
}

func zshFlag(g grammar, name string, f completedFlag) string {
	help := strings.NewReplacer("[", `\[`, "]", `\]`, ":", `\:`).Replace(f.help)
	spec := "*" + name
	if f.takesValue {
		spec += cmp.Or(map[bool]string{true: "="}[strings.HasPrefix(name, "--")], "+")
	}
	spec += "[" + help + "]"
	switch {
	case f.isOptions():
		spec += ":options:_values -s , option " + strings.Join(zshValues(g.options), " ")
	case f.directory:
		spec += ":directory:_directories"
	case f.takesValue:
		spec += ":value:_files"
	}
	return spec
}

// zshValues are options in the form of _values, where a value follows a colon.
func zshValues(options []string) []string {
	values := make([]string, len(options))
	for i, option := range options {
		values[i] = strings.Replace(option, "=", `:value:`, 1)
	}
	return values
}

func writeFish(w io.Writer, g grammar) {
	names := strings.Join(g.names(), " ")
	fmt.Fprintf(w, "# fish completion for lvm2fs\n")
	for _, c := range g.commands {
		fmt.Fprintf(w, "complete -c lvm2fs -n 'not __fish_seen_subcommand_from %s' -a %s -d %s\n", names, c.name, quote(c.help))
	}
	for _, c := range g.commands {
		when := "__fish_seen_subcommand_from " + c.name
		if c.name == "mount" {
			// The default: whatever is not another command.
			when = "not __fish_seen_subcommand_from " + strings.Join(slices.DeleteFunc(g.names(), func(n string) bool { return n == "mount" }), " ")
		}
		for _, f := range c.flags {
			fmt.Fprintf(w, "complete -c lvm2fs -n %s", quote(when))
			for _, name := range f.names {
				if long, ok := strings.CutPrefix(name, "--"); ok {
					fmt.Fprintf(w, " -l %s", long)
				} else {
					fmt.Fprintf(w, " -s %s", name[1:])
				}
			}
			switch {
			case f.isOptions():
				fmt.Fprintf(w, " -x -a %s", quote("(__fish_append , "+strings.Join(g.options, " ")+")"))
			case f.directory:
				fmt.Fprint(w, " -x -a '(__fish_complete_directories)'")
			case f.takesValue:
				fmt.Fprint(w, " -r -F")
			}
			fmt.Fprintf(w, " -d %s\n", quote(f.help))
		}
		if len(c.words) > 0 {
			fmt.Fprintf(w, "complete -c lvm2fs -n %s -f -a %s\n", quote(when), quote(strings.Join(c.words, " ")))
		}
	}
}

// quote makes a word of s that all three shells take as it is.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
