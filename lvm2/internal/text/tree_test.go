package text

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func parse(t testing.TB, src string) *Section {
	t.Helper()
	top, err := Parse([]byte(src))
	if err != nil {
		t.Fatal(err)
	}
	return top
}

func TestSectionsComeInOrder(t *testing.T) {
	top := parse(t, "b { } x = 1 a { } y = 2 c { }")
	var got []string
	for _, s := range top.Sections() {
		got = append(got, s.Key)
	}
	if want := []string{"b", "a", "c"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestLookUpInSectionsSmallAndLarge(t *testing.T) {
	for _, n := range []int{1, few, few + 1, 3000} {
		src := ""
		for i := range n {
			src += fmt.Sprintf("k%d = %d s%d { } ", i, i, i)
		}
		top := parse(t, src)
		for i := range n {
			key := fmt.Sprintf("k%d", i)
			if got, err := top.Uint(key, math.MaxUint64); err != nil || got != uint64(i) {
				t.Fatalf("of %d: %s is %d, %v", n, key, got, err)
			}
			sub := fmt.Sprintf("s%d", i)
			if s := top.Section(sub); s == nil || s.Key != sub {
				t.Fatalf("of %d: section %s is %v", n, sub, s)
			}
		}
		if top.Has("k") || top.Section("s") != nil || top.Section("k0") != nil {
			t.Errorf("of %d: found what is not there", n)
		}
	}
}

func TestLookupTakesAScalarForAListOfOne(t *testing.T) {
	top := parse(t, `one = "x" list = ["x", 2] none = [] s { }`)
	for key, want := range map[string]int{"one": 1, "list": 2, "none": 0} {
		if values, ok := top.Lookup(key); !ok || len(values) != want {
			t.Errorf("%s: got %d values, %v, want %d", key, len(values), ok, want)
		}
	}
	for _, key := range []string{"s", "absent"} {
		if _, ok := top.Lookup(key); ok {
			t.Errorf("%s: found values", key)
		}
	}
	if !top.Has("s") || !top.Has("none") || top.Has("absent") {
		t.Error("Has is wrong")
	}
}

const typed = `vg {
	s = "x"
	i = 7
	neg = -1
	f = 1.5
	big = 18446744073709551615
	list = ["a", "b"]
	mixed = ["a", 1]
	none = []
	"a b" { "c.d" { } }
	sub { }
}`

func TestTypedLookUp(t *testing.T) {
	vg := parse(t, typed).Section("vg")
	check := func(what string, got any, err error, want any) {
		t.Helper()
		if err != nil {
			t.Errorf("%s: %v", what, err)
		} else if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", what, diff)
		}
	}
	s, err := vg.Str("s")
	check(`Str("s")`, s, err, "x")
	s, err = vg.OptStr("s")
	check(`OptStr("s")`, s, err, "x")
	s, err = vg.OptStr("absent")
	check(`OptStr("absent")`, s, err, "")
	u, err := vg.Uint("i", 7)
	check(`Uint("i", 7)`, u, err, uint64(7))
	u, err = vg.Uint("i", math.MaxUint64)
	check(`Uint("i", MaxUint64)`, u, err, uint64(7))
	u, err = vg.OptUint("i", 9, 7)
	check(`OptUint("i", 9, 7)`, u, err, uint64(7))
	u, err = vg.OptUint("absent", 9, 7)
	check(`OptUint("absent", 9, 7)`, u, err, uint64(9))
	i, err := vg.OptInt("neg", 0)
	check(`OptInt("neg")`, i, err, int64(-1))
	i, err = vg.OptInt("absent", -3)
	check(`OptInt("absent", -3)`, i, err, int64(-3))
	l, err := vg.Strs("list")
	check(`Strs("list")`, l, err, []string{"a", "b"})
	l, err = vg.Strs("s")
	check(`Strs("s")`, l, err, []string{"x"})
	l, err = vg.Strs("none")
	check(`Strs("none")`, l, err, []string{})
	l, err = vg.Strs("absent")
	check(`Strs("absent")`, l, err, []string(nil))
}

func TestAnErrorOfAKeyNamesItsPathAndPosition(t *testing.T) {
	vg := parse(t, typed).Section("vg")
	str := func(_ string, err error) error { return err }
	num := func(_ uint64, err error) error { return err }
	integer := func(_ int64, err error) error { return err }
	list := func(_ []string, err error) error { return err }
	for _, test := range []struct {
		err  error
		want string
	}{
		{str(vg.Str("absent")), `invalid key vg.absent: not in the section at line 1, column 1`},
		{num(vg.Uint("absent", 1)), `invalid key vg.absent: not in the section at line 1, column 1`},
		{str(vg.Str("i")), `invalid key vg.i (line 3, column 6): want a string, got an integer`},
		{str(vg.OptStr("f")), `invalid key vg.f (line 5, column 6): want a string, got a float`},
		{str(vg.Str("sub")), `invalid key vg.sub (line 11, column 2): want a string, got a section`},
		{str(vg.OptStr("none")), `invalid key vg.none (line 9, column 2): want a string, got an empty list`},
		{num(vg.Uint("s", 1)), `invalid key vg.s (line 2, column 6): want an integer, got a string`},
		{num(vg.Uint("i", 6)), `invalid key vg.i (line 3, column 6): 7 is not within 0 and 6`},
		{num(vg.OptUint("neg", 0, 6)), `invalid key vg.neg (line 4, column 8): -1 is not within 0 and 6`},
		{num(vg.Uint("big", math.MaxUint64)), `invalid key vg.big (line 6, column 8): 18446744073709551615 is not within 0 and 18446744073709551615`},
		{integer(vg.OptInt("big", 0)), `invalid key vg.big (line 6, column 8): 18446744073709551615 does not fit 64 bits`},
		{integer(vg.OptInt("f", 0)), `invalid key vg.f (line 5, column 6): want an integer, got a float`},
		{list(vg.Strs("mixed")), `invalid key vg.mixed (line 8, column 16): want a string, got an integer`},
		{list(vg.Strs("sub")), `invalid key vg.sub (line 11, column 2): want a list of strings, got a section`},
		{str(vg.Section("a b").Section("c.d").Str("x")), `invalid key vg."a b"."c.d".x: not in the section at line 10, column 10`},
	} {
		if !errors.Is(test.err, ErrKey) {
			t.Errorf("got %v, want ErrKey", test.err)
			continue
		}
		if diff := cmp.Diff(test.want, test.err.Error()); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
	}
}

func TestErrorfWrapsAndNamesTheSection(t *testing.T) {
	cause := errors.New("cause")
	top := parse(t, "vg { lv { } }")
	err := top.Section("vg").Section("lv").Errorf("%w: no segments in %q", cause, "lv")
	if !errors.Is(err, cause) {
		t.Error("the cause is lost")
	}
	if got, want := err.Error(), `vg.lv (line 1, column 6): cause: no segments in "lv"`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got := top.Errorf("%w", cause).Error(); got != "cause" {
		t.Errorf("at the top level: got %s", got)
	}
}
