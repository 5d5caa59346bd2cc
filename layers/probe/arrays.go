package probe

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"lvm2fs/layers/md"
	"lvm2fs/mapping"
)

func (r *run) addMember(m memberNode) {
	set := m.Super.Set()
	switch {
	case r.done[set]:
		m.node.Err = fmt.Errorf("%s: not used as %s: the array is assembled already", m.node.Name, m.Super)
		if r.late == nil {
			r.late = &set
		}
	case r.sets[set] == nil:
		r.order = append(r.order, set)
		fallthrough
	default:
		r.sets[set] = append(r.sets[set], m)
	}
}

// noteDamaged keeps a device for the assembly of the arrays that it may be a member of, if err is that of its
// damaged superblock.
func (r *run) noteDamaged(n *Node, err error) {
	var damaged *md.DamagedError
	if !errors.As(err, &damaged) {
		return
	}
	m := md.DamagedMember{Device: n.Device, Claim: damaged.Claim}
	r.damaged = append(r.damaged, m)
	for set := range r.done {
		if r.late == nil && m.MayBelongTo(r.sets[set][0].Super) {
			r.late = &set
		}
	}
}

// assembleOne assembles one of the sets of members found so far, and says whether there was one. A set
// that lacks members waits for the others: the missing ones may be found on them.
func (r *run) assembleOne() bool {
	if len(r.order) == 0 {
		return false
	}
	next := slices.IndexFunc(r.order, func(set md.Set) bool { return md.Complete(members(r.sets[set])) })
	if next < 0 {
		first := slices.MinFunc(r.order, func(a, b md.Set) int {
			return cmp.Compare(slices.Index(r.last, a), slices.Index(r.last, b))
		})
		next = slices.Index(r.order, first)
	}
	set := r.order[next]
	r.order = slices.Delete(r.order, next, next+1)
	r.done[set] = true
	r.assemble(r.sets[set])
	return true
}

func members(nodes []memberNode) []md.Member {
	all := make([]md.Member, len(nodes))
	for i, n := range nodes {
		all[i] = n.Member
	}
	return all
}

func (r *run) assemble(found []memberNode) {
	var nodes []*Node
	for _, m := range found {
		nodes = append(nodes, m.node)
	}
	opts := r.opts.MD
	opts.Damaged = r.damaged
	a, err := md.Assemble(members(found), opts)
	r.Warnings = append(r.Warnings, a.Warnings...)
	for _, out := range a.LeftOut {
		r.Warnings = append(r.Warnings, out.Err)
		for i, m := range found {
			if m.Member == out.Member && len(nodes) > 1 {
				found[i].node.Err, found[i].node.leftOut = out.Err, true
				nodes = slices.DeleteFunc(nodes, func(n *Node) bool { return n == m.node })
			}
		}
	}
	if err != nil {
		failed := &Node{Name: found[0].Super.ArrayName(), Type: found[0].Super.Geometry.Level.String(), Err: err}
		for _, n := range nodes {
			n.Children = append(n.Children, failed)
		}
		for _, m := range found {
			if m.Super.DataOffset == 0 {
				r.Unread = append(r.Unread, m.Device)
			}
		}
		return
	}
	array := mapping.Device(a.Array)
	if a.Array.Settled() {
		array, _ = r.keep(openedKey{what: fingerprint(found)}, func() (mapping.Device, error) { return a.Array, nil })
	}
	n := r.add(nodes, array, array.Name(), a.Array.String())
	n.onArray = true
	n.likeMember = n.likeMember || slices.ContainsFunc(found, func(m memberNode) bool { return m.Super.DataOffset == 0 })
}

// fingerprint is that of the members and their superblocks.
func fingerprint(found []memberNode) string {
	var b strings.Builder
	for _, m := range found {
		fmt.Fprintf(&b, "%p %x\n", m.Device, m.Super.Fingerprint())
	}
	return b.String()
}
