package cli

import (
	"errors"
	"io/fs"
	"os"
	"regexp"
	"strings"

	"github.com/alecthomas/kong"
)

// wordOfCommand is what might be meant for the name of a command. Paths with a slash or an extension, and
// names of disks with a number, are never that.
var wordOfCommand = regexp.MustCompile(`^[A-Za-z_-]+$`)

// checkCommand fails if the first word of args is neither a command nor a file. Without this the word would
// be a device that is left out, and the device after it might be mounted.
func checkCommand(model *kong.Application, args []string) error {
	split := splitArgs(args, takesValue(model.Node))
	if split.words == 0 {
		return nil
	}
	word := split.positionals[0]
	if word == noSource || findCommand(model, word) != nil || !wordOfCommand.MatchString(word) {
		return nil
	}
	if _, err := os.Lstat(word); !errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return usagef("%s: no command and no file of that name%s", word, didYouMean(model, word))
}

// didYouMean asks for the command that word is most like; "" if it is like none.
func didYouMean(model *kong.Application, word string) string {
	word = strings.ToLower(word)
	best, least := "", len(word)+1
	for _, node := range model.Children {
		if node.Hidden {
			continue
		}
		for _, name := range append([]string{node.Name}, node.Aliases...) {
			n := typos(word, name)
			if strings.HasPrefix(name, word) {
				n = 0
			}
			if n <= max(1, max(len(word), len(name))/3) && n < least {
				best, least = name, n
			}
		}
	}
	if best == "" {
		return ""
	}
	return "; did you mean " + best + "?"
}

// typos is how many letters of a are left out, put in, changed, or changed places with the next one, to make
// it b: the distance of optimal string alignment. Both are ASCII.
func typos(a, b string) int {
	// n[i][j] is that of the first i letters of a and the first j of b.
	n := make([][]int, len(a)+1)
	for i := range n {
		n[i] = make([]int, len(b)+1)
		for j := range n[i] {
			switch {
			case i == 0 || j == 0:
				n[i][j] = i + j
				continue
			case a[i-1] == b[j-1]:
				n[i][j] = n[i-1][j-1]
			default:
				n[i][j] = 1 + n[i-1][j-1]
			}
			n[i][j] = min(n[i][j], n[i-1][j]+1, n[i][j-1]+1)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				n[i][j] = min(n[i][j], n[i-2][j-2]+1)
			}
		}
	}
	return n[len(a)][len(b)]
}
