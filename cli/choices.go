package cli

import (
	"fmt"
	"strconv"
	"strings"

	"lvm2fs/blockdev"
	"lvm2fs/lvm2"
)

// choiceOptions are the flags, of every command, of the user who knows better where an LV would be
// refused. Nothing of the kind is ever done without being asked for.
type choiceOptions struct {
	TrustLeg            []string `name:"trust-leg" sep:"none" placeholder:"VG/LV:N" help:"Read leg N, from 0, of a RAID or mirror as if it were in sync."`
	ThinMetadata        []string `name:"thin-metadata" sep:"none" placeholder:"VG/POOL=FILE" help:"Read the thin pool with the metadata in FILE, or with those of an LV: VG/POOL=lv:NAME."`
	ThinRoot            []string `name:"thin-root" sep:"none" placeholder:"VG/POOL=BLOCK" help:"Read the thin pool from a root that lvm2fs rescue found."`
	IgnoreTransactionID []string `name:"ignore-transaction-id" sep:"none" placeholder:"VG/POOL" help:"Read the thin pool although its metadata is of another age than the VG's."`
	OriginOnly          []string `name:"origin-only" sep:"none" placeholder:"VG/LV" help:"Read the origin of a cached LV alone; what is only in the cache reads as it was before."`
}

// choices are the options, for the LVs that they name.
type choices struct {
	legs  map[*lvm2.LV][]int
	pools map[*lvm2.LV]lvm2.ThinPoolOptions

	originOnly map[*lvm2.LV]bool
}

// apply makes lvm2 ask for the choices, which resolve fills in before any LV is opened.
func (c *choices) apply(o *lvm2.Options) {
	o.TrustLegs = func(lv *lvm2.LV) []int { return c.legs[lv] }
	o.OriginOnly = func(lv *lvm2.LV) bool { return c.originOnly[lv] }
	o.ThinPool = func(pool *lvm2.LV) lvm2.ThinPoolOptions { return c.pools[pool] }
}

// resolve finds the LVs that the options name. Files with metadata become devices of the session.
func (c *choices) resolve(s *session, opts choiceOptions) error {
	c.legs, c.pools, c.originOnly = map[*lvm2.LV][]int{}, map[*lvm2.LV]lvm2.ThinPoolOptions{}, map[*lvm2.LV]bool{}
	for _, arg := range opts.TrustLeg {
		lv, value, err := cutChoice(s.Scan, "--trust-leg", arg, ":")
		if err != nil {
			return err
		}
		leg, err := strconv.ParseUint(value, 10, 16)
		if err != nil {
			return usagef("--trust-leg %s: %q is not the number of a leg", arg, value)
		}
		c.legs[lv] = append(c.legs[lv], int(leg))
	}
	for _, arg := range opts.ThinMetadata {
		pool, value, err := cutChoice(s.Scan, "--thin-metadata", arg, "=")
		if err != nil {
			return err
		}
		o := c.pools[pool]
		if name, ok := strings.CutPrefix(value, "lv:"); ok {
			o.MetadataLV = name
		} else if o.Metadata, err = s.metadataFile(value); err != nil {
			return err
		}
		c.pools[pool] = o
	}
	for _, arg := range opts.ThinRoot {
		pool, value, err := cutChoice(s.Scan, "--thin-root", arg, "=")
		if err != nil {
			return err
		}
		o := c.pools[pool]
		if o.Root, err = strconv.ParseUint(value, 10, 64); err != nil || o.Root == 0 {
			return usagef("--thin-root %s: %q is not the number of a block", arg, value)
		}
		c.pools[pool] = o
	}
	for _, arg := range opts.IgnoreTransactionID {
		pool, err := findLV(s.Scan, arg)
		if err != nil {
			return fmt.Errorf("--ignore-transaction-id: %w", err)
		}
		o := c.pools[pool]
		o.IgnoreTransactionID = true
		c.pools[pool] = o
	}
	for _, arg := range opts.OriginOnly {
		lv, err := findLV(s.Scan, arg)
		if err != nil {
			return fmt.Errorf("--origin-only: %w", err)
		}
		c.originOnly[lv] = true
	}
	return nil
}

// metadataFile opens a file with the metadata of a pool, once for the session.
func (s *session) metadataFile(path string) (lvm2.Device, error) {
	if d := s.metadata[path]; d != nil {
		return d, nil
	}
	d, err := blockdev.Open(path, blockdev.Options{})
	if err != nil {
		return nil, fmt.Errorf("--thin-metadata: %w", err)
	}
	s.metadata[path] = d
	return d, nil
}

// cutChoice splits VG/LV from what is chosen for it.
func cutChoice(scan *lvm2.Scan, flag, arg, sep string) (*lvm2.LV, string, error) {
	path, value, ok := strings.Cut(arg, sep)
	if !ok || value == "" {
		return nil, "", usagef("%s %s: not VG/LV%sVALUE", flag, arg, sep)
	}
	lv, err := findLV(scan, path)
	if err != nil {
		return nil, "", fmt.Errorf("%s: %w", flag, err)
	}
	return lv, value, nil
}
