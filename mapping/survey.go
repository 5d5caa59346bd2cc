package mapping

import "io"

// Survey finds which sectors of a volume cannot be read, with few reads where all is well. It is for
// one goroutine, and for one pass from the start of the volume to its end.
type Survey struct {
	volume io.ReaderAt
	dead   int64 // bytes that were tried since the last that could be read
}

// NewSurvey begins a survey of v.
func NewSurvey(v io.ReaderAt) *Survey { return &Survey{volume: v} }

const (
	surveySector = 512     // bytes that are given up together
	surveyDead   = 1 << 20 // bytes lost in a row after which a volume counts as dead
)

// Read reads p from off as far as it can, and calls lost in order for each run of sectors that could not
// be read, with the error of its first. A dead disk is not asked for every one of its sectors: after a mebibyte
// without a readable one, all of p counts as lost if neither its first nor its last sector can be read.
func (s *Survey) Read(p []byte, off int64, lost func(off, n int64, err error)) {
	n, err := ReadFull(s.volume, p, off)
	if err == nil {
		s.dead = 0
		return
	}
	if s.dead >= surveyDead && n == 0 && len(p) > surveySector {
		tail := p[len(p)-surveySector:]
		if _, last := ReadFull(s.volume, tail, off+int64(len(p)-surveySector)); last != nil {
			lost(off, int64(len(p)), err)
			s.dead += int64(len(p))
			return
		}
	}
	good := false
	var run int64 // the bytes before done that are lost
	var why error
	for done, step := 0, len(p); ; {
		good = good || n > 0
		if n > 0 && run > 0 {
			lost(off+int64(done)-run, run, why)
			run = 0
		}
		done += n
		room := surveySector - int((off+int64(done))%surveySector)
		switch {
		case err == nil:
			step *= 2
		case step-n <= room: // it is this sector, whatever of it was read
			if run == 0 {
				why = err
			}
			bad := min(room, len(p)-done)
			run += int64(bad)
			done += bad
			step = surveySector
		default: // a device need not say how far it came
			step = room
		}
		if done == len(p) {
			break
		}
		step = min(step, len(p)-done)
		n, err = ReadFull(s.volume, p[done:done+step], off+int64(done))
	}
	if run > 0 {
		lost(off+int64(len(p))-run, run, why)
	}
	if good {
		s.dead = 0
	}
	s.dead += run
}
