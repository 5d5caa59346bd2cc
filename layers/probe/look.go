package probe

import (
	"errors"
	"fmt"
	"slices"

	"lvm2fs/layers/md"
	"lvm2fs/layers/partition"
	"lvm2fs/layers/signature"
	"lvm2fs/mapping"
	"lvm2fs/raid"
)

// look finds out what is on a device that is no image.
func (r *run) look(n *Node) {
	if m, ok := r.claimedMember(n.Device); ok {
		n.Content = m.Super.String()
		r.addMember(memberNode{m, n})
		return
	}
	if r.opts.Offset != nil {
		if off, ok := r.opts.Offset(n.Device, n.isDisk()); ok {
			r.lookAtOffset(n, off)
			return
		}
	}
	component, err := signature.Component(n.Device, n.Device.Size())
	if err != nil {
		n.Err = fmt.Errorf("%s: %w", n.Name, err)
		return
	}
	if component != nil {
		r.lookAtComponent(n, component)
		return
	}
	marks, err := signature.Detect(n.Device, n.Device.Size())
	if err != nil && len(marks) == 0 {
		n.Err = fmt.Errorf("%s: %w", n.Name, err)
		return
	}
	if len(marks) > 0 {
		n.Content = marks[0].Name
	}
	r.lookAtDisk(n, marks)
}

// isDisk says whether the node is a device that was given, or the disk in an image.
func (n *Node) isDisk() bool {
	return len(n.beneath) == 0 || n.inImage && n.beneath[0].isDisk()
}

// lookAtOffset takes the user's word for where a PV is.
func (r *run) lookAtOffset(n *Node, off int64) {
	size := n.Device.Size()
	if off < 0 || off >= size {
		n.Err = fmt.Errorf("%s: %w: it has %d bytes, and no byte %d", n.Name, ErrNothing, size, off)
		return
	}
	// A member of an array that deals its bytes out may have the label, but not the rest.
	if super, _ := md.Find(n.Device, size); super != nil && super.Geometry.Level != md.Level(raid.RAID1) {
		n.Err = fmt.Errorf("%s: %w: it is %s", n.Name, ErrComponent, super)
		return
	}
	n.Content = fmt.Sprintf("PV from byte %d", off)
	d, err := r.sectionAtWord(n, off)
	if err != nil {
		n.Err = fmt.Errorf("%s: %w", n.Name, err)
		return
	}
	c, _ := r.put([]*Node{n}, d, d.Name(), "part")
	c.PV, c.Content = true, "LVM2 physical volume"
	r.Candidates = append(r.Candidates, d)
	r.AtWord[d] = true
}

// sectionAtWord is the node's device from off on. It is read-only if the device looks like a part of something
// else: the other parts would not be written with it.
func (r *run) sectionAtWord(n *Node, off int64) (mapping.Device, error) {
	size := n.Device.Size() - off
	name := fmt.Sprintf("%s (from byte %d)", n.Name, off)
	for _, d := range []mapping.Device{n.Device, mapping.Section(n.Device, off, size, name)} {
		component, err := signature.Component(d, d.Size())
		if err != nil {
			return nil, err
		}
		if component != nil {
			r.warn("%s: is read as a PV, although the device is a %s", name, component.Name)
			return r.keep(openedKey{from: n.Device, what: "read-only " + name}, func() (mapping.Device, error) {
				return mapping.ReadOnlySection(n.Device, off, size, name), nil
			})
		}
	}
	return r.section(n, off, size, name), nil
}

// section is a range of the node's device.
func (r *run) section(n *Node, off, size int64, name string) mapping.Device {
	key := openedKey{from: n.Device, what: fmt.Sprintf("%d+%d %s", off, size, name)}
	d, _ := r.keep(key, func() (mapping.Device, error) { return mapping.Section(n.Device, off, size, name), nil })
	return d
}

// open tries to open the device as one of layers, and says whether it is one, opened or not.
func (r *run) open(n *Node, layers []Layer) bool {
	for _, l := range layers {
		key := r.keyOf(n.Device, l)
		d, err := r.keep(key, func() (mapping.Device, error) { return l.Open(r.ctx, n.Device) })
		if d == nil && err == nil {
			continue
		}
		r.addParts(n, l, err)
		n.Content = l.Type
		marks, unread := signature.Detect(n.Device, n.Device.Size())
		if len(marks) > 0 {
			n.Content = marks[0].Name
		}
		// What is in an image can show on its file too.
		if i := slices.IndexFunc(marks, func(s signature.Signature) bool { return s.Kind == signature.KindImage }); i >= 0 {
			n.Content = marks[i].Name
		}
		switch {
		case err != nil && len(marks) == 0 && unread != nil:
			// It could not be read, so what it is is unknown.
			n.Content, n.Err = "", err
			return true
		case err != nil:
			n.Err = fmt.Errorf("%w (%s)", err, n.Content)
			return true
		}
		if w, ok := d.(interface{ Warnings() []error }); ok {
			r.Warnings = append(r.Warnings, w.Warnings()...)
		}
		r.add([]*Node{n}, d, d.Name(), l.Type).inImage = true
		return true
	}
	return false
}

// keyOf is what the layer on a device is known by. If the file has changed, that is another layer, unless the layer says
// that all changes were its own.
func (p *Prober) keyOf(d mapping.Device, l Layer) openedKey {
	key := openedKey{d, l.Type, l.Changes}
	if !l.Changes {
		return key
	}
	last, known := p.latest[key]
	if own, ok := p.opened[last].(interface{ Current() bool }); known && ok && own.Current() {
		return last
	}
	now := key
	now.what += fmt.Sprint(d.Size(), mapping.ModTime(d))
	p.latest[key] = now
	return now
}

// lookAtComponent looks at what is a part of something else, or a container.
func (r *run) lookAtComponent(n *Node, component *signature.Signature) {
	n.Content = component.Name
	super, err := md.Find(n.Device, n.Device.Size())
	// What shows on a member lies on the array.
	if super != nil && (super.Offset == component.Offset || super.Covers(component.Offset)) {
		n.Content = super.String()
		r.addMember(memberNode{md.Member{Device: n.Device, Super: super}, n})
		return
	}
	if r.open(n, r.opts.Containers) {
		return
	}
	r.noteDamaged(n, err)
	n.Err = fmt.Errorf("%s: %w: it is a %s", n.Name, ErrComponent, component.Name)
	// With the mark at its end it looks like what it is a part of.
	if component.Offset > n.Device.Size()/2 {
		r.Unread = append(r.Unread, n.Device)
	}
	if err != nil {
		n.Err = fmt.Errorf("%w: %w", n.Err, err)
	}
}

// lookAtDisk decides between a PV and a partition table.
func (r *run) lookAtDisk(n *Node, marks []signature.Signature) {
	label := slices.IndexFunc(marks, func(s signature.Signature) bool { return s.Kind == signature.KindPV })
	hasPV := label >= 0
	table, err := r.table(n, marks)
	switch {
	case err != nil && !hasPV:
		n.Err = fmt.Errorf("%s: %w: %w", n.Name, ErrNothing, err)
	case table == nil:
		n.PV = hasPV
		// An old superblock at the end tells no component if it is damaged.
		_, err := md.Find(n.Device, n.Device.Size())
		r.noteDamaged(n, err)
	case hasPV && overwritten(table, marks[label].Offset):
		n.PV = true
		r.warn("%s: a PV was made where there was a partition table, of which the backup is left", n.Name)
	case hasPV && !holdsAnything(n.Device, table):
		n.PV = true
		r.warn("%s: there is an %s table beside the PV, whose partitions hold nothing", n.Name, table.Scheme)
	default:
		if hasPV {
			r.warn("%s: there are a PV label and an %s table with partitions in use; the label is taken for what is left of an earlier use (--offset 0 reads it)", n.Name, table.Scheme)
		}
		r.addPartitions(n, table)
	}
	if n.PV {
		n.Content = marks[label].Name
	}
}

// overwritten says whether a label lies where the header of a GPT was.
func overwritten(t *partition.Table, label int64) bool {
	return t.Scheme == "GPT" && t.SectorSize == label
}

// table finds the partition table of a device; nil if there is none.
func (r *run) table(n *Node, marks []signature.Signature) (*partition.Table, error) {
	var sector int64
	if r.opts.SectorSize != nil {
		sector = r.opts.SectorSize(n.Device)
	}
	tables, err := partition.Find(n.Device, n.Device.Size(), sector)
	if err != nil {
		if errors.Is(err, partition.ErrNone) {
			err = nil
		}
		return nil, err
	}
	t := tables[0]
	if len(tables) > 1 && !holdsAnything(n.Device, t) && holdsAnything(n.Device, tables[1]) {
		t = tables[1]
	}
	for _, m := range marks {
		inBootSector := m.Kind == signature.KindFilesystem && m.Offset < 512
		leftOver := t.Unprotected && (m.Kind == signature.KindFilesystem || m.Kind == signature.KindSwap)
		if inBootSector || leftOver {
			return nil, nil
		}
	}
	return t, nil
}

// holdsAnything says whether there is something known in a partition of the table.
func holdsAnything(d mapping.Device, t *partition.Table) bool {
	const looked = 32
	for i, p := range t.Partitions {
		if i == looked {
			return true
		}
		s := mapping.Section(d, p.Start, p.Size, "")
		marks, _ := signature.Detect(s, s.Size())
		if len(marks) > 0 && marks[0].Kind != signature.KindEmpty {
			return true
		}
	}
	return false
}

func (r *run) addPartitions(n *Node, t *partition.Table) {
	n.Content = t.Scheme + " partition table"
	for _, w := range t.Warnings {
		r.warn("%s: %w", n.Name, w)
	}
	for _, p := range t.Partitions {
		if r.opts.Partition != nil {
			if d := r.opts.Partition(n.Device, p.Number, p.Start, p.Size); d != nil {
				r.add([]*Node{n}, d, d.Name(), "part")
				continue
			}
		}
		d := r.section(n, p.Start, p.Size, fmt.Sprintf("%s (partition %d)", n.Name, p.Number))
		r.add([]*Node{n}, d, d.Name(), "part")
	}
}
