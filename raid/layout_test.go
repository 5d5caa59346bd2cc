package raid

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// worked are the tables of docs/format/03-mapping-linear-striped-raid.md, sections 5.5 and
// 5.6, which were checked against arrays made by the kernel.
var worked = []struct {
	name   string
	level  Level
	layout uint32
	table  string
}{
	{"raid4 of LVM2", RAID5, ParityFirst, "P D0 D1 D2/P D3 D4 D5/P D6 D7 D8/P D9 D10 D11/P D12 D13 D14"},
	{"raid4 of MD", RAID4, 0, "D0 D1 D2 P/D3 D4 D5 P/D6 D7 D8 P"},
	{"raid5_n", RAID5, ParityLast, "D0 D1 D2 P/D3 D4 D5 P/D6 D7 D8 P/D9 D10 D11 P/D12 D13 D14 P"},
	{"raid5_la", RAID5, LeftAsymmetric, "D0 D1 D2 P/D3 D4 P D5/D6 P D7 D8/P D9 D10 D11/D12 D13 D14 P"},
	{"raid5_ra", RAID5, RightAsymmetric, "P D0 D1 D2/D3 P D4 D5/D6 D7 P D8/D9 D10 D11 P/P D12 D13 D14"},
	{"raid5_ls", RAID5, LeftSymmetric, "D0 D1 D2 P/D4 D5 P D3/D8 P D6 D7/P D9 D10 D11/D12 D13 D14 P"},
	{"raid5_rs", RAID5, RightSymmetric, "P D0 D1 D2/D5 P D3 D4/D7 D8 P D6/D9 D10 D11 P/P D12 D13 D14"},

	{"raid6_zr", RAID6, ZeroRestart, "P Q D0^2 D1^3 D2^4/D3^0 P Q D4^3 D5^4/D6^0 D7^1 P Q D8^4/D9^0 D10^1 D11^2 P Q/Q D12^1 D13^2 D14^3 P"},
	{"raid6_nr", RAID6, NRestart, "D0^0 D1^1 D2^2 P Q/D3^0 D4^1 P Q D5^4/D6^0 P Q D7^3 D8^4/P Q D9^2 D10^3 D11^4/Q D12^1 D13^2 D14^3 P"},
	{"raid6_nc", RAID6, NContinue, "D0^0 D1^1 D2^2 Q P/D4^0 D5^1 Q P D3^4/D8^0 Q P D6^3 D7^4/Q P D9^2 D10^3 D11^4/P D12^1 D13^2 D14^3 Q"},
	{"raid6_n_6", RAID6, ParityLast, "D0^0 D1^1 D2^2 P Q/D3^0 D4^1 D5^2 P Q"},
	{"raid6_la_6", RAID6, LeftAsymmetric6, "D0^0 D1^1 D2^2 P Q/D3^0 D4^1 P D5^2 Q/D6^0 P D7^1 D8^2 Q/P D9^0 D10^1 D11^2 Q/D12^0 D13^1 D14^2 P Q"},
	{"raid6_ra_6", RAID6, RightAsymmetric6, "P D0^0 D1^1 D2^2 Q/D3^0 P D4^1 D5^2 Q/D6^0 D7^1 P D8^2 Q/D9^0 D10^1 D11^2 P Q/P D12^0 D13^1 D14^2 Q"},
	{"raid6_ls_6", RAID6, LeftSymmetric6, "D0^0 D1^1 D2^2 P Q/D4^0 D5^1 P D3^2 Q/D8^0 P D6^1 D7^2 Q/P D9^0 D10^1 D11^2 Q/D12^0 D13^1 D14^2 P Q"},
	{"raid6_rs_6", RAID6, RightSymmetric6, "P D0^0 D1^1 D2^2 Q/D5^0 P D3^1 D4^2 Q/D7^0 D8^1 P D6^2 Q/D9^0 D10^1 D11^2 P Q/P D12^0 D13^1 D14^2 Q"},
	{"md raid6 left asymmetric", RAID6, LeftAsymmetric, "Q D0^0 D1^1 D2^2 P/D3^0 D4^1 D5^2 P Q/D6^1 D7^2 P Q D8^0/D9^2 P Q D10^0 D11^1/P Q D12^0 D13^1 D14^2"},
	{"md raid6 right asymmetric", RAID6, RightAsymmetric, "P Q D0^0 D1^1 D2^2/D3^2 P Q D4^0 D5^1/D6^1 D7^2 P Q D8^0/D9^0 D10^1 D11^2 P Q/Q D12^0 D13^1 D14^2 P"},
	{"md raid6 left symmetric", RAID6, LeftSymmetric, "Q D0^0 D1^1 D2^2 P/D3^0 D4^1 D5^2 P Q/D7^1 D8^2 P Q D6^0/D11^2 P Q D9^0 D10^1/P Q D12^0 D13^1 D14^2"},
	{"md raid6 right symmetric", RAID6, RightSymmetric, "P Q D0^0 D1^1 D2^2/D5^2 P Q D3^0 D4^1/D7^1 D8^2 P Q D6^0/D9^0 D10^1 D11^2 P Q/Q D12^0 D13^1 D14^2 P"},
	{"md raid6 parity first", RAID6, ParityFirst, "P Q D0^0 D1^1 D2^2/P Q D3^0 D4^1 D5^2"},
	{"md raid6 parity first 6", RAID6, ParityFirst6, "P D0^0 D1^1 D2^2 Q/P D3^0 D4^1 D5^2 Q/P D6^0 D7^1 D8^2 Q"},

	{"near 2, 4 legs", RAID10, 0x102, "D0 D0 D1 D1/D2 D2 D3 D3/D4 D4 D5 D5/D6 D6 D7 D7"},
	{"near 2, 5 legs", RAID10, 0x102, "D0 D0 D1 D1 D2/D2 D3 D3 D4 D4/D5 D5 D6 D6 D7/D7 D8 D8 D9 D9"},
	{"near 2, 3 legs", RAID10, 0x102, "D0 D0 D1/D1 D2 D2/D3 D3 D4/D4 D5 D5"},
	{"near 3, 4 legs", RAID10, 0x103, "D0 D0 D0 D1/D1 D1 D2 D2/D2 D3 D3 D3/D4 D4 D4 -"},
	{"offset 2, 4 legs", RAID10, 0x10201, "D0 D1 D2 D3/D3 D0 D1 D2/D4 D5 D6 D7/D7 D4 D5 D6"},
	{"offset 2, 5 legs", RAID10, 0x10201, "D0 D1 D2 D3 D4/D4 D0 D1 D2 D3/D5 D6 D7 D8 D9/D9 D5 D6 D7 D8"},
	{"far 2, 4 legs", RAID10, 0x201, "D0 D1 D2 D3/D4 D5 D6 D7/D8 D9 D10 D11/D3 D0 D1 D2/D7 D4 D5 D6/D11 D8 D9 D10"},
	{"far 2, 5 legs", RAID10, 0x201, "D0 D1 D2 D3 D4/D5 D6 D7 D8 D9/D10 D11 D12 D13 D14/D4 D0 D1 D2 D3/D9 D5 D6 D7 D8/D14 D10 D11 D12 D13"},
	{"far 2 with sets, 4 legs", RAID10, 0x40201, "D0 D1 D2 D3/D4 D5 D6 D7/D8 D9 D10 D11/D1 D0 D3 D2/D5 D4 D7 D6/D9 D8 D11 D10"},
	{"far 2 with sets, 5 legs", RAID10, 0x40201, "D0 D1 D2 D3 D4/D5 D6 D7 D8 D9/D10 D11 D12 D13 D14/D1 D0 D4 D2 D3/D6 D5 D9 D7 D8/D11 D10 D14 D12 D13"},
}

func (c cell) withPower(level Level) string {
	if level == RAID6 && c.kind == 'D' {
		return fmt.Sprintf("%v^%d", c, c.power)
	}
	return c.String()
}

// laidOut is the table that the code under test gives.
func laidOut(t *testing.T, g Geometry, rows int) drawing {
	out := make(drawing, rows)
	for r := range out {
		out[r] = make([]cell, g.Legs)
	}
	if g.Level == RAID10 {
		ten, err := newRAID10Layout(g)
		if err != nil {
			t.Fatal(err)
		}
		for chunk := range ten.chunks {
			places, n := ten.places(chunk*g.Chunk, nil)
			if n != g.Chunk {
				t.Fatalf("chunk %d goes on for %d bytes", chunk, n)
			}
			for _, p := range places {
				out[p.x/g.Chunk][p.leg] = cell{kind: 'D', number: int(chunk)}
			}
		}
		return out
	}
	table, err := rowsOf(g)
	if err != nil {
		t.Fatal(err)
	}
	for r := range out {
		rw := table[r%len(table)]
		for k, leg := range rw.data {
			c := cell{kind: 'D', number: r*len(rw.data) + k}
			if rw.weights != nil {
				c.power = logs[rw.weights[k]]
			}
			out[r][leg] = c
		}
		if rw.p != none {
			out[r][rw.p].kind = 'P'
		}
		if rw.q != none {
			out[r][rw.q].kind = 'Q'
		}
	}
	return out
}

func TestLayoutsAreThoseOfTheWorkedTables(t *testing.T) {
	for _, w := range worked {
		t.Run(w.name, func(t *testing.T) {
			lines := strings.Split(w.table, "/")
			g := Geometry{Level: w.level, Layout: w.layout, Legs: len(strings.Fields(lines[0])), Chunk: 4096, LegSize: 4096 * int64(len(lines))}
			for _, table := range []drawing{laidOut(t, g, len(lines)), draw(g, len(lines))} {
				for r, line := range lines {
					var got []string
					for _, c := range table[r] {
						got = append(got, c.withPower(w.level))
					}
					if strings.Join(got, " ") != line {
						t.Errorf("row %d is %q, want %q", r, strings.Join(got, " "), line)
					}
				}
			}
		})
	}
}

// geometries gives every layout that can be had with n legs.
func geometries(n int) []Geometry {
	var out []Geometry
	add := func(level Level, layouts ...uint32) {
		for _, layout := range layouts {
			out = append(out, Geometry{Level: level, Layout: layout, Legs: n, Chunk: 4096, LegSize: 4096 * int64(2*n+3)})
		}
	}
	add(RAID0, 0)
	add(RAID1, 0)
	add(RAID4, 0)
	add(RAID5, 0, 1, 2, 3, 4, 5)
	if n >= 3 {
		add(RAID6, 0, 1, 2, 3, 4, 5, 8, 9, 10, 16, 17, 18, 19, 20)
	}
	for near := uint32(1); near <= 3; near++ {
		for far := uint32(1); far <= 3; far++ {
			for _, flags := range []uint32{0, 1 << 16, 1 << 17, 2 << 17, 1<<16 | 2<<17} {
				g := Geometry{Layout: far<<8 | near | flags, Legs: n, Chunk: 4096}
				if _, err := newRAID10Layout(g); err == nil && (far > 1 || flags == 0) {
					add(RAID10, g.Layout)
				}
			}
		}
	}
	return out
}

func (g Geometry) String() string { return fmt.Sprintf("%v-%#x-%d", g.Level, g.Layout, g.Legs) }

func TestLayoutsAreThoseOfTheModelForAnyNumberOfLegs(t *testing.T) {
	for n := 2; n <= 10; n++ {
		for _, g := range geometries(n) {
			if g.Level == RAID1 {
				continue
			}
			rows := int(g.LegSize / g.Chunk)
			want := draw(g, rows)
			got := laidOut(t, g, rows)[:len(want)]
			for r := range want {
				for i := range want[r] {
					w, g := want[r][i], got[r][i]
					if w.kind != 'D' {
						w.power, g.power = 0, 0
					}
					if w != g {
						t.Fatalf("%v\nis\n%v\nwant\n%v", g, got, want)
					}
				}
			}
		}
	}
}

func TestRAID10LayoutsThatPutTwoChunksInOnePlaceAreRefused(t *testing.T) {
	for _, g := range []Geometry{
		{Layout: 0x10202, Legs: 5},
		{Layout: 0x40202, Legs: 9},
		{Layout: 0x302, Legs: 5},
		{Layout: 0x100, Legs: 4},
		{Layout: 0x60201, Legs: 4},
		{Layout: 0x1000102, Legs: 4},
	} {
		g.Level, g.Chunk, g.LegSize = RAID10, 4096, 1<<20
		if _, err := New(Config{Geometry: g, Legs: newWorld(seeded(t), Geometry{Level: RAID1, Legs: g.Legs, LegSize: 1 << 20}).legs(), InSync: All}); !errors.Is(err, ErrGeometry) {
			t.Errorf("%v: %v", g, err)
		}
	}
}

func TestZonesOfUnequalLegs(t *testing.T) {
	// The example of docs/format/04-below-lvm.md, section 4.5, in units of 512 bytes.
	g := Geometry{Level: RAID0, Legs: 4, Chunk: 8, LegSizes: []int64{14336, 12288, 9216, 7168}}
	for layout, leg := range map[uint32]int{Original: 2, Alternate: 0} {
		g.Layout = layout
		zones := zonesOf(g)
		want := [][4]int64{{0, 28672, 0, 4}, {28672, 34816, 7168, 3}, {34816, 40960, 9216, 2}, {40960, 43008, 12288, 1}}
		if len(zones) != len(want) {
			t.Fatalf("%d zones", len(zones))
		}
		for i, z := range zones {
			if got := [4]int64{z.start, z.end, z.base, int64(len(z.legs))}; got != want[i] {
				t.Errorf("zone %d is %v, want %v", i, got, want[i])
			}
		}
		if zones[1].legs[0] != leg {
			t.Errorf("layout %d: sector 28672 is on leg %d, want %d", layout, zones[1].legs[0], leg)
		}
	}
}

func seeded(t testing.TB) *rand.Rand {
	seed := rand.Uint64()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("seed %d", seed)
		}
	})
	return rand.New(rand.NewPCG(seed, 0))
}
