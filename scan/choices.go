package scan

import (
	"cmp"

	"lvm2fs/blockdev"
	"lvm2fs/lvm2"
)

// choices are Options.Choices, for the LVs that they name.
type choices struct {
	legs       map[*lvm2.LV][]int
	pools      map[*lvm2.LV]lvm2.ThinPoolOptions
	originOnly map[*lvm2.LV]bool
}

// apply makes lvm2 ask for the choices, which resolve fills in before any LV is opened.
func (c *choices) apply(o *lvm2.Options) {
	o.TrustLegs = func(lv *lvm2.LV) []int { return c.legs[lv] }
	o.OriginOnly = func(lv *lvm2.LV) bool { return c.originOnly[lv] }
	o.ThinPool = func(pool *lvm2.LV) lvm2.ThinPoolOptions { return c.pools[pool] }
}

// resolve finds the LVs that the choices name. Files with metadata become devices of the session.
func (c *choices) resolve(s *Session, scan *lvm2.Scan) error {
	c.legs, c.pools, c.originOnly = map[*lvm2.LV][]int{}, map[*lvm2.LV]lvm2.ThinPoolOptions{}, map[*lvm2.LV]bool{}
	r := &Result{VGs: scan.VGs}
	if len(r.VGs) == 0 {
		return nil // which says enough
	}
	for i, choice := range s.opts.Choices {
		if err := c.add(s, r, choice); err != nil {
			return &OptionError{"Choices", i, choice.LV, err, nil}
		}
	}
	return nil
}

func (c *choices) add(s *Session, r *Result, choice Choice) error {
	lv, err := r.LV(choice.LV)
	if err != nil {
		return err
	}
	c.legs[lv] = append(c.legs[lv], choice.TrustLegs...)
	c.originOnly[lv] = c.originOnly[lv] || choice.OriginOnly
	pool := c.pools[lv]
	if path := choice.ThinMetadataFile; path != "" {
		if pool.Metadata, err = s.metadataFile(path); err != nil {
			return err
		}
	}
	pool.MetadataLV = cmp.Or(choice.ThinMetadataLV, pool.MetadataLV)
	pool.Root = cmp.Or(choice.ThinRoot, pool.Root)
	pool.IgnoreTransactionID = pool.IgnoreTransactionID || choice.IgnoreTransactionID
	c.pools[lv] = pool
	return nil
}

// metadataFile opens a file with the metadata of a pool, once for the session.
func (s *Session) metadataFile(path string) (lvm2.Device, error) {
	if d := s.metadata[path]; d != nil {
		return d, nil
	}
	d, err := blockdev.Open(path, blockdev.Options{})
	if err != nil {
		return nil, err
	}
	s.metadata[path] = d
	return d, nil
}
