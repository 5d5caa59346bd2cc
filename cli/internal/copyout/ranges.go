package copyout

import (
	"slices"
	"sort"
)

// Range is the bytes from Off up to, but not including, End.
type Range struct{ Off, End int64 }

// Ranges are ranges in order that neither overlap nor touch. The zero value is none.
type Ranges []Range

// Add makes r contain the bytes from off to end.
func (r *Ranges) Add(off, end int64) {
	if off >= end {
		return
	}
	s := *r
	first := sort.Search(len(s), func(i int) bool { return s[i].End >= off })
	last := first
	for last < len(s) && s[last].Off <= end {
		off, end = min(off, s[last].Off), max(end, s[last].End)
		last++
	}
	*r = slices.Replace(s, first, last, Range{off, end})
}

// Not is what r leaves of the bytes from 0 to size.
func (r Ranges) Not(size int64) Ranges {
	var rest Ranges
	var off int64
	for _, x := range r {
		if x.Off >= size {
			break
		}
		if off < x.Off {
			rest = append(rest, Range{off, x.Off})
		}
		off = x.End
	}
	if off < size {
		rest = append(rest, Range{off, size})
	}
	return rest
}

// Bytes is how many bytes r contains.
func (r Ranges) Bytes() int64 {
	var n int64
	for _, x := range r {
		n += x.End - x.Off
	}
	return n
}
