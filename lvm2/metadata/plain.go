package metadata

// Error is the mapping of type error: every access fails.
type Error struct{ noSizes }

// Zero is the mapping of type zero: it reads as zeros, and what is written is dropped.
type Zero struct{ noSizes }

var (
	errorKind = &Kind{
		Modules: []string{"error"},
		Flags:   []string{"RESHAPE_DELTA_DISKS_PLUS", "RESHAPE_DELTA_DISKS_MINUS", "REMOVE_AFTER_RESHAPE"},
		Plain:   true, Stateless: true, Virtual: true,
		decode: func(*segmentDecoder, *Segment) Mapping { return &Error{} },
	}
	zeroKind = &Kind{
		Modules: []string{"zero"}, Stateless: true, Virtual: true,
		decode: func(*segmentDecoder, *Segment) Mapping { return &Zero{} },
	}
)

func (*Error) references() []Reference { return nil }
func (*Zero) references() []Reference  { return nil }

func (*Error) decides() []any { return nil }
func (*Zero) decides() []any  { return nil }
