package pieces

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

var (
	// ErrNoPiece: the name of the file is not that of a piece.
	ErrNoPiece = errors.New("not named as a piece of an image")
	// ErrUncertain: it is not certain which files make up the image.
	ErrUncertain = errors.New("the pieces of the image are uncertain")
)

const (
	digits    = "0123456789"
	letters   = "abcdefghijklmnopqrstuvwxyz"
	maxNumber = 6 // characters of a number, at most
	maxPieces = 4096
)

// name is the path of a piece:
//
//	disk.001, disk.raw.002, ...  counted from 0 or 1; also disk00, disk01, ... as split -d has it
//	xaa, xab, ..., disk.img.aa   as split has it
type name struct {
	prefix   string
	number   string
	alphabet string
}

func parse(path string) (name, bool) {
	base := filepath.Base(path)
	alphabet := digits
	number := tail(base, alphabet)
	if number == "" {
		alphabet = letters
		number = tail(base, alphabet)
		if !strings.HasSuffix(base, "."+number) {
			number = lastLetters(path, number)
		}
	}
	if len(number) < 2 || len(number) > maxNumber {
		return name{}, false
	}
	return name{strings.TrimSuffix(path, number), number, alphabet}, true
}

// lastLetters is the number at the end of letters: two of them, as in xaa, unless there is a first piece before
// those that split(1) gave more.
func lastLetters(path, all string) string {
	for n := maxNumber; n > 2; n -= 2 {
		if len(all) < n || all[len(all)-n] != 'z' {
			continue
		}
		if number := all[len(all)-n:]; exists(strings.TrimSuffix(path, number) + "aa") {
			return number
		}
	}
	return all[max(len(all)-2, 0):]
}

// tail is what s ends with of an alphabet.
func tail(s, alphabet string) string { return s[len(strings.TrimRight(s, alphabet)):] }

func (n name) path(number string) string { return n.prefix + number }

// next are the numbers that may come after one. split(1) makes them longer before it has used them all up: after
// yz comes zaaa, and after 89 comes 9000, then 990000 after 9899; with a length that was given, za and 90.
func (n name) next(number string) []string {
	b := []byte(number)
	first, last := n.alphabet[:1], n.alphabet[len(n.alphabet)-1:]
	for i := len(b) - 1; ; i-- {
		if i < 0 {
			return nil
		}
		if b[i] != last[0] {
			b[i]++
			break
		}
		b[i] = first[0]
	}
	head := number[:len(number)-len(strings.TrimLeft(number, last))] + last
	if !strings.HasPrefix(string(b), head) {
		return []string{string(b)}
	}
	return []string{string(b), head + strings.Repeat(first, len(number)-len(head)+2)}
}

// first is the number of the first piece.
func (n name) first() string {
	zero := strings.Repeat(n.alphabet[:1], len(n.number))
	if n.alphabet == digits && !exists(n.path(zero)) {
		return zero[1:] + "1"
	}
	return zero
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// hasNeighbour says whether there is a piece before or after this one, so that its name is no accident as that of
// disk.img may be.
func (n name) hasNeighbour() bool {
	for _, after := range n.next(n.number) {
		if exists(n.path(after)) {
			return true
		}
	}
	b := []byte(n.number)
	i := len(b) - 1
	for ; i > 0 && b[i] == n.alphabet[0]; i-- {
		b[i] = n.alphabet[len(n.alphabet)-1]
	}
	b[i]--
	return b[i] >= n.alphabet[0] && exists(n.path(string(b)))
}

// Find returns the paths of the pieces of the image of which path names one, in order. It fails with ErrNoPiece or
// ErrUncertain, or if the directory cannot be read.
func Find(path string) ([]string, error) {
	n, ok := parse(path)
	if !ok {
		return nil, fmt.Errorf("%s: %w (disk.001, disk.002, ... or xaa, xab, ...)", path, ErrNoPiece)
	}
	number := n.first()
	if len(n.number) > 2 && n.number[0] == n.alphabet[len(n.alphabet)-1] && !exists(n.path(number)) {
		// split makes numbers of two longer.
		n.number = n.number[:2]
		number = n.first()
	}
	if !exists(n.path(number)) {
		if !n.hasNeighbour() {
			return nil, fmt.Errorf("%s: %w: there is no %s", path, ErrNoPiece, n.path(number))
		}
		return nil, fmt.Errorf("%s: %w: there is no %s", path, ErrUncertain, n.path(number))
	}
	var found []string
	walked := map[string]bool{}
	for number != "" {
		if len(found) == maxPieces {
			return nil, fmt.Errorf("%s: %w: more than %d", path, ErrUncertain, maxPieces)
		}
		found = append(found, n.path(number))
		walked[filepath.Base(n.path(number))] = true
		var after string
		for _, candidate := range n.next(number) {
			switch {
			case !exists(n.path(candidate)):
			case after != "":
				return nil, fmt.Errorf("%s: %w: after %s could come %s or %s", path, ErrUncertain, n.path(number), n.path(after), n.path(candidate))
			default:
				after = candidate
			}
		}
		if after == "" {
			return found, n.noneLeft(number, walked)
		}
		number = after
	}
	return found, nil
}

// noneLeft fails if there are pieces, by their names, beside those walked, of which number is the last one.
func (n name) noneLeft(number string, walked map[string]bool) error {
	entries, err := os.ReadDir(filepath.Dir(n.path(number)))
	if err != nil {
		return err
	}
	for _, e := range entries {
		other, ok := parse(filepath.Join(filepath.Dir(n.prefix+"x"), e.Name()))
		sameLength := len(other.number) == len(n.number) || len(other.number) == len(number)
		if !ok || !sameLength || walked[e.Name()] || filepath.Clean(other.prefix+"x") != filepath.Clean(n.prefix+"x") || other.alphabet != n.alphabet {
			continue
		}
		missing := ""
		if after := n.next(number); len(after) > 0 {
			missing = ", and no " + n.path(after[0])
		}
		return fmt.Errorf("%s: %w: there is %s%s", n.path(number), ErrUncertain, other.path(other.number), missing)
	}
	return nil
}
