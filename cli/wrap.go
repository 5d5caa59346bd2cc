package cli

import (
	"os"
	"strings"
	"unicode/utf8"

	"golang.org/x/term"
)

// wrapText fits text to lines of at most width characters. Lines at the left margin are paragraphs, and filled. Any other
// line that is too long goes on beneath its last column, which two spaces set off, or else beneath its first character.
func wrapText(s string, width int) string {
	var out, paragraph []string
	flush := func() {
		if paragraph != nil {
			out = append(out, wrapWords(strings.Join(paragraph, " "), width)...)
			paragraph = nil
		}
	}
	for line := range strings.SplitSeq(s, "\n") {
		if line != "" && line[0] != ' ' && hangingIndent(line) == 0 {
			paragraph = append(paragraph, line)
			continue
		}
		flush()
		indent := hangingIndent(line)
		for i, part := range wrapWords(line[indent:], width-indent) {
			if i == 0 {
				out = append(out, line[:indent]+part)
			} else {
				out = append(out, strings.Repeat(" ", indent)+part)
			}
		}
	}
	flush()
	return strings.Join(out, "\n")
}

// hangingIndent is the number of bytes before the last column of a line.
func hangingIndent(line string) int {
	body := strings.TrimLeft(line, " ")
	indent := len(line) - len(body)
	if at := strings.LastIndex(body, "  "); at >= 0 {
		return indent + at + 2
	}
	return indent
}

// wrapWords breaks text into lines of at most width characters, at blanks and behind commas. A word that is longer stays whole.
func wrapWords(text string, width int) []string {
	var lines []string
	for utf8.RuneCountInString(text) > width {
		at := breakBefore(text, width)
		if at == 0 {
			break
		}
		lines = append(lines, strings.TrimRight(text[:at], " "))
		text = strings.TrimLeft(text[at:], " ")
	}
	return append(lines, text)
}

// breakBefore is where text is best broken for a line of at most width characters: as late as that allows, or else as
// soon as can be; 0 for nowhere.
func breakBefore(text string, width int) int {
	best, runes := 0, 0
	for i, r := range text {
		if i > 0 && (r == ' ' || text[i-1] == ',' && r != ' ') && strings.TrimSpace(text[:i]) != "" {
			if runes > width && best > 0 {
				return best
			}
			best = i
			if runes > width {
				return best
			}
		}
		runes++
	}
	return best
}

// terminalWidth is the number of characters of a line of standard output, 0 if that is no terminal.
func (a *app) terminalWidth() int {
	f, ok := a.stdout.(*os.File)
	if !ok || !a.stdoutTerminal {
		return 0
	}
	width, _, err := term.GetSize(int(f.Fd()))
	if err != nil {
		return 0
	}
	return width
}

// hasUTF8 says whether the locale of an environment has more characters than ASCII.
func hasUTF8(getenv func(string) string) bool {
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if locale := getenv(name); locale != "" {
			locale = strings.ToLower(locale)
			return strings.Contains(locale, "utf-8") || strings.Contains(locale, "utf8")
		}
	}
	return false
}
