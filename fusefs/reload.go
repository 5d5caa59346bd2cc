package fusefs

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"

	"lvm2fs/lvm2"
)

// Reload reads the metadata again and switches to it. New metadata is read wholly before the
// switch; on an error, which is also logged, the old stays. Handles follow their LV by UUID.
func (s *Server) Reload() error {
	_, err := s.reloadAndTell()
	return err
}

// reloadAndTell is Reload for whoever wants to know what it found.
func (s *Server) reloadAndTell() (Report, error) {
	report, changed, err := s.reload()
	s.invalidate(changed)
	return report, err
}

// reload says what is otherwise now, and which files are made of something else.
func (s *Server) reload() (report Report, changed map[fileKey]bool, err error) {
	s.reloading.Lock()
	defer s.reloading.Unlock()
	suspended := s.suspend()
	scan, warnings, err := s.rescan()
	report.Warnings = warnings
	if err != nil {
		err = fmt.Errorf("reload: %w", err)
		report.Failed = err.Error()
		s.log.Error("the metadata stays as it was", "err", err)
		s.resume(suspended)
		return report, nil, err
	}
	report.Changes, changed = s.change(scan, suspended, time.Now())
	s.failures.forget()
	for _, line := range report.Changes {
		s.log.Info(line)
	}
	s.log.Info("metadata read again", "vgs", len(scan.VGs), "changed", len(changed))
	return report, changed, nil
}

func (s *Server) rescan() (*lvm2.Scan, []string, error) {
	if s.ended {
		return nil, nil, errors.New("no longer mounted")
	}
	if s.cfg.Rescan == nil {
		return nil, nil, fmt.Errorf("%w here", errors.ErrUnsupported)
	}
	return s.cfg.Rescan()
}

// suspend ends writing to the LVs that keep more than their bytes on disk: whoever looks at that while they are
// written to finds it out of order. The files it returns wait for resume or change, with opening and io held.
func (s *Server) suspend() []*lvFile {
	var suspended []*lvFile
	files := s.tree.Load().files
	for _, key := range slices.SortedFunc(maps.Keys(files), fileKey.compare) {
		f := files[key]
		f.opening.Lock()
		if !f.writesState() {
			f.opening.Unlock()
			continue
		}
		f.io.Lock()
		s.rest(f)
		suspended = append(suspended, f)
	}
	return suspended
}

// rest ends writing to a file. The caller holds opening and io.
func (s *Server) rest(f *lvFile) {
	if err := f.swap(nil, f.lost).Close(); err != nil {
		s.log.Error("close", "lv", f.name(), "err", err)
	}
}

// resume goes on writing as before.
func (s *Server) resume(suspended []*lvFile) {
	for _, f := range suspended {
		w, err := f.open(f.lv.Load(), true)
		if err != nil {
			s.log.Error("open handles cannot write any more", "lv", f.name(), "err", s.remedy(err))
		}
		f.swap(w, err)
		f.io.Unlock()
		f.opening.Unlock()
	}
}

// change switches from the tree of before to that of scan. Of the files that are suspended it has the locks.
func (s *Server) change(scan *lvm2.Scan, suspended []*lvFile, now time.Time) (differs []string, changed map[fileKey]bool) {
	old := s.tree.Load()
	next, lvs := s.newTree(scan, old, now)
	differs = differences(old, next, lvs)
	switches := planSwitches(old, lvs)
	// An extent may go from one LV to another, so nobody may still write where the old
	// metadata says when the first one reads where the new metadata says.
	locks := slices.DeleteFunc(slices.Clone(switches), func(sw *switching) bool { return slices.Contains(suspended, sw.file) })
	for _, sw := range locks {
		sw.file.opening.Lock()
	}
	for _, sw := range locks {
		sw.file.io.Lock()
	}
	for _, sw := range switches {
		if sw.file.writesState() { // also if it was opened just now
			s.rest(sw.file)
		}
	}
	for _, sw := range switches {
		sw.perform(now)
	}
	for _, sw := range switches {
		sw.file.io.Unlock()
	}
	for _, sw := range switches {
		if err := errors.Join(sw.old.Close(), sw.left); err != nil {
			s.log.Error("close", "lv", sw.file.name(), "err", err)
		}
		if sw.lost != nil {
			s.log.Error("open handles cannot write any more", "lv", sw.file.name(), "err", s.remedy(sw.lost))
		}
		sw.file.opening.Unlock()
	}
	changed = map[fileKey]bool{}
	for _, sw := range switches {
		changed[sw.file.key] = true
		if sw.to == nil && sw.file.handles.Load() > 0 {
			next.files[sw.file.key] = sw.file
		}
	}
	s.tree.Store(next)
	return differs, changed
}

// invalidate makes the kernel forget the pages of files, and names and attributes where it may keep them. The caller
// holds no lock. If it serves a request, that is one on the root: the kernel locks the inode that a request is
// about. To forget pages and names takes that lock; to forget attributes does not.
func (s *Server) invalidate(changed map[fileKey]bool) {
	if s.cfg.AttrTimeout > 0 {
		_ = s.root.NotifyContent(-1, 0)
	}
	for _, vg := range s.root.Children() { // names in the root are never kept
		s.invalidateDir(vg, changed)
	}
	for key, f := range s.tree.Load().files { // names do not lead to all inodes
		switch {
		case changed[key]:
			f.inodes.forget(nil, 0, 0)
		case s.cfg.AttrTimeout > 0:
			f.inodes.forget(nil, -1, 0)
		}
	}
}

// invalidateDir is invalidate for a directory that is not the root.
func (s *Server) invalidateDir(dir *fs.Inode, changed map[fileKey]bool) {
	if s.cfg.AttrTimeout > 0 {
		_ = dir.NotifyContent(-1, 0)
	}
	for name, child := range dir.Children() {
		if s.cfg.EntryTimeout > 0 {
			_ = dir.NotifyEntry(name)
		}
		n, ok := child.Operations().(*lvNode)
		// An error says that there is nothing to forget.
		switch {
		case !ok:
			s.invalidateDir(child, changed)
		case changed[n.key]:
			_ = child.NotifyContent(0, 0)
		case s.cfg.AttrTimeout > 0:
			_ = child.NotifyContent(-1, 0)
		}
	}
}

// switching is a file that is about to be made of something else.
type switching struct {
	file *lvFile
	to   *currentLV // nil: the LV is gone
	old  *openVolume
	lost error
	left error // of giving up the overlay
}

// planSwitches finds the files whose bytes will lie elsewhere, and lets the others know their
// new LV, which differs in no more than names and tags.
func planSwitches(old *tree, lvs map[fileKey]*currentLV) []*switching {
	var switches []*switching
	for _, key := range slices.SortedFunc(maps.Keys(old.files), fileKey.compare) {
		f := old.files[key]
		was, is := f.lv.Load(), lvs[key]
		if was != nil && is != nil && was.sameContents(is) {
			f.lv.Store(is)
			f.holes.Store(0)
			continue
		}
		switches = append(switches, &switching{file: f, to: is})
	}
	return switches
}

// perform makes the file one of its new LV. The caller holds opening and io.
func (sw *switching) perform(now time.Time) {
	f := sw.file
	was := f.lv.Load()
	if was == nil || sw.to == nil || !was.InPlacesOf(sw.to.LV) {
		f.mtime.Store(now.UnixNano())
	}
	if was != nil && sw.to != nil {
		sw.to.Inherit(was.LV)
	}
	f.lv.Store(sw.to)
	defer func() { sw.left = f.leaveOverlay() }()
	if f.writers == 0 {
		sw.old = f.swap(nil, nil)
		return
	}
	w, err := f.open(sw.to, true)
	sw.old, sw.lost = f.swap(w, err), err
}
