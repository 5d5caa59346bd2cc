package history

import (
	"path"
	"regexp"
	"strconv"
	"strings"
)

// lvm2 writes "Write from COMMAND." into the first text of a command, "Write[2] from COMMAND." into the second; backups say
// when they were made.
var description = regexp.MustCompile(`(?s)^(?:Write(?:\[(\d+)\])? from|Created \*(?:before|after)\* executing) '?(.*?)'?\.?$`)

// Command is the command line that wrote the text; if that is not told, what the text says of itself. write counts
// from 1 what the command has written.
func (t *Text) Command() (command string, write int) {
	if t.VG == nil {
		return "", 0
	}
	m := description.FindStringSubmatch(t.VG.Description)
	if m == nil {
		return t.VG.Description, 1
	}
	write, err := strconv.Atoi(m[1])
	if err != nil {
		write = 1
	}
	return m[2], write
}

// followedBy says whether the command that wrote t went on to write next.
func (t *Text) followedBy(next *Text) bool {
	a, n := t.Command()
	b, m := next.Command()
	return a != "" && a == b && m == n+1 && next.Seqno == t.Seqno+1
}

// removes says whether the command that wrote the text only takes LVs away.
func (t *Text) removes() bool {
	command, _ := t.Command()
	words := strings.Fields(command)
	if len(words) > 1 && path.Base(words[0]) == "lvm" {
		words = words[1:]
	}
	return len(words) > 0 && (path.Base(words[0]) == "lvremove" || path.Base(words[0]) == "vgremove")
}
