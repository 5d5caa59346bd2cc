package lvm2

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"lvm2fs/internal/test/testpv"
)

// twinsOfOnePV is a VG with one PV, and two devices that both show it.
func twinsOfOnePV() (vg testpv.VG, a, b *testpv.Disk) {
	vg = testpv.VG{Name: "vg", Seqno: 5, PVs: []string{"sda"}, LVs: []testpv.LV{{Name: "a", Segments: []string{testpv.Linear(0, 1, "pv0", 0)}}}}
	a, b = vg.Disks()[0], vg.Disks()[0]
	b.Label = "sdz"
	return vg, a, b
}

// inBothOrders runs a test with devices in the one order and the other.
func inBothOrders(t *testing.T, opts Options, a, b *testpv.Disk, check func(t *testing.T, s *Scan)) {
	t.Helper()
	check(t, Open(devices(a, b), opts))
	check(t, Open(devices(b, a), opts))
}

func readsFrom(t *testing.T, want, rejected *testpv.Disk, s *Scan) {
	t.Helper()
	if err := rejection(t, s, rejected.Label); !errors.Is(err, ErrDuplicate) {
		t.Error(err)
	}
	lv := s.VGs[0].LV("a")
	if got := lv.Devices(); !slices.Equal(got, []Device{want}) || lv.ReadOnlyReason() == nil {
		t.Errorf("%v is used, and can be written: %t", got, lv.ReadOnlyReason() == nil)
	}
}

func usesNeither(t *testing.T, s *Scan) {
	t.Helper()
	for _, name := range []string{"sda", "sdz"} {
		if err := rejection(t, s, name); !errors.Is(err, ErrAmbiguous) {
			t.Error(err)
		}
	}
	if len(s.VGs) != 0 {
		t.Error("a VG is shown")
	}
}

func TestCopiesOfAPVAreReadWhereTheyAreEqual(t *testing.T) {
	_, a, b := twinsOfOnePV()
	const differs = testpv.ExtentSize / 2
	a.Extent(0, testpv.ExtentSize)[differs], b.Extent(0, testpv.ExtentSize)[differs] = 1, 2
	inBothOrders(t, Options{}, a, b, func(t *testing.T, s *Scan) {
		readsFrom(t, a, b, s)
		v, err := s.VGs[0].LV("a").Open()
		if err != nil {
			t.Fatal(err)
		}
		p := make([]byte, differs)
		if _, err := v.ReadAt(p, 0); err != nil || !bytes.Equal(p, a.Extent(0, testpv.ExtentSize)[:differs]) {
			t.Error(err)
		}
		if n, err := v.ReadAt(make([]byte, 2), differs-1); n != 1 || !errors.Is(err, ErrAmbiguous) {
			t.Errorf("%d bytes and %v", n, err)
		}
	})
}

func TestOfTwoDevicesWithOnePVThatIsUsedForWhichSomethingSpeaks(t *testing.T) {
	beats := func(winner *testpv.Disk) Options {
		return Options{Beats: func(a, b Device) string {
			if a == Device(winner) && b != a {
				return "is an array"
			}
			return ""
		}}
	}
	newer := func(vg testpv.VG, d *testpv.Disk) {
		vg.Seqno++
		d.SetText(vg.Text())
	}
	t.Run("the newer metadata", func(t *testing.T) {
		vg, a, b := twinsOfOnePV()
		newer(vg, b)
		inBothOrders(t, Options{}, a, b, func(t *testing.T, s *Scan) { readsFrom(t, b, a, s) })
	})
	t.Run("the size", func(t *testing.T) {
		_, a, b := twinsOfOnePV()
		a.Bytes = a.Bytes[:len(a.Bytes)-512]
		inBothOrders(t, Options{}, a, b, func(t *testing.T, s *Scan) { readsFrom(t, b, a, s) })
	})
	t.Run("what a system would do", func(t *testing.T) {
		_, a, b := twinsOfOnePV()
		inBothOrders(t, beats(b), a, b, func(t *testing.T, s *Scan) { readsFrom(t, b, a, s) })
	})
	t.Run("the user", func(t *testing.T) {
		vg, a, b := twinsOfOnePV()
		newer(vg, b)
		opts := beats(b)
		opts.Chosen = func(d Device) bool { return d == Device(a) }
		inBothOrders(t, opts, a, b, func(t *testing.T, s *Scan) { readsFrom(t, a, b, s) })
	})
	t.Run("of three, though the others contradict each other", func(t *testing.T) {
		vg, a, b := twinsOfOnePV()
		newer(vg, b)
		b.Bytes = b.Bytes[:len(b.Bytes)-512]
		c := vg.Disks()[0]
		c.Label = "sdc"
		vg.Seqno++
		newer(vg, c)
		s := Open(devices(a, b, c), Options{})
		readsFrom(t, c, a, s)
		readsFrom(t, c, b, s)
	})
}

func TestOfTwoDevicesWithOnePVNoneIsUsedWhereNothingDecides(t *testing.T) {
	t.Run("with different metadata of one seqno", func(t *testing.T) {
		vg, a, b := twinsOfOnePV()
		vg.LVs = []testpv.LV{{Name: "x", Segments: []string{testpv.Linear(0, 1, "pv0", 1)}}}
		b.SetText(vg.Text())
		inBothOrders(t, Options{}, a, b, usesNeither)
	})
	t.Run("with the newer metadata on one that is too small", func(t *testing.T) {
		vg, a, b := twinsOfOnePV()
		vg.Seqno++
		b.SetText(vg.Text())
		b.Bytes = b.Bytes[:len(b.Bytes)-512]
		inBothOrders(t, Options{}, a, b, usesNeither)
	})
	t.Run("with metadata that cannot be read on one", func(t *testing.T) {
		_, a, b := twinsOfOnePV()
		b.Bytes[4096+8] ^= 1
		inBothOrders(t, Options{}, a, b, usesNeither)
	})
	t.Run("with metadata of two VGs", func(t *testing.T) {
		vg, a, b := twinsOfOnePV()
		vg.Name, vg.Seqno = "other", 9
		b.SetText(vg.Text())
		inBothOrders(t, Options{}, a, b, usesNeither)
	})
}

func TestAPVThatShowsOnAPartOfWhatCannotBeReadIsNotRead(t *testing.T) {
	_, a, b := twinsOfOnePV()
	s := Open(devices(a), Options{Unread: []Device{b}})
	if err := rejection(t, s, "sda"); !errors.Is(err, ErrAmbiguous) || len(s.VGs) != 0 {
		t.Error(err)
	}
	s = Open(devices(a), Options{Unread: []Device{b}, Chosen: func(d Device) bool { return d == Device(a) }})
	if len(s.VGs) != 1 {
		t.Error("it is not read though it was chosen")
	}
}

func TestAPVIsInUseIfAnotherDeviceWithItIs(t *testing.T) {
	_, a, b := twinsOfOnePV()
	for _, used := range []Device{a, b} {
		opts := Options{
			Chosen: func(d Device) bool { return d == Device(a) },
			InUse:  func(d Device) string { return map[bool]string{true: "mounted"}[d == used] },
		}
		inBothOrders(t, opts, a, b, func(t *testing.T, s *Scan) {
			if got := s.VGs[0].LVs[0].Health(); got != "in-use" {
				t.Errorf("with %s in use: health %q", used.Name(), got)
			}
		})
	}
}

func TestOneDeviceNamedTwiceIsOne(t *testing.T) {
	_, a, _ := twinsOfOnePV()
	s := Open(devices(a, a), Options{})
	if len(s.Rejected) != 0 || s.VGs[0].LV("a").ReadOnlyReason() != nil {
		t.Errorf("%v %v", s.Rejected, s.VGs[0].LV("a").ReadOnlyReason())
	}
}
