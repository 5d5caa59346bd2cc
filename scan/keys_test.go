package scan

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"lvm2fs/blockdev"
	"lvm2fs/internal/test/testimages"
	"lvm2fs/internal/test/testpv"
	"lvm2fs/layers/luks"
	"lvm2fs/mapping"
)

// scripted answers with its lines, one for each question.
type scripted struct {
	lines []string
	asked []Question
}

func (s *scripted) passphrase(_ context.Context, q Question) ([]byte, error) {
	s.asked = append(s.asked, q)
	if len(s.lines) == 0 {
		return nil, ErrNobody
	}
	line := s.lines[0]
	s.lines = s.lines[1:]
	return []byte(line), nil
}

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

func ring(ask *scripted, keys ...Key) *keyring { return &keyring{ask: ask.passphrase, keys: keys} }

func TestContainersOpenWithAKeyForAllOrForTheirDevice(t *testing.T) {
	d := locked(t)
	good, bad := []byte("banana"), []byte("banana\n")
	for name, c := range map[string]struct {
		keys  []Key
		opens bool
	}{
		"for all":                          {[]Key{{"", good}}, true},
		"one of two":                       {[]Key{{"", bad}, {"", good}}, true},
		"for the device":                   {[]Key{{d.Path(), good}}, true},
		"for what lies on it":              {[]Key{{d.Path() + " (partition 1)", bad}, {"", good}}, true},
		"a newline too many":               {[]Key{{"", bad}}, false},
		"wrong for the device":             {[]Key{{d.Path(), bad}, {"", good}}, false},
		"right, but for another device":    {[]Key{{"other", good}}, false},
		"right for one, wrong for another": {[]Key{{"other", bad}, {d.Path(), good}}, true},
	} {
		t.Run(name, func(t *testing.T) {
			c0, err := ring(&scripted{}, c.keys...).open(t.Context(), d, luks.Options{})
			if c.opens != (err == nil) {
				t.Fatal(err)
			}
			if err == nil {
				_ = c0.(luks.Container).Close()
				return
			}
			if !strings.HasPrefix(err.Error(), d.Name()) || !errors.Is(err, luks.ErrPassphrase) && !errors.Is(err, ErrNobody) || reasonFor(err) != Locked {
				t.Error(err)
			}
		})
	}
}

func TestAKeyForAPartitionIsForWhatLiesOnIt(t *testing.T) {
	d := locked(t)
	part := mapping.Section(d, 0, d.Size(), d.Name()+" (partition 2)")
	k := ring(&scripted{}, Key{d.Path() + " (partition 2)", []byte("banana")})
	c, err := k.open(t.Context(), part, luks.Options{})
	if err != nil {
		t.Fatal(err)
	}
	_ = c.(luks.Container).Close()
	if _, err := k.open(t.Context(), d, luks.Options{}); !errors.Is(err, ErrNobody) {
		t.Error(err)
	}
}

func TestWhereNoKeyFitsSomebodyIsAsked(t *testing.T) {
	d := locked(t)
	ask := &scripted{lines: []string{"apple", "banana"}}
	k := ring(ask, Key{"", []byte("pear")})
	c, err := k.open(t.Context(), d, luks.Options{})
	if err != nil {
		t.Fatal(err)
	}
	_ = c.(luks.Container).Close()
	if diff := cmp.Diff([]Question{{d.Name(), "", 0}, {d.Name(), "", 1}}, ask.asked); diff != "" {
		t.Error(diff)
	}
	// What opened one container is tried on the next, and nobody is asked again.
	if c, err = k.open(t.Context(), d, luks.Options{}); err != nil {
		t.Fatal(err)
	}
	_ = c.(luks.Container).Close()
	if len(ask.asked) != 2 {
		t.Errorf("%v", ask.asked)
	}
}

func TestNobodyIsAskedForeverNorAgainstTheirWill(t *testing.T) {
	d := locked(t)
	for _, lines := range [][]string{{"a", "b", "c", "banana"}, {"", "banana"}} {
		if _, err := ring(&scripted{lines: lines}).open(t.Context(), d, luks.Options{}); !errors.Is(err, luks.ErrPassphrase) {
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
	if _, err := ring(ask).open(t.Context(), d, luks.Options{}); !errors.Is(err, luks.ErrHeader) || len(ask.asked) > 0 {
		t.Error(err, ask.asked)
	}
}

func TestWhatWasTypedIsZeroedAndNotUsedAgain(t *testing.T) {
	d := locked(t)
	var typed []byte
	k := &keyring{keys: []Key{{"", []byte("pear")}}}
	k.ask = func(context.Context, Question) ([]byte, error) {
		typed = []byte("banana")
		return typed, nil
	}
	c, err := k.open(t.Context(), d, luks.Options{})
	if err != nil {
		t.Fatal(err)
	}
	_ = c.(luks.Container).Close()
	k.forget()
	if !slices.Equal(typed, make([]byte, 6)) {
		t.Errorf("%q", typed)
	}
	k.ask = nil
	if _, err := k.open(t.Context(), d, luks.Options{}); !errors.Is(err, errLocked) {
		t.Error(err)
	}
}

func TestTheKeySlotForADeviceCountsBeforeThatForAll(t *testing.T) {
	d := &testpv.Disk{Label: "d"}
	k := &keyring{slots: []KeySlot{{"", 1}, {"d", 2}, {"d", 3}, {"", 4}, {"e", 5}}}
	if got := k.slotFor(d); got != "3" {
		t.Errorf("slot %q", got)
	}
	k.slots = []KeySlot{{"", 1}, {"", 4}, {"e", 5}}
	if got := k.slotFor(d); got != "4" {
		t.Errorf("slot %q", got)
	}
}
