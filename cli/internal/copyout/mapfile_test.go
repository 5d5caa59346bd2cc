package copyout

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"lvm2fs/internal/test/testenv"
)

var exampleMap = mapfile{
	Identity: Identity{UUID: "onV63q-kPac-9wp3", Seqno: 7, Size: 4194304, Sources: map[string]string{"a": "1", "b": "2 3"}},
	done:     Ranges{{0, 1572864}, {2621440, 4194304}},
}

const exampleMapText = `# lvm2fs dump of vg/part; in the format of GNU ddrescue
# uuid onV63q-kPac-9wp3
# seqno 7
# source a 1
# source b 2 3
# current_pos  current_status  current_pass
0x00400000     +               1
#      pos        size  status
0x00000000  0x00180000  +
0x00180000  0x00100000  -
0x00280000  0x00180000  +
`

func TestAMapIsOneOfDdrescue(t *testing.T) {
	var b bytes.Buffer
	if err := exampleMap.write(&b, "vg/part", bad); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(exampleMapText, b.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestAMapReadsAsItWasWritten(t *testing.T) {
	for _, m := range []mapfile{
		exampleMap,
		{Identity: Identity{UUID: "u", Size: 512, Sources: map[string]string{}}},
		{Identity: Identity{UUID: "u", Size: 512, Sources: map[string]string{}}, done: Ranges{{0, 512}}},
		{Identity: Identity{UUID: "u", Sources: map[string]string{}}},
		{Identity: Identity{UUID: "u", Size: 1 << 50, Sources: map[string]string{}}, done: Ranges{{1 << 40, 1 << 41}}},
	} {
		var b bytes.Buffer
		if err := m.write(&b, "vg/lv", untried); err != nil {
			t.Fatal(err)
		}
		got, err := readMapfile(&b)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(m, got, cmp.AllowUnexported(mapfile{})); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}

func TestAMapThatIsNotWholeIsRefused(t *testing.T) {
	for name, text := range map[string]string{
		"empty":             "",
		"of ddrescue":       "# Mapfile. Created by GNU ddrescue version 1.27\n0x0 + 1\n0x0 0x200 +\n",
		"without a UUID":    strings.Replace(exampleMapText, "# uuid", "# u", 1),
		"without a seqno":   strings.Replace(exampleMapText, "# seqno", "# s", 1),
		"seqno not one":     strings.Replace(exampleMapText, "seqno 7", "seqno x", 1),
		"with a gap":        strings.Replace(exampleMapText, "0x00180000  0x00100000  -\n", "", 1),
		"with an overlap":   strings.Replace(exampleMapText, "0x00280000  0x00180000", "0x00270000  0x00190000", 1),
		"block of no bytes": strings.Replace(exampleMapText, "0x00100000  -", "0x00000000  -", 1),
		"block too large":   strings.Replace(exampleMapText, "0x00280000  0x00180000", "0x00280000  0x7fffffffffffffff", 1),
		"cut off in a line": exampleMapText[:len(exampleMapText)-5],
		"endless line":      exampleMapText + strings.Repeat("x", 1<<20),
		"binary":            "\x7fELF\x00\x01",
	} {
		if m, err := readMapfile(strings.NewReader(text)); !errors.Is(err, errNotOurs) {
			t.Errorf("%s: %+v, %v", name, m, err)
		}
	}
}

// endless is a text: a start, and then lines without end, each made anew.
type endless struct {
	start string
	line  func(i int) string
	lines int
	rest  string
}

func (e *endless) Read(p []byte) (int, error) {
	if e.rest == "" {
		e.rest, e.start = e.start, ""
	}
	for e.rest == "" {
		if e.lines == 0 {
			return 0, io.EOF
		}
		e.lines--
		e.rest = e.line(e.lines)
	}
	n := copy(p, e.rest)
	e.rest = e.rest[n:]
	return n, nil
}

func TestALongHeaderIsRefused(t *testing.T) {
	testenv.Long(t)
	for name, line := range map[string]func(i int) string{
		"comments": func(int) string { return "# " + strings.Repeat("x", 1000) + "\n" },
		"sources":  func(i int) string { return fmt.Sprintf("# source %d x\n", i) },
	} {
		e := &endless{start: exampleMapText[:strings.Index(exampleMapText, "# current")], line: line, lines: 1 << 30}
		if _, err := readMapfile(e); !errors.Is(err, errNotOurs) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTooManyGoodRangesAreForgottenAndNotTheSize(t *testing.T) {
	testenv.Long(t)
	const extra = 10
	pos := 0
	block := func(i int) string {
		pos += 512
		return fmt.Sprintf("%#x 0x200 %c\n", pos-512, "+-"[i%2])
	}
	e := &endless{start: exampleMapText[:strings.Index(exampleMapText, "0x00000000  ")], line: block, lines: 2 * (maxRanges + extra)}
	m, err := readMapfile(e)
	if err != nil || len(m.done) != maxRanges || m.Size != 2*(maxRanges+extra)*512 {
		t.Errorf("%d ranges of %d bytes, %v", len(m.done), m.Size, err)
	}
}

func FuzzReadMapfile(f *testing.F) {
	f.Add([]byte(exampleMapText))
	f.Add([]byte("# lvm2fs dump of \n# uuid \n# seqno 0\nx\n0 1 +\n1 1 ?"))
	f.Fuzz(func(t *testing.T, text []byte) {
		m, err := readMapfile(bytes.NewReader(text))
		if err != nil {
			return
		}
		if n := m.done.Bytes(); n < 0 || n > m.Size {
			t.Fatalf("%d of %d bytes done", n, m.Size)
		}
		var b bytes.Buffer
		if err := m.write(&b, "x", bad); err != nil {
			t.Fatal(err)
		}
		again, err := readMapfile(&b)
		if err != nil {
			t.Fatal(err)
		}
		if !cmp.Equal(m.done, again.done) || m.Size != again.Size {
			t.Fatalf("%+v turned to %+v", m, again)
		}
	})
}
