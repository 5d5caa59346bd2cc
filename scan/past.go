package scan

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"time"

	"lvm2fs/layers/partition"
	"lvm2fs/layers/probe"
	"lvm2fs/layers/signature"
	"lvm2fs/lvm2"
	"lvm2fs/lvm2/history"
	"lvm2fs/lvm2/metadata"
	"lvm2fs/mapping"
)

// At chooses an older text of VGs.
type At struct {
	VG    string    // a name that the VG has or had, or its UUID; "" for each VG that has such a text
	Seqno uint64    // 0 to go by the time
	LV    string    // with a Seqno: of texts that share it, take the one with this LV; "" to fail where they differ
	Time  time.Time // the newest text that was not written after it
}

// MetadataFile is what vgcfgbackup or the archive of lvm2 wrote.
type MetadataFile struct {
	VG   string // the name or UUID that the VG in it must have; "" for any
	Path string
}

// IsPV says which PV a device is, whatever its label says.
type IsPV struct {
	Device string
	Offset int64 // bytes from the start of the device to that of the PV
	UUID   metadata.UUID
}

// maxMetadataFile bounds what is read of a MetadataFile, in bytes.
const maxMetadataFile = 64 << 20

// looksBack says whether any option needs to know of the past.
func (o *Options) looksBack() bool {
	return len(o.At)+len(o.MetadataFiles)+len(o.IsPV) > 0 || o.Carve || o.Removed
}

// History finds the metadata texts that the devices of the session still hold, current or not, and those in
// Options.MetadataFiles. It finds texts of PVs whose label or headers are damaged, too. It reads metadata areas once, and
// with Options.Carve all of the devices. The error is that of ctx, or of a file.
func (s *Session) History(ctx context.Context) (*history.Found, error) {
	r := s.Result()
	if r.past != nil {
		return r.past, nil
	}
	found, err := s.look(ctx, nodeDevices(slices.Concat(r.Roots, r.Disks)))
	if err != nil {
		return nil, err
	}
	_, err = s.addFiles(found)
	found.Sort()
	return found, err
}

// nodeDevices are the devices of nodes and of what lies on them, each once. What lies on a device comes before it.
func nodeDevices(nodes []*probe.Node) (devices []mapping.Device) {
	seen := map[*probe.Node]bool{}
	var visit func(n *probe.Node)
	visit = func(n *probe.Node) {
		if seen[n] {
			return
		}
		seen[n] = true
		for _, child := range n.Children {
			visit(child)
		}
		if n.Device != nil {
			devices = append(devices, n.Device)
		}
	}
	for _, n := range nodes {
		visit(n)
	}
	return devices
}

// look finds the texts on devices.
func (s *Session) look(ctx context.Context, devices []mapping.Device) (*history.Found, error) {
	found := history.New()
	for _, d := range devices {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		found.AddDevice(d)
	}
	if !s.opts.Carve {
		return found, nil
	}
	for _, d := range devices {
		if _, stacked := d.(mapping.Stacked); stacked {
			continue // what it lies on is searched
		}
		if err := found.Carve(ctx, d, s.opts.CarveProgress); err != nil {
			return nil, err
		}
	}
	return found, nil
}

// addFiles adds the texts of Options.MetadataFiles, in their order.
func (s *Session) addFiles(found *history.Found) (texts []*history.Text, err error) {
	for i, f := range s.opts.MetadataFiles {
		t, err := addFile(found, f)
		if err != nil {
			return nil, &OptionError{"MetadataFiles", i, f.Path, err, nil}
		}
		texts = append(texts, t)
	}
	return texts, nil
}

func addFile(found *history.Found, f MetadataFile) (*history.Text, error) {
	info, err := os.Stat(f.Path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxMetadataFile {
		return nil, fmt.Errorf("%s: not a file of metadata", f.Path)
	}
	contents, err := os.ReadFile(f.Path)
	if err != nil {
		return nil, err
	}
	t, err := found.AddFile(f.Path, contents)
	if err != nil {
		return nil, err
	}
	if f.VG != "" && f.VG != t.Name && f.VG != t.UUID.String() {
		return nil, fmt.Errorf("%s: it is of VG %q, not of %q", f.Path, t.Name, f.VG)
	}
	return t, nil
}

// views are the VGs that Options.At and Options.MetadataFiles choose. found is nil if nothing asks for it.
func (s *Session) views(ctx context.Context, probed *probe.Result) (views []lvm2.View, found *history.Found, err error) {
	if !s.opts.looksBack() {
		return nil, nil, nil
	}
	if found, err = s.look(ctx, nodeDevices(slices.Concat(probed.Roots, probed.Others))); err != nil {
		return nil, nil, err
	}
	files, err := s.addFiles(found)
	if err != nil {
		return nil, nil, err
	}
	found.Sort()
	chosen := map[metadata.UUID]*history.Text{}
	choose := func(t *history.Text) error {
		if other := chosen[t.UUID]; other != nil && other != t {
			return fmt.Errorf("VG %s: two texts are chosen: %s and %s", t.Name, other, t)
		}
		chosen[t.UUID] = t
		return nil
	}
	// A file that --at chooses among is not a choice itself.
	for i, t := range files {
		if len(s.opts.At) > 0 {
			break
		}
		if err := choose(t); err != nil {
			return nil, nil, &OptionError{"MetadataFiles", i, s.opts.MetadataFiles[i].Path, err, nil}
		}
	}
	for i, at := range s.opts.At {
		texts, err := at.texts(found)
		for _, t := range texts {
			if err == nil {
				err = choose(t)
			}
		}
		if err != nil {
			return nil, nil, &OptionError{"At", i, at.VG, err, nil}
		}
	}
	renamed := s.renamed(probed, found)
	for _, g := range found.VGs {
		if t := chosen[g.UUID]; t != nil {
			views = append(views, lvm2.View(*found.View(t, renamed)))
		}
	}
	return views, found, nil
}

// texts are those that at chooses: one of each VG.
func (at At) texts(found *history.Found) (texts []*history.Text, err error) {
	vgs := found.VGs
	if at.VG != "" {
		if vgs = found.Named(at.VG); len(vgs) > 1 {
			return nil, fmt.Errorf("%d VGs are called %q: name one by its UUID", len(vgs), at.VG)
		}
	}
	err = fmt.Errorf("%w of VG %q", history.ErrNoText, at.VG)
	if at.VG == "" {
		err = history.ErrNoText
	}
	for _, g := range vgs {
		var t *history.Text
		var e error
		if at.Seqno != 0 {
			t, e = g.SeqnoWith(at.Seqno, at.LV)
		} else {
			t, e = g.At(at.Time)
		}
		switch {
		case e == nil:
			texts = append(texts, t)
		case !errors.Is(e, history.ErrNoText):
			return nil, e
		default:
			err = e
		}
	}
	if len(texts) == 0 {
		return nil, err
	}
	return texts, nil
}

// renamed are the UUIDs that Options.IsPV gives to PVs that have another in their label.
func (s *Session) renamed(probed *probe.Result, found *history.Found) map[metadata.UUID]metadata.UUID {
	renamed := map[metadata.UUID]metadata.UUID{}
	for _, d := range probed.Candidates {
		if uuid := s.isPV(d); uuid != "" && found.Labels[d] != "" && found.Labels[d] != uuid {
			renamed[found.Labels[d]] = uuid
		}
	}
	return renamed
}

// isPV is the UUID of the PV that a device is by Options.IsPV; "" if it says nothing.
func (s *Session) isPV(d mapping.Device) metadata.UUID {
	for _, p := range slices.Backward(s.opts.IsPV) {
		if liesOn(d, p.Device) {
			return p.UUID
		}
	}
	return ""
}

// overwritten are the runs of a device that what shows on it may have overwritten, because whatever is no LVM was made
// over the PV. A table of partitions tells where it and the partitions lie. Nothing is known of anything else.
func overwritten(d mapping.Device) []metadata.Reused {
	marks, err := signature.Detect(d, d.Size())
	if err != nil {
		return []metadata.Reused{{End: math.MaxInt64, By: "what cannot be read: " + err.Error()}}
	}
	var ranges []metadata.Reused
	for _, m := range marks {
		switch m.Kind {
		case signature.KindPV, signature.KindEmpty:
		case signature.KindTable:
			ranges = append(ranges, partitioned(d)...)
		default:
			ranges = append(ranges, metadata.Reused{End: math.MaxInt64, By: "what was made over it: " + m.Name})
		}
	}
	return metadata.Join(ranges)
}

// partitioned are the places of the tables of partitions on a device, and of the partitions.
func partitioned(d mapping.Device) []metadata.Reused {
	const most = 34 * 4096 // bytes that a table takes at the start of a disk, and at its end
	ranges := []metadata.Reused{{End: most, By: "a partition table"}, {Start: d.Size() - most, End: math.MaxInt64, By: "a partition table"}}
	tables, err := partition.Find(d, d.Size(), SectorSize(d))
	if err != nil {
		return []metadata.Reused{{End: math.MaxInt64, By: "a partition table that cannot be read"}}
	}
	for _, t := range tables {
		for _, p := range t.Partitions {
			ranges = append(ranges, metadata.Reused{Start: p.Start, End: p.Start + p.Size, By: fmt.Sprintf("partition %d", p.Number)})
		}
	}
	return ranges
}

// useMissing says whether Options.UseMissing names a PV.
func (s *Session) useMissing(pv *lvm2.PV) bool {
	return slices.ContainsFunc(s.opts.UseMissing, func(name string) bool {
		uuid, err := metadata.ParseUUID(name)
		return err == nil && uuid == pv.UUID || liesOn(pv.Device, name)
	})
}
