package raid

// Survives says whether every byte of an array with this geometry is still there without the legs
// that are lost. Of a geometry that cannot exist nothing survives.
func (g Geometry) Survives(lost func(leg int) bool) bool {
	if g.check() != nil {
		return false
	}
	gone := 0
	for leg := range g.Legs {
		if lost(leg) {
			gone++
		}
	}
	switch g.Level {
	case RAID0, RAID4, RAID5, RAID6:
		return gone <= g.ParityLegs()
	case RAID1:
		return gone < g.Legs
	}
	// After as many chunks as there are legs, copies fall on the same legs again.
	t, err := newRAID10Layout(g)
	if err != nil {
		return false
	}
	for chunk := range t.legs {
		left := false
		places, _ := t.places(chunk*t.chunk, nil)
		for _, p := range places {
			left = left || !lost(p.leg)
		}
		if !left {
			return false
		}
	}
	return true
}
