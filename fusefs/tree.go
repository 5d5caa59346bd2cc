package fusefs

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	"lvm2fs/lvm2"
)

// tree says which names there are. It does not change; a reload makes another.
type tree struct {
	mtime  time.Time    // of the mount, or of the reload that changed the names of VGs
	dirs   []*directory // in the order of the scan
	byName map[string]*directory
	byUUID map[lvm2.UUID]*directory
	files  map[fileKey]*lvFile // those with a name, and gone ones with open handles
}

// directory is a VG.
type directory struct {
	name    string
	vg      *lvm2.VG
	ino     uint64
	mtime   time.Time // of the mount, or of the reload that changed the metadata
	entries []entry   // in the order of the metadata
	byName  map[string]*lvFile
}

type entry struct {
	name string
	file *lvFile
}

// newTree lays out the files of a scan, and says what the LVs of those files are now. A file
// that prev had stays that file, as it is. now is the time of what remembers none.
func (s *Server) newTree(scan *lvm2.Scan, prev *tree, now time.Time) (*tree, map[fileKey]*currentLV) {
	t := &tree{
		mtime:  now,
		byName: map[string]*directory{},
		byUUID: map[lvm2.UUID]*directory{},
		files:  map[fileKey]*lvFile{},
	}
	lvs := map[fileKey]*currentLV{}
	numbers := inodes(scan.VGs)
	for _, vg := range scan.VGs {
		d := &directory{name: vg.DirName(), vg: vg, ino: numbers[fileKey{vg: vg.UUID}], mtime: now, byName: map[string]*lvFile{}}
		if err := usable(d.name, t.byName[d.name] != nil || t.byUUID[vg.UUID] != nil); err != nil {
			s.log.Warn("a VG is not shown", "vg", vg.Name, "uuid", vg.UUID, "err", err)
			continue
		}
		if was := prev.byUUID[vg.UUID]; was != nil && was.vg.Seqno == vg.Seqno {
			d.mtime = was.mtime
		}
		t.dirs = append(t.dirs, d)
		t.byName[d.name] = d
		t.byUUID[vg.UUID] = d
		for _, lv := range vg.LVs {
			if !lv.Visible() && !s.cfg.All {
				continue
			}
			key, name := fileKey{vg.UUID, lv.UUID}, lv.FileName()
			err := usable(name, d.byName[name] != nil || t.files[key] != nil)
			if lv.UUID == "" {
				err = errors.New("its UUID cannot be read")
			}
			if err != nil {
				s.log.Warn("an LV is not shown", "vg", vg.Name, "lv", lv.Name, "uuid", lv.UUID, "err", err)
				continue
			}
			lvs[key] = newCurrentLV(lv, overlays{s.cfg.Overlays, s.cfg.ReadOnly})
			f := prev.files[key]
			if f == nil {
				f = newFile(key, numbers[key], lvs[key], now)
			}
			t.files[key] = f
			d.byName[name] = f
			d.entries = append(d.entries, entry{name, f})
		}
	}
	if maps.EqualFunc(t.byName, prev.byName, func(a, b *directory) bool { return a.ino == b.ino }) {
		t.mtime = prev.mtime
	}
	return t, lvs
}

// usable says why a name cannot be shown. Names come from disks; lvm2 has replaced those
// that lvm would not allow, so this is the second lock on the door.
func usable(name string, taken bool) error {
	switch {
	case taken:
		return errors.New("another one has its name or its UUID")
	case name == "", name == ".", name == "..", len(name) > 255, strings.ContainsAny(name, "/\x00"):
		return fmt.Errorf("%q is no name for a file", name)
	}
	return nil
}
