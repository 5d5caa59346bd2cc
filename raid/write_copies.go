package raid

func (c *copies) members() legs { return c.legs }

// writeAt writes all copies on legs that are there.
func (c *copies) writeAt(p []byte, off int64, t *Intent) (int, error) {
	end := off + int64(len(p))
	err := c.change(off, end, t, func() error {
		var pieces []piece
		_ = c.eachPlace(off, end, func(at place, from, n int64) error {
			pieces = append(pieces, piece{off: from, leg: at.leg, x: at.x, buf: p[from-off : from-off+n]})
			return nil
		})
		return c.scatter(pieces)
	})
	if err != nil {
		return 0, err
	}
	return len(p), nil
}

func (c *copies) punch(off, n int64, t *Intent) error {
	return c.change(off, off+n, t, func() error {
		return c.eachPlace(off, off+n, func(at place, _, n int64) error { return c.clear(at.leg, at.x, n) })
	})
}

// change calls do while nobody else changes [off, end) and its regions are marked.
func (c *copies) change(off, end int64, t *Intent, do func() error) error {
	if err := t.Enter(off, end); err != nil {
		return err
	}
	unlock := c.locks.lock(off, end)
	err := do()
	unlock()
	t.Leave(off, end, err)
	return err
}

// eachPlace calls f for each copy of each run of [off, end), but for those on legs that are lost.
func (c *copies) eachPlace(off, end int64, f func(at place, off, n int64) error) error {
	var store [8]place
	for off < end {
		places, n := c.layout.places(off, store[:0])
		n = min(n, end-off)
		for _, at := range places {
			if c.out(at.leg) {
				continue
			}
			if err := f(at, off, n); err != nil {
				return err
			}
		}
		off += n
	}
	return nil
}
