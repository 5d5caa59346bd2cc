package testimages

import "strings"

// supported are the cases of which every LV must be read today. A new kind of segment or
// device adds its cases here.
var supported = map[string]bool{
	"banana":         true,
	"dup-pv":         true,
	"errzero":        true,
	"linear-missing": true,
	"linear-multi":   true,
	"linear-one":     true,
	"same-name":      true,
	"striped":        true,
	"two-vgs":        true,
	"vg2000":         true,
}

// Supported says whether every LV of the case must be read as the kernel read it. Of the
// other cases an LV may be refused, but never be wrong.
func (c *Case) Supported() bool {
	return supported[c.Name] || strings.HasPrefix(c.Name, "meta-")
}
