package scan

import (
	"cmp"

	"lvm2fs/blockdev"
	"lvm2fs/lvm2"
)

// choose has the LVs that Options.Choices name opened by them. Files with metadata become devices of the session.
func (s *Session) choose(scan *lvm2.Scan) error {
	r := &Result{VGs: scan.VGs}
	if len(r.VGs) == 0 {
		return nil // which says enough
	}
	sums := map[*lvm2.LV]lvm2.Choice{}
	for i, choice := range s.opts.Choices {
		lv, err := r.LV(choice.LV)
		if err == nil {
			sums[lv], err = s.add(sums[lv], choice)
		}
		if err != nil {
			return &OptionError{"Choices", i, choice.LV, err, nil}
		}
	}
	for lv, sum := range sums {
		lv.Choose(sum)
	}
	return nil
}

func (s *Session) add(sum lvm2.Choice, c Choice) (lvm2.Choice, error) {
	sum.TrustLegs = append(sum.TrustLegs, c.TrustLegs...)
	sum.OriginOnly = sum.OriginOnly || c.OriginOnly
	pool := &sum.ThinPool
	if path := c.ThinMetadataFile; path != "" {
		d, err := s.metadataFile(path)
		if err != nil {
			return sum, err
		}
		pool.Metadata = d
	}
	pool.MetadataLV = cmp.Or(c.ThinMetadataLV, pool.MetadataLV)
	pool.Root = cmp.Or(c.ThinRoot, pool.Root)
	pool.Rebuild = max(c.ThinRebuild, pool.Rebuild)
	pool.ReadReused = s.opts.ReadReused
	pool.IgnoreTransactionID = pool.IgnoreTransactionID || c.IgnoreTransactionID
	return sum, nil
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
