package cli

import "time"

// defaultAttrTimeout is how long the kernel keeps attributes, unless a reload or a write changes them before. Each path
// that is walked needs those of its directories, so that ls asks three times less. A file of which the kernel learns just during a
// reload is the one whose old attributes it would keep, so it is no longer than that.
const defaultAttrTimeout = time.Second
