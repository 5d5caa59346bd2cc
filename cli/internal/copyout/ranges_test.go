package copyout

import (
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestRangesAreWhatWasAddedToThem(t *testing.T) {
	const size = 64
	random := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		var r Ranges
		var bytes [size]bool
		for range random.IntN(20) {
			off := random.Int64N(size)
			end := off + random.Int64N(size-off+1)
			r.Add(off, end)
			for i := off; i < end; i++ {
				bytes[i] = true
			}
			checkRanges(t, r, bytes[:])
		}
	}
}

// checkRanges holds r and its complement against a flag for each byte.
func checkRanges(t *testing.T, r Ranges, bytes []bool) {
	t.Helper()
	size := int64(len(bytes))
	var in, out Ranges
	var n int64
	for i := int64(0); i < size; {
		end := i + 1
		for end < size && bytes[end] == bytes[i] {
			end++
		}
		if bytes[i] {
			in = append(in, Range{i, end})
			n += end - i
		} else {
			out = append(out, Range{i, end})
		}
		i = end
	}
	if diff := cmp.Diff(in, r); diff != "" && len(in)+len(r) > 0 {
		t.Fatalf("ranges (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(out, r.Not(size)); diff != "" {
		t.Fatalf("complement of %v (-want +got):\n%s", r, diff)
	}
	if r.Bytes() != n {
		t.Fatalf("%v has %d bytes, not %d", r, r.Bytes(), n)
	}
}
