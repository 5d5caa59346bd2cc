package testimages

import "strings"

// supported are the cases of which every LV must be read today. A new kind of segment or
// device adds its cases here.
var supported = map[string]bool{
	"banana":                 true,
	"cache-clean":            true,
	"cache-crash":            true,
	"cache-dirty":            true,
	"cache-raid":             true,
	"cache-wt":               true,
	"dup-pv":                 true,
	"errzero":                true,
	"historical":             true,
	"linear-missing":         true,
	"linear-multi":           true,
	"linear-one":             true,
	"lvstack":                true,
	"mirror":                 true,
	"nested":                 true,
	"outdated-pv":            true,
	"pvmove-half":            true,
	"raid-degraded":          true,
	"raid-stale":             true,
	"raid-stale-meta":        true,
	"raid0":                  true,
	"raid0_meta":             true,
	"raid1":                  true,
	"raid10":                 true,
	"raid4":                  true,
	"raid5_la":               true,
	"raid5_ls":               true,
	"raid5_n":                true,
	"raid5_ra":               true,
	"raid5_rs":               true,
	"raid6-degraded2":        true,
	"raid6_la_6":             true,
	"raid6_ls_6":             true,
	"raid6_n_6":              true,
	"raid6_nc":               true,
	"raid6_nr":               true,
	"raid6_ra_6":             true,
	"raid6_rs_6":             true,
	"raid6_zr":               true,
	"reshape-done":           true,
	"reshape-half":           true,
	"same-name":              true,
	"sector4k":               true,
	"snapshot":               true,
	"snapshot-crash":         true,
	"snapshot-invalid":       true,
	"snapshot-merge-half":    true,
	"snapshot-merge-pending": true,
	"striped":                true,
	"sync-half":              true,
	"thin":                   true,
	"thin-chunks":            true,
	"thin-external":          true,
	"thin-many":              true,
	"thin-raid":              true,
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
	for _, prefix := range []string{"md-", "meta-", "part-"} {
		if strings.HasPrefix(c.Name, prefix) {
			return true
		}
	}
	return supported[c.Name]
}

// Flags are what lvm2fs has to be told to find all LVs of the case.
func (c *Case) Flags() []string {
	if c.Name == "nested" {
		return []string{"--nested"}
	}
	return nil
}
