package cli

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"lvm2fs/internal/secret"
	"lvm2fs/scan"
)

// scripted answers with its lines, one for each question.
type scripted struct {
	lines []string
	input string
	asked []string
}

func (s *scripted) passphrase(question string) (*secret.Bytes, error) {
	s.asked = append(s.asked, question)
	if len(s.lines) == 0 {
		return nil, errNoTerminal
	}
	line := s.lines[0]
	s.lines = s.lines[1:]
	return secret.Move([]byte(line))
}

func (s *scripted) standardInput() (*secret.Bytes, error) { return secret.Move([]byte(s.input)) }

func keyFileWith(t *testing.T, contents string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "key=file")
	if err := os.WriteFile(path, []byte(contents), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestKeyFilesAreReadForAllOrForTheirDevice(t *testing.T) {
	k := &keyring{ask: &scripted{input: "from input"}}
	defer k.wipe()
	file := keyFileWith(t, "banana\n")
	keys, err := k.read([]string{file, "disk=" + file, "disk (partition 2)=" + file, "-", "disk=-"}, []string{"disk"})
	if err != nil {
		t.Fatal(err)
	}
	want := []scan.Key{
		{Bytes: []byte("banana\n")},
		{Device: "disk", Bytes: []byte("banana\n")},
		{Device: "disk (partition 2)", Bytes: []byte("banana\n")},
		{Bytes: []byte("from input")},
		{Device: "disk", Bytes: []byte("from input")},
	}
	if diff := cmp.Diff(want, keys); diff != "" {
		t.Error(diff)
	}
}

func TestAPersonIsAskedForWhatIsMissingAndToldWhatDidNotFit(t *testing.T) {
	ask := &scripted{lines: []string{"a", "b", "c"}}
	k := &keyring{ask: ask}
	for _, q := range []scan.Question{{Device: "a\x1b[31m"}, {Device: "d", Slot: "3"}, {Device: "d", Try: 1}} {
		if _, err := k.passphrase(t.Context(), q); err != nil {
			t.Error(err)
		}
	}
	want := []string{`Passphrase for a\x1b[31m: `, "Passphrase for key slot 3 of d: ", "It does not fit. Passphrase for d: "}
	if !slices.Equal(ask.asked, want) {
		t.Errorf("%q", ask.asked)
	}
	if _, err := k.passphrase(t.Context(), scan.Question{}); !errors.Is(err, scan.ErrNobody) || !errors.Is(err, errNoTerminal) {
		t.Error(err)
	}
	k.wipe()
	if _, err := k.passphrase(t.Context(), scan.Question{}); err == nil || !strings.Contains(err.Error(), "mount again") {
		t.Error(err)
	}
}

func TestKeyFilesThatCannotBeReadAreNamed(t *testing.T) {
	large := filepath.Join(t.TempDir(), "large")
	if err := os.WriteFile(large, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(large, maxKeyFile+1); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{"absent": "key file absent: no such file", large: "more than 8388608 bytes", t.TempDir(): "is a directory"} {
		if _, err := new(keyring).read([]string{path}, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestDevicesAreCutFromValuesWithEqualsSigns(t *testing.T) {
	devices := []string{"a", "a=b", "/dev/sda"}
	for arg, want := range map[string][2]string{
		"a=x": {"a", "x"}, "a=b=x": {"a", "b=x"}, "./a=x=y": {"a", "x=y"}, "c=x": {"", "c=x"}, "x": {"", "x"},
		"/dev/sda (partition 2)=k": {"/dev/sda (partition 2)", "k"}, "/dev/sda2=k": {"", "/dev/sda2=k"}, "a=": {"a", ""},
	} {
		if device, value := cutDevice(arg, devices); device != want[0] || value != want[1] {
			t.Errorf("%s: %q and %q", arg, device, value)
		}
	}
}

func TestABackgroundProcessAsksTheOneInFront(t *testing.T) {
	ours, childs := net.Pipe()
	defer childs.Close()
	ask := &scripted{lines: []string{"banana", strings.Repeat("long", 10_000)}, input: "from\x00stdin\n"}
	ready := make(chan bool)
	go func() { ready <- attendChild(ours, ask) }()
	r := remote{childs}
	for _, want := range []string{"banana", strings.Repeat("long", 10_000)} {
		s, err := r.passphrase("Passphrase for x: ")
		if err != nil || string(s.Bytes()) != want {
			t.Fatal(err)
		}
		s.Wipe()
	}
	if s, err := r.standardInput(); err != nil || string(s.Bytes()) != ask.input {
		t.Error(err)
	}
	if _, err := r.passphrase("again: "); !errors.Is(err, errNoTerminal) {
		t.Error(err)
	}
	if _, err := childs.Write([]byte{saysReady}); err != nil {
		t.Fatal(err)
	}
	if !<-ready {
		t.Error("not ready")
	}
	if !slices.Equal(ask.asked, []string{"Passphrase for x: ", "Passphrase for x: ", "again: "}) {
		t.Errorf("%q", ask.asked)
	}
}

type failing struct{}

func (failing) passphrase(string) (*secret.Bytes, error) { return nil, errInterrupted }
func (failing) standardInput() (*secret.Bytes, error)    { return nil, io.ErrUnexpectedEOF }

func TestABackgroundProcessHearsWhyThereIsNoAnswer(t *testing.T) {
	ours, childs := net.Pipe()
	defer childs.Close()
	ready := make(chan bool, 1)
	go func() { ready <- attendChild(ours, failing{}) }()
	if _, err := (remote{childs}).passphrase("x"); err == nil || err.Error() != "interrupted" {
		t.Error(err)
	}
	childs.Close()
	if <-ready {
		t.Error("ready, though the process ended")
	}
}

func TestASecretIsReadWhole(t *testing.T) {
	for _, n := range []int{0, 1, 4096, 100_000} {
		want := bytes.Repeat([]byte{7}, n)
		s, err := readSecret(bytes.NewReader(want))
		if err != nil || !bytes.Equal(s.Bytes(), want) {
			t.Errorf("%d bytes: %v", n, err)
		}
		s.Wipe()
	}
}

func TestAKeyFileOfWhichOthersCanKnowIsWarnedOf(t *testing.T) {
	for mode, warned := range map[os.FileMode]bool{0o600: false, 0o400: false, 0o640: true, 0o604: true, 0o620: true} {
		path := keyFileWith(t, "banana")
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		k := new(keyring)
		if _, err := k.read([]string{path}, nil); err != nil {
			t.Fatal(err)
		}
		k.wipe()
		if got := len(k.warnings) == 1 && strings.Contains(k.warnings[0].Error(), path); got != warned {
			t.Errorf("%04o: %v", mode, k.warnings)
		}
	}
}
