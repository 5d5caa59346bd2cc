package cli

import "time"

// defaultAttrTimeout is how long the kernel keeps attributes, unless a reload or a write changes them before. Each path
// that is walked needs those of its directories, so ls asks three times less. It is not longer, because the kernel may
// keep old attributes of a file that it learns of during a reload.
const defaultAttrTimeout = time.Second
