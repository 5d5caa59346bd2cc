package cli

import "fmt"

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

func (c *completionCmd) Run(a *app) error {
	_, err := fmt.Fprint(a.stdout, map[string]string{"bash": bashScript, "zsh": zshScript, "fish": fishScript}[c.Shell])
	return err
}

// The scripts leave all to the program that is being typed, or else to the installed one: what it prints
// is what may stand in place of the word at the cursor.

// readline replaces only what follows the last word break or the open quote. What stands there, quoted, with
// the blank behind it, comes from the program. Only behind a closing quote readline has to put the blank,
// since it would put another quote behind ours.
const bashScript = `# bash completion for lvm2fs
_lvm2fs() {
    local program=${1/#~\//$HOME/} word
    type -P "$program" >/dev/null || program=lvm2fs
    COMPREPLY=()
    while IFS= read -r word; do
        COMPREPLY+=("$word")
        [[ $word != *[\"\'] ]] || compopt +o nospace
    done < <(command "$program" __complete bash -- "${COMP_LINE:0:COMP_POINT}" "$COMP_WORDBREAKS" 2>/dev/null)
}
complete -o nospace -F _lvm2fs lvm2fs
`

// zsh quotes words by itself, a ~ too. Lines begin with + where more than a blank may follow the word.
const zshScript = `#compdef lvm2fs
_lvm2fs() {
    local program=${${(Q)words[1]}/#\~\//$HOME/} line home= tab=$'\t'
    local -a final final_shown open open_shown
    (( $+commands[$program] )) || [[ -x $program ]] || program=lvm2fs
    local -a lines=("${(@f)$(command "$program" __complete zsh -- "${(@Q)words[2,CURRENT-1]}" "${(Q)PREFIX}" 2>/dev/null)}")
    if [[ $PREFIX == \~/* ]]; then
        home='~/'
        compset -P '\~/'
    fi
    for line in "${lines[@]}"; do
        local word=${${line[2,-1]%%$tab*}#$home} help=${line#*$tab}
        case $line in
        (' '*) final+=("$word") final_shown+=("$word${help:+  -- $help}") ;;
        (+*) open+=("$word") open_shown+=("$word${help:+  -- $help}") ;;
        esac
    done
    compadd -l -d final_shown -a final
    compadd -l -S '' -d open_shown -a open
    (( $#final + $#open ))
}
if [[ $funcstack[1] == _lvm2fs ]]; then
    _lvm2fs "$@"
else
    compdef _lvm2fs lvm2fs
fi
`

// fish quotes words by itself, and puts no blank behind a / or = at the end of one.
const fishScript = `# fish completion for lvm2fs
function __lvm2fs_complete
    set -l words (commandline -opc)
    set -l token (commandline -ct)
    set -l current (string unescape -- $token; or string unescape -- $token\'; or string unescape -- $token\")
    set -l program (string replace -r '^~/' "$HOME/" -- $words[1])
    type -q $program; or set program lvm2fs
    command $program __complete fish -- $words[2..-1] "$current" 2>/dev/null
end
complete -c lvm2fs -f -a '(__lvm2fs_complete)'
`
