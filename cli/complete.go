package cli

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/alecthomas/kong"

	"lvm2fs/attach"
	"lvm2fs/internal/secret"
	"lvm2fs/lvm2"
	"lvm2fs/overlay"
)

// completeCmd is what the completion scripts ask. It never asks back, and reads no more than metadata.
type completeCmd struct {
	Words []string `arg:"" optional:"" help:"The shell; then the line up to the cursor and COMP_WORDBREAKS of bash, or the words of another shell."`
}

// completionTime is how long a person waits for a Tab. After that no answer is the better one.
const completionTime = 3 * time.Second

func (c *completeCmd) Run(a *app, ctx *kong.Context) error {
	printed := make(chan string, 1)
	go func() { printed <- c.complete(ctx.Model) }()
	select {
	case text := <-printed:
		_, err := io.WriteString(a.stdout, text)
		return err
	case <-time.After(completionTime):
		return errIncomplete
	}
}

func (c *completeCmd) complete(model *kong.Application) string {
	if len(c.Words) < 2 {
		return ""
	}
	shell, words := c.Words[0], c.Words[1:]
	var current bashWord
	if shell == "bash" {
		words, current = splitBash(words[0], strings.Join(words[1:], ""))
		words = words[min(1, len(words)):] // without the program
	} else {
		words, current.plain = words[:len(words)-1], words[len(words)-1]
	}
	var b strings.Builder
	for _, found := range newCompleter(model, words).candidates(current.plain) {
		if strings.ContainsFunc(found.word, unicode.IsControl) {
			continue // would be several lines
		}
		switch shell {
		case "bash":
			if strings.HasPrefix(found.word, current.plain) {
				fmt.Fprintln(&b, current.replacement(found))
			}
		case "zsh":
			fmt.Fprintf(&b, "%s%s\t%s\n", map[bool]string{false: " ", true: "+"}[found.more], found.word, found.help)
		case "fish":
			fmt.Fprintf(&b, "%s\t%s\n", found.word, found.help)
		}
	}
	return b.String()
}

// candidate is a word that may stand in place of the one that is being typed.
type candidate struct {
	word, help string
	more       bool // may go on: no blank follows
}

// completer knows what was typed before a word.
type completer struct {
	model       *kong.Application
	command     *kong.Node // mount if none is named
	commandMay  bool       // the word can be a command
	flagMay     bool       // the word can be a flag: there was no --
	valueOf     *kong.Flag // the word is the value of this; nil for none
	flags       []string   // each with its value
	positionals []string   // without the command
}

func newCompleter(model *kong.Application, words []string) *completer {
	valued := takesValue(model.Node)
	before := splitArgs(words, valued)
	with := splitArgs(append(slices.Clone(words), "word"), valued)
	c := &completer{model: model, command: findCommand(model, "mount"), flags: before.flags, positionals: before.positionals}
	isValue := len(with.flags) > len(before.flags)
	c.flagMay = !isValue && with.words > before.words
	if before.words == 0 {
		c.commandMay = c.flagMay
	} else if command := findCommand(model, before.positionals[0]); command != nil {
		c.command, c.positionals = command, before.positionals[1:]
	}
	if isValue {
		c.valueOf = c.flag(before.flags[len(before.flags)-1])
	}
	return c
}

// flag finds --flag, or the last of the letters of -abc, in the command or else in any; nil if there is none.
func (c *completer) flag(arg string) *kong.Flag {
	nodes := append([]*kong.Node{c.command, c.model.Node}, c.model.Children...)
	for _, node := range nodes {
		for _, flag := range node.Flags {
			if arg == "--"+flag.Name || !strings.HasPrefix(arg, "--") && flag.Short != 0 && strings.HasSuffix(arg, string(flag.Short)) {
				return flag
			}
		}
	}
	return nil
}

// candidates are the words for what was typed, at least those that begin with it.
func (c *completer) candidates(typed string) []candidate {
	if c.valueOf != nil {
		return c.value(c.valueOf, typed)
	}
	if c.flagMay && strings.HasPrefix(typed, "-") {
		if flag, value, ok := c.attached(typed); ok {
			return prefixed(strings.TrimSuffix(typed, value), c.value(flag, value))
		}
		return c.flagNames()
	}
	var found []candidate
	if c.commandMay {
		found = c.commands()
	}
	return append(found, c.arguments(typed)...)
}

// attached splits --flag=VALUE and -fVALUE.
func (c *completer) attached(typed string) (flag *kong.Flag, value string, ok bool) {
	if strings.HasPrefix(typed, "--") {
		name, value, ok := strings.Cut(typed, "=")
		flag := c.flag(name)
		return flag, value, ok && flag != nil
	}
	valued := takesValue(c.model.Node)
	for i, letter := range typed[1:] {
		end := 1 + i + len(string(letter))
		if valued("-"+string(letter)) && end < len(typed) {
			flag := c.flag("-" + string(letter))
			return flag, typed[end:], flag != nil
		}
	}
	return nil, "", false
}

func prefixed(prefix string, all []candidate) []candidate {
	for i := range all {
		all[i].word = prefix + all[i].word
	}
	return all
}

func (c *completer) flagNames() []candidate {
	var found []candidate
	for _, flag := range slices.Concat(c.command.Flags, c.model.Flags) {
		if flag.Hidden {
			continue
		}
		help, _, _ := strings.Cut(flag.Help, "\n")
		found = append(found, candidate{word: "--" + flag.Name, help: help})
		if flag.Short != 0 {
			found = append(found, candidate{word: "-" + string(flag.Short), help: help})
		}
	}
	return found
}

func (c *completer) commands() []candidate {
	var found []candidate
	for _, node := range c.model.Children {
		if !node.Hidden {
			found = append(found, candidate{word: node.Name, help: node.Help})
		}
	}
	return found
}

// arguments are what the command may be about.
func (c *completer) arguments(typed string) []candidate {
	switch name := c.command.Name; {
	case name == "umount", name == "mount" && c.mountOptions().remount:
		return ourMounts(typed)
	case name == "help" && len(c.positionals) == 0:
		return c.commands()
	case name == "help", name == "version":
		return nil
	case name == "detach":
		return attachedLVs()
	case name == "overlay" && len(c.positionals) == 1:
		return files(typed, true)
	case name == "overlay" && len(c.positionals) > 1:
		return overlaysIn(c.positionals[1])
	case len(c.command.Positional) > 0 && c.command.Positional[0].Tag.Enum != "":
		return words(strings.Split(c.command.Positional[0].Tag.Enum, ","))
	}
	return files(typed, false)
}

// attachedLVs are those that can be detached.
func attachedLVs() []candidate {
	st, err := attach.Read(attachDir())
	if err != nil {
		return nil
	}
	var found []candidate
	for _, e := range st.Entries {
		if e.Way != attach.Claim && !e.Pending {
			found = append(found, candidate{word: e.LV, help: e.Device})
		}
	}
	return found
}

// overlaysIn are the LVs of which there are overlays in a directory.
func overlaysIn(path string) []candidate {
	dir, err := overlay.OpenDir(path)
	if err != nil {
		return nil
	}
	defer dir.Close()
	entries, _ := dir.Entries()
	var found []candidate
	for _, e := range entries {
		found = append(found, candidate{word: overlayOf(e)})
	}
	return found
}

func words(all []string) []candidate {
	var found []candidate
	for _, word := range all {
		found = append(found, candidate{word: word})
	}
	return found
}

// givenFlag is a flag of the line; of -abc it is the last.
type givenFlag struct {
	*kong.Flag
	value string // "" if it takes none
}

func (c *completer) given() []givenFlag {
	valued := takesValue(c.model.Node)
	var all []givenFlag
	for i := 0; i < len(c.flags); i++ {
		arg := c.flags[i]
		flag, value, ok := c.attached(arg)
		if !ok {
			flag = c.flag(arg)
		}
		if valueFollows(arg, valued) && i+1 < len(c.flags) {
			i++
			value = c.flags[i]
		}
		if flag != nil {
			all = append(all, givenFlag{flag, value})
		}
	}
	return all
}

// mountOptions are those of all -o so far, as far as they make sense.
func (c *completer) mountOptions() mountOptions {
	var all mountOptions
	for _, flag := range c.given() {
		if flag.PlaceHolder != mountOptionsKind {
			continue
		}
		for _, option := range splitOptions(flag.value) {
			_ = all.set(option, optionFlags(c.model), systemOptionsOf(runtime.GOOS)) // one that makes no sense says nothing
		}
	}
	return all
}

// value is what may be given to a flag.
func (c *completer) value(flag *kong.Flag, typed string) []candidate {
	switch {
	case flag.Tag.Enum != "":
		return words(strings.Split(flag.Tag.Enum, ","))
	}
	return c.placeholder(flag.PlaceHolder, typed)
}

// placeholder is what may stand for a placeholder, which says of what kind a value is.
func (c *completer) placeholder(kind, typed string) []candidate {
	rest, optional := strings.CutPrefix(kind, "[DEVICE=]")
	rest, needed := strings.CutPrefix(rest, "DEVICE=")
	if optional || needed {
		return c.ofDevice(rest, typed, optional)
	}
	names, rest, _ := strings.Cut(kind, "=")
	if names == "VG/POOL" && rest != "" {
		if name, value, ok := strings.Cut(typed, "="); ok {
			return prefixed(name+"=", c.placeholder(rest, value))
		}
		return followedBy("=", c.lvs(isThinPool))
	}
	switch kind {
	case mountOptionsKind:
		return c.optionCandidates(typed)
	case "COLUMN,...":
		return columnCandidates(typed)
	case "DIR":
		return files(typed, true)
	case "FILE":
		return files(typed, false)
	case "DEVICE":
		if devices := c.devices(); len(devices) > 0 {
			return words(devices)
		}
		return files(typed, false)
	case "VG/LV":
		return c.lvs(func(*lvm2.LV) bool { return true })
	case "VG/LV:N":
		return followedBy(":", c.lvs(func(*lvm2.LV) bool { return true }))
	case "VG/POOL":
		return c.lvs(isThinPool)
	case "VG/POOL[=likely]":
		pools := c.lvs(isThinPool)
		for _, pool := range slices.Clone(pools) {
			pools = append(pools, candidate{word: pool.word + "=likely"})
		}
		return pools
	case "VG":
		return c.vgs()
	}
	return nil
}

// mountOptionsKind is the placeholder of -o of mount.
const mountOptionsKind = "OPT[,OPT...]"

// columnCandidates are columns of list, for the last one in a list with commas, which may begin with a +.
func columnCandidates(typed string) []candidate {
	before := typed[:strings.LastIndexAny(typed, ",+")+1]
	found := words(knownColumns())
	for i := range found {
		found[i].more = true // a comma may follow
	}
	return prefixed(before, found)
}

// ofDevice is what may stand for [DEVICE=]KIND, or for DEVICE=KIND.
func (c *completer) ofDevice(kind, typed string, optional bool) []candidate {
	devices := c.devices()
	for _, device := range devices {
		if value, ok := strings.CutPrefix(typed, device+"="); ok {
			return prefixed(device+"=", c.placeholder(kind, value))
		}
	}
	found := followedBy("=", words(devices))
	if optional {
		found = append(found, c.placeholder(kind, typed)...)
	}
	return found
}

func followedBy(separator string, all []candidate) []candidate {
	for i := range all {
		all[i].word += separator
		all[i].more = true
	}
	return all
}

// optionCandidates are mount options, for the last one in a list with commas.
func (c *completer) optionCandidates(typed string) []candidate {
	last := len(typed)
	for last > 0 && (typed[last-1] != ',' || last > 1 && typed[last-2] == '\\') {
		last--
	}
	before, option := typed[:last], typed[last:]
	var found []candidate
	if name, value, ok := strings.Cut(option, "="); ok {
		value = strings.NewReplacer(`\,`, `,`, `\\`, `\`).Replace(value)
		if flag := optionFlags(c.model)[name]; flag != nil {
			found = c.value(flag, value)
		} else if name == "device" {
			found = files(value, false)
		} else if name == "snapshots" {
			found = prefixed("", words([]string{"keep", "sacrifice"}))
		}
		for i := range found {
			found[i].word = name + "=" + strings.NewReplacer(`\`, `\\`, `,`, `\,`).Replace(found[i].word)
		}
	} else {
		found = words(optionNames(c.model))
	}
	for i := range found {
		found[i].more = true // a comma may follow
	}
	return prefixed(before, found)
}

// optionNames are the mount options that do something, with a = where a value follows, in order.
func optionNames(model *kong.Application) []string {
	names := slices.Concat([]string{
		"ro", "rw", "allow_other", "allow_root", "auto_unmount", "kernel_cache", "direct_io", "remount", "uid=", "gid=", "umask=",
		"fmask=", "dmask=", "attr_timeout=", "entry_timeout=", "max_read=", "idle=", "snapshots=", "fsname=", "subtype=", "device=",
	}, forEverySystem)
	for name, flag := range optionFlags(model) {
		if !flag.IsBool() {
			name += "="
		}
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// files are those of a directory that typed leads to. Hidden ones are for those who ask.
func files(typed string, directories bool) []candidate {
	dir, base := filepath.Split(typed)
	entries, err := os.ReadDir(cmp.Or(withHome(dir), "."))
	if err != nil {
		return nil
	}
	var found []candidate
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), base) && base != "" || strings.HasPrefix(e.Name(), ".") && base == "" {
			continue
		}
		isDir := e.IsDir()
		if e.Type()&os.ModeSymlink != 0 {
			info, err := os.Stat(filepath.Join(withHome(dir), e.Name()))
			isDir = err == nil && info.IsDir()
		}
		switch {
		case isDir:
			found = append(found, candidate{word: dir + e.Name() + "/", more: true})
		case !directories:
			found = append(found, candidate{word: dir + e.Name()})
		}
	}
	return found
}

// withHome is the path for one that begins with ~/, which no shell has expanded yet.
func withHome(path string) string {
	if rest, ok := strings.CutPrefix(path, "~/"); ok {
		return os.Getenv("HOME") + "/" + rest
	}
	return path
}

// ourMounts are where lvm2fs is mounted, in the manner of what was typed: absolute, below ~, or below the
// current directory. Only the mount table is asked, for a daemon may hang.
func ourMounts(typed string) []candidate {
	mounts, err := mountTable()
	if err != nil {
		return nil
	}
	var found []candidate
	for _, m := range mounts {
		if !strings.HasSuffix(m.fsType, ".lvm2fs") {
			continue
		}
		word := m.dir
		switch {
		case typed == "" || strings.HasPrefix(typed, "/"):
		case strings.HasPrefix(typed, "~"):
			word = below("~/", withHome("~/"), m.dir)
		default:
			dir, err := os.Getwd()
			if err != nil {
				return nil
			}
			prefix := ""
			if strings.HasPrefix(typed, "./") {
				prefix = "./"
			}
			word = below(prefix, dir, m.dir)
		}
		if word != "" {
			found = append(found, candidate{word: word, help: m.source})
		}
	}
	return found
}

// below is path as it is named in dir, behind a prefix; "" if it is not there.
func below(prefix, dir, path string) string {
	if real, err := filepath.EvalSymlinks(dir); err == nil {
		dir = real
	}
	rel, err := filepath.Rel(dir, path)
	if err != nil || !filepath.IsLocal(rel) {
		return ""
	}
	return prefix + rel
}

// devices are the DEVICEs so far, and what may turn out to be the MOUNTPOINT.
func (c *completer) devices() []string {
	devices := slices.Concat(c.positionals, c.mountOptions().devices)
	return slices.DeleteFunc(devices, func(path string) bool {
		info, err := os.Stat(withHome(path))
		return err != nil || info.IsDir()
	})
}

func isThinPool(lv *lvm2.LV) bool {
	return lv.ThinPool() != nil
}

func (c *completer) lvs(wanted func(*lvm2.LV) bool) []candidate {
	var found []candidate
	for _, vg := range c.scan() {
		for _, lv := range vg.LVs {
			if wanted(lv) {
				found = append(found, candidate{word: lvPath(lv)})
			}
		}
	}
	return found
}

func (c *completer) vgs() []candidate {
	var found []candidate
	for _, vg := range c.scan() {
		found = append(found, candidate{word: vg.DirName()})
	}
	return found
}

// usedByCompletion are the flags that decide which VGs are found, except keys: opening a container with one takes
// seconds.
var usedByCompletion = []string{"scan", "nested", "offset", "raid0-layout", "pv", "image-snapshot", "any-backing-file", "pieces"}

// scan are the VGs on the devices; none if they cannot be had at once.
func (c *completer) scan() []*lvm2.VG {
	args := []string{"list"}
	for _, flag := range c.given() {
		switch {
		case !slices.Contains(usedByCompletion, flag.Name):
		case flag.IsBool():
			args = append(args, "--"+flag.Name)
		default:
			args = append(args, "--"+flag.Name+"="+flag.value)
		}
	}
	for _, arg := range c.mountOptions().flags {
		name, _, _ := strings.Cut(strings.TrimPrefix(arg, "--"), "=")
		if slices.Contains(usedByCompletion, name) {
			args = append(args, arg)
		}
	}
	args = append(args, "--")
	for _, device := range c.devices() {
		args = append(args, withHome(device))
	}
	var line CLI
	parser, err := newParser(&line, io.Discard, io.Discard)
	if err != nil {
		return nil
	}
	if _, err := parser.Parse(canonicalArgs(parser.Model, args)); err != nil {
		return nil
	}
	a := newApp(nil, strings.NewReader(""), io.Discard, io.Discard)
	a.ask = nobody{}
	s, err := openDevices(a, line.List.Devices, line.List.deviceOptions)
	if err != nil {
		return nil
	}
	defer s.Close()
	return s.Result().VGs
}

// nobody knows no passphrase.
type nobody struct{}

func (nobody) passphrase(string) (*secret.Bytes, error) { return nil, errNoTerminal }
func (nobody) standardInput() (*secret.Bytes, error)    { return nil, errNoTerminal }
