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

// directory is a VG, or what it had once.
type directory struct {
	name    string
	vg      *lvm2.VG
	ino     uint64
	parent  uint64    // its ino
	mtime   time.Time // of the mount, or of the reload that changed the metadata
	entries []entry   // in the order of the metadata
	byName  map[string]*lvFile
	removed *directory // of the LVs that the VG had once; nil if it shows none
	gone    bool       // the VG: only what was removed is left
}

// removedName is the name of that directory.
const removedName = ".removed"

type entry struct {
	name string
	file *lvFile
}

// newTree lays out the files of a scan, and says what the LVs of those files are now. A file
// that prev had stays that file, as it is. now is the time of what remembers none.
func (s *Server) newTree(scan *lvm2.Scan, prev *tree, now time.Time) (*tree, map[fileKey]*currentLV) {
	unnamed := map[*lvm2.VG][]*lvm2.LV{}
	for _, vg := range scan.VGs {
		unnamed[vg] = s.unnamed(vg)
	}
	b := treeBuilder{s: s, prev: prev, now: now, numbers: inodes(keys(scan, unnamed)), lvs: map[fileKey]*currentLV{}, tree: &tree{
		mtime:  now,
		byName: map[string]*directory{},
		byUUID: map[lvm2.UUID]*directory{},
		files:  map[fileKey]*lvFile{},
	}}
	for _, vg := range scan.VGs {
		d := b.directory(vg)
		if d == nil {
			continue
		}
		for _, lv := range vg.LVs {
			if lv.Visible() || s.cfg.All {
				b.add(d, keyOf(lv), lv.FileName(), lv)
			}
		}
		for _, lv := range unnamed[vg] {
			b.add(d, keyOf(lv), lv.FileName(), lv)
		}
	}
	for _, r := range scan.Removed {
		b.addRemoved(r)
	}
	t := b.tree
	if maps.EqualFunc(t.byName, prev.byName, func(a, b *directory) bool { return a.ino == b.ino }) {
		t.mtime = prev.mtime
	}
	return t, b.lvs
}

// unnamed are the thin devices of the VG's pools for which there is no LV. They are shown with the internal LVs.
func (s *Server) unnamed(vg *lvm2.VG) []*lvm2.LV {
	if !s.cfg.All {
		return nil
	}
	return lvm2.UnnamedThinDevices(vg.LVs)
}

// treeBuilder lays out the files of a scan.
type treeBuilder struct {
	s       *Server
	prev    *tree
	now     time.Time
	numbers map[fileKey]uint64
	lvs     map[fileKey]*currentLV
	tree    *tree
}

// directory adds that of a VG; nil if it cannot be shown.
func (b *treeBuilder) directory(vg *lvm2.VG) *directory {
	t := b.tree
	d := &directory{name: vg.DirName(), vg: vg, ino: b.numbers[fileKey{vg: vg.UUID}], parent: rootIno, mtime: b.now, byName: map[string]*lvFile{}}
	if err := usable(d.name, t.byName[d.name] != nil || t.byUUID[vg.UUID] != nil); err != nil {
		b.s.log.Warn("a VG is not shown", "vg", vg.Name, "uuid", vg.UUID, "err", err)
		return nil
	}
	if was := b.prev.byUUID[vg.UUID]; was != nil && was.vg.Seqno == vg.Seqno {
		d.mtime = was.mtime
	}
	t.dirs = append(t.dirs, d)
	t.byName[d.name] = d
	t.byUUID[vg.UUID] = d
	return d
}

// addRemoved adds an LV that was removed, to a VG that may be gone as a whole.
func (b *treeBuilder) addRemoved(r lvm2.Removed) {
	d := b.tree.byUUID[r.LV.VG.UUID]
	if d == nil {
		if d = b.directory(r.LV.VG); d == nil {
			return
		}
		d.gone = true
	}
	if d.removed == nil {
		if d.byName[removedName] != nil {
			b.s.log.Warn("a removed LV is not shown, since an LV has the name of its directory", "lv", r.LV.String())
			return
		}
		d.removed = &directory{vg: d.vg, ino: b.numbers[removedKey(r.LV.VG)], parent: d.ino, mtime: d.mtime, byName: map[string]*lvFile{}}
	}
	b.add(d.removed, keyOfRemoved(r), r.Name(), r.LV)
}

// add adds the file of an LV to a directory.
func (b *treeBuilder) add(d *directory, key fileKey, name string, lv *lvm2.LV) {
	err := usable(name, d.byName[name] != nil || b.tree.files[key] != nil)
	if lv.UUID == "" {
		err = errors.New("its UUID cannot be read")
	}
	if err != nil {
		b.s.log.Warn("an LV is not shown", "vg", lv.VG.Name, "lv", lv.Name, "uuid", lv.UUID, "err", err)
		return
	}
	b.lvs[key] = newCurrentLV(lv, overlays{b.s.cfg.Overlays, b.s.cfg.ReadOnly})
	f := b.prev.files[key]
	if f == nil {
		f = newFile(key, b.numbers[key], b.lvs[key], b.now)
	}
	b.tree.files[key] = f
	d.byName[name] = f
	d.entries = append(d.entries, entry{name, f})
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
