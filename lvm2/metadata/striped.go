package metadata

import "math"

// Striped is the mapping of type striped (or linear, with one stripe): chunks of
// StripeSize bytes dealt out over Stripes in turn.
//
//	stripe 0   | chunk 0 | chunk 2 | …
//	stripe 1   | chunk 1 | chunk 3 | …
type Striped struct {
	StripeSize int64 // bytes; 0 for one stripe
	Stripes    []Area
}

var stripedKind = &Kind{
	Flags: []string{"RESHAPE_DELTA_DISKS_PLUS", "RESHAPE_DELTA_DISKS_MINUS", "REMOVE_AFTER_RESHAPE"},
	Plain: true, Stateless: true,
	decode: decodeStriped,
}

func decodeStriped(d *segmentDecoder, seg *Segment) Mapping {
	m := &Striped{StripeSize: d.optSectors("stripe_size"), Stripes: d.areas("stripes")}
	n := uint64(len(m.Stripes))
	switch count := d.uint("stripe_count", math.MaxUint32); {
	case d.err != nil:
	case n != count || n == 0:
		d.fail("%d stripes, stripe_count = %d", n, count)
	case n == 1:
		m.StripeSize = 0
	case m.StripeSize == 0:
		d.fail("%d stripes and no stripe_size", n)
	case seg.ExtentCount%n != 0:
		d.fail("extent_count = %d is no multiple of %d stripes", seg.ExtentCount, n)
	}
	return m
}

func (m *Striped) references() []Reference { return legs(m.Stripes) }

// Sizes implements [Mapping].
func (m *Striped) Sizes() Sizes { return Sizes{Stripe: m.StripeSize} }

func legs(areas []Area) []Reference {
	refs := make([]Reference, len(areas))
	for i, a := range areas {
		refs[i] = Reference{Area: a, Role: RoleLeg}
	}
	return refs
}

func (m *Striped) decides() []any { return []any{m.StripeSize} }
