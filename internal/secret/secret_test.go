package secret

import (
	"bytes"
	"testing"
)

func TestMoveZeroesTheOriginal(t *testing.T) {
	original := []byte("banana")
	s, err := Move(original)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Wipe()
	if string(s.Bytes()) != "banana" || !bytes.Equal(original, make([]byte, 6)) {
		t.Errorf("moved %q, left %q", s.Bytes(), original)
	}
}

func TestNothingIsLeftAfterWipe(t *testing.T) {
	s, err := New(8192)
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Bytes()) != 8192 || cap(s.Bytes()) != 8192 {
		t.Error(len(s.Bytes()), cap(s.Bytes()))
	}
	s.Wipe()
	s.Wipe()
	if s.Bytes() != nil {
		t.Error("bytes after Wipe")
	}
}

func TestNoBytesAreASecretToo(t *testing.T) {
	s, err := Move(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Wipe()
	if len(s.Bytes()) != 0 {
		t.Error(s.Bytes())
	}
}

type state struct {
	rounds int
	keys   [60]uint32
}

func (s *state) sum() (n uint32) {
	for _, k := range s.keys {
		n += k
	}
	return n + uint32(s.rounds)
}

func TestAValueIsMovedAndTheOriginalZeroed(t *testing.T) {
	old := &state{rounds: 14}
	for i := range old.keys {
		old.keys[i] = uint32(i + 1)
	}
	want := old.sum()
	moved, pages, err := MoveValue[interface{ sum() uint32 }](old)
	if err != nil || moved.sum() != want || moved == any(old) {
		t.Fatal(moved.sum(), err)
	}
	if *old != (state{}) {
		t.Error("the original is still there")
	}
	if len(pages.Bytes()) == 0 || bytes.Equal(pages.Bytes(), make([]byte, len(pages.Bytes()))) {
		t.Error("the value is not in the pages")
	}
	pages.Wipe()
}

func TestAValueWithPointersStaysWhereItIs(t *testing.T) {
	for _, v := range []any{&struct{ key []byte }{[]byte("x")}, &struct{ next [2]struct{ p *int } }{}, &struct{ f func() }{}, state{}, (*state)(nil)} {
		moved, pages, err := MoveValue(v)
		if err != nil || pages != nil {
			t.Errorf("%T: %v, %v", v, pages, err)
		}
		if _, isState := v.(state); !isState && moved != v {
			t.Errorf("%T was moved", v)
		}
	}
}
