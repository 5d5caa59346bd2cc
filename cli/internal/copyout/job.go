// Package copyout writes a volume to a file: sparse, sharing blocks where the file system
// can, and resumable. A file gets its name when it is complete, and another one if a
// part of the volume is lost.
package copyout

import (
	"context"
	"os"
	"time"

	"lvm2fs/mapping"
)

// Job is a volume to be written to a file. A job is for one goroutine.
type Job struct {
	Volume mapping.Volume
	Folder *Folder
	Name   string // of the file
	Title  string // what the volume is called in notes
	// Identity decides which earlier work is gone on with. Its Size is set by NewJob.
	Identity Identity
	// Replace lets the file take the place of one that exists.
	Replace bool
	// Protect are files that are not replaced for any reason: those that are read from,
	// and those of earlier jobs, which on a file system that knows no upper and lower
	// case may have the same name.
	Protect []os.FileInfo
	// NoSync gives the file its name without waiting until it is on stable storage, and keeps no record that it is
	// finished: after a power cut the name may stand for anything.
	NoSync bool
	// Progress, if any, is told how many bytes of the volume have been dealt with.
	Progress func(done int64)

	now      func() time.Time
	lockWait time.Duration
	ways     ways
}

// Result is how a job ended.
type Result struct {
	Name string // of the file: the job's, or another one if part is lost
	Map  string // of the map of what is lost; empty if the file is complete
	Lost Ranges
	Err  error // why the first of the lost bytes is
	File os.FileInfo
}

// NewJob is the job of writing v to the file called name in folder.
func NewJob(v mapping.Volume, folder *Folder, name, title string, identity Identity) *Job {
	identity.Size = v.Size()
	return &Job{
		Volume:   v,
		Folder:   folder,
		Name:     name,
		Title:    title,
		Identity: identity,
		now:      time.Now,
		lockWait: 3 * time.Second,
		ways:     allWays,
	}
}

// Check says, changing nothing, when an earlier run has finished the job, or why Run would
// not begin: ErrExists, ErrProtected, or that this user may not make files there. The time
// is zero if there is work to do.
func (j *Job) Check() (finished time.Time, err error) {
	s, err := j.look()
	if err != nil || !s.finished.IsZero() {
		return s.finished, err
	}
	return time.Time{}, j.Folder.checkWritable()
}

// Run does the job. It goes on with what an earlier run has left, if that was the same
// volume. When it fails, or ctx is done, the next run goes on from there. A finished job
// stays known as finished until Forget; one with Replace is done again.
func (j *Job) Run(ctx context.Context) (Result, error) {
	w, err := j.begin()
	if err != nil {
		return Result{}, err
	}
	defer w.close()
	if w.finished {
		return w.keep()
	}
	c := newCopier(ctx, w)
	if err := c.run(); err != nil {
		// The first error says more than what may come of noting the progress.
		_ = w.checkpoint(c.done)
		return Result{}, err
	}
	info, err := w.file.Stat()
	if err != nil {
		return Result{}, err
	}
	if len(c.lost) == 0 {
		return Result{Name: j.Name, File: info}, w.complete()
	}
	return Result{
		Name: j.Name + partialSuffix,
		Map:  j.Name + mapSuffix,
		Lost: c.lost,
		Err:  c.lostErr,
		File: info,
	}, w.leavePartial(c.done)
}
