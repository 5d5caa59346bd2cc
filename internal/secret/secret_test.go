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
