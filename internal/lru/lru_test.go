package lru

import (
	"errors"
	"testing"
)

func TestTheValuesUsedLastAreKept(t *testing.T) {
	c := New[int, int](3)
	made := 0
	get := func(k int) {
		t.Helper()
		if v, err := c.Get(k, func() (int, error) { made++; return 10 * k, nil }); v != 10*k || err != nil {
			t.Fatal(v, err)
		}
	}
	for _, k := range []int{1, 2, 3, 1, 4, 1, 3} {
		get(k)
	}
	if made != 4 || c.Len() != 3 {
		t.Errorf("%d values made, %d held", made, c.Len())
	}
	if get(2); made != 5 {
		t.Error("2 was kept, though used longest ago")
	}
}

func TestAnErrorIsNotKept(t *testing.T) {
	c := New[int, int](3)
	bad := errors.New("bad")
	if _, err := c.Get(1, func() (int, error) { return 0, bad }); err != bad {
		t.Error(err)
	}
	if v, err := c.Get(1, func() (int, error) { return 7, nil }); v != 7 || err != nil {
		t.Error(v, err)
	}
}

func TestAValueThatIsPutTakesThePlaceOfTheOneThatWas(t *testing.T) {
	c := New[int, int](2)
	never := func() (int, error) { return 0, errors.New("not there") }
	c.Put(1, 10)
	c.Put(2, 20)
	c.Put(1, 11)
	c.Put(3, 30)
	if v, err := c.Get(1, never); v != 11 || err != nil {
		t.Error(v, err)
	}
	if _, err := c.Get(2, never); err == nil || c.Len() != 2 {
		t.Errorf("2 was kept, though used longest ago; %d held", c.Len())
	}
}
