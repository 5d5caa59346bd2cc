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

	"lvm2fs/blockdev"
	"lvm2fs/internal/secret"
	"lvm2fs/internal/testimages"
	"lvm2fs/layers/luks"
	"lvm2fs/mapping"
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

// locked is the disk of the case luks2-4k, whose passphrase is quick to try.
func locked(t *testing.T) *blockdev.Device {
	t.Helper()
	d, err := blockdev.Open(testimages.Load(t, "luks2-4k").Unpack(t)[0], blockdev.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func keyFileWith(t *testing.T, contents string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "key=file")
	if err := os.WriteFile(path, []byte(contents), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// ring is a keyring that is wiped after the test.
func ring(t *testing.T, ask asker, args []string, devices ...string) *keyring {
	t.Helper()
	k, err := newKeyring(ask, keyOptions{KeyFile: args}, devices)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.wipe)
	return k
}

func TestContainersOpenWithAKeyFileForAllOrForTheirDevice(t *testing.T) {
	d := locked(t)
	good, bad := keyFileWith(t, "banana"), keyFileWith(t, "banana\n")
	for name, c := range map[string]struct {
		args  []string
		opens bool
	}{
		"for all":                          {[]string{good}, true},
		"one of two":                       {[]string{bad, good}, true},
		"for the device":                   {[]string{d.Path() + "=" + good}, true},
		"for what lies on it":              {[]string{d.Path() + " (partition 1)=" + bad, good}, true},
		"standard input":                   {[]string{"-"}, true},
		"standard input, for the device":   {[]string{d.Path() + "=-"}, true},
		"a newline too many":               {[]string{bad}, false},
		"wrong for the device":             {[]string{d.Path() + "=" + bad, good}, false},
		"right, but for another device":    {[]string{"other=" + good}, false},
		"right for one, wrong for another": {[]string{"other=" + bad, d.Path() + "=" + good}, true},
	} {
		t.Run(name, func(t *testing.T) {
			ask := &scripted{input: "banana"}
			c0, err := ring(t, ask, c.args, d.Path(), "other").open(d, luks.Options{})
			if c.opens != (err == nil) {
				t.Fatal(err)
			}
			if err == nil {
				_ = c0.(luks.Container).Close()
				return
			}
			if !strings.HasPrefix(err.Error(), d.Name()) || !errors.Is(err, luks.ErrPassphrase) && !errors.Is(err, errNoTerminal) {
				t.Error(err)
			}
		})
	}
}

func TestAKeyFileForAPartitionIsForWhatLiesOnIt(t *testing.T) {
	d := locked(t)
	part := mapping.Section(d, 0, d.Size(), d.Name()+" (partition 2)")
	k := ring(t, &scripted{}, []string{d.Path() + " (partition 2)=" + keyFileWith(t, "banana")}, d.Path())
	c, err := k.open(part, luks.Options{})
	if err != nil {
		t.Fatal(err)
	}
	_ = c.(luks.Container).Close()
	if _, err := k.open(d, luks.Options{}); !errors.Is(err, errNoTerminal) {
		t.Error(err)
	}
}

func TestWhereNoKeyFileFitsSomebodyIsAsked(t *testing.T) {
	d := locked(t)
	ask := &scripted{lines: []string{"apple", "banana"}}
	k := ring(t, ask, []string{keyFileWith(t, "pear")}, d.Path())
	c, err := k.open(d, luks.Options{})
	if err != nil {
		t.Fatal(err)
	}
	_ = c.(luks.Container).Close()
	want := "Passphrase for " + d.Name() + ": "
	if !slices.Equal(ask.asked, []string{want, "It does not fit. " + want}) {
		t.Errorf("%q", ask.asked)
	}
	// What opened one container is tried on the next, and nobody is asked again.
	if c, err = k.open(d, luks.Options{}); err != nil {
		t.Fatal(err)
	}
	_ = c.(luks.Container).Close()
	if len(ask.asked) != 2 {
		t.Errorf("%q", ask.asked)
	}
}

func TestNobodyIsAskedForeverNorAgainstTheirWill(t *testing.T) {
	d := locked(t)
	for _, lines := range [][]string{{"a", "b", "c", "banana"}, {"", "banana"}} {
		ask := &scripted{lines: lines}
		if _, err := ring(t, ask, nil, d.Path()).open(d, luks.Options{}); !errors.Is(err, luks.ErrPassphrase) {
			t.Error(err)
		}
	}
}

func TestNobodyIsAskedAboutWhatCannotBeOpenedAnyway(t *testing.T) {
	path := filepath.Join(t.TempDir(), "damaged")
	if err := os.WriteFile(path, append([]byte("LUKS\xba\xbe\x00\x01"), make([]byte, 8192)...), 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := blockdev.Open(path, blockdev.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	ask := &scripted{lines: []string{"banana"}}
	if _, err := ring(t, ask, nil, path).open(d, luks.Options{}); !errors.Is(err, luks.ErrHeader) || len(ask.asked) > 0 {
		t.Error(err, ask.asked)
	}
}

func TestAWipedKeyringOpensNothing(t *testing.T) {
	d := locked(t)
	k := ring(t, &scripted{lines: []string{"banana"}}, []string{keyFileWith(t, "banana")}, d.Path())
	k.wipe()
	if _, err := k.open(d, luks.Options{}); err == nil || !strings.Contains(err.Error(), "locked") {
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
		if _, err := newKeyring(&scripted{}, keyOptions{KeyFile: []string{path}}, nil); err == nil || !strings.Contains(err.Error(), want) {
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

// failing cannot be asked.
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
		k := ring(t, &scripted{}, []string{path})
		if got := len(k.warnings) == 1 && strings.Contains(k.warnings[0].Error(), path); got != warned {
			t.Errorf("%04o: %v", mode, k.warnings)
		}
	}
}
