package testimages

import "strings"

// supported are the cases of which every LV must be read today. A new kind of segment or
// device adds its cases here.
var supported = map[string]bool{
	"banana":                 true,
	"cache-crash":            true,
	"cache-dirty":            true,
	"cache-wt":               true,
	"dup-pv":                 true,
	"errzero":                true,
	"historical":             true,
	"linear-missing":         true,
	"linear-multi":           true,
	"linear-one":             true,
	"same-name":              true,
	"snapshot":               true,
	"snapshot-crash":         true,
	"snapshot-invalid":       true,
	"snapshot-merge-half":    true,
	"snapshot-merge-pending": true,
	"striped":                true,
	"thin":                   true,
	"thin-chunks":            true,
	"thin-external":          true,
	"thin-many":              true,
	"thin-segments":          true,
	"two-vgs":                true,
	"vdo":                    true,
	"vdo-plain":              true,
	"vg2000":                 true,
	"writecache":             true,
	"writecache-crash":       true,
}

// Supported says whether every LV of the case must be read as the kernel read it. Of the
// other cases an LV may be refused, but never be wrong.
func (c *Case) Supported() bool {
	return supported[c.Name] || strings.HasPrefix(c.Name, "meta-")
}
