package probe

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

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
	set := found[0].Super.Set()
	if last := r.arrays[set]; last != nil && (r.claimed[set] || last.Claimed()) {
		r.addClaimed(last, found)
		return
	}
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
	array := a.Array
	if last := r.arrays[set]; last != nil && last.Is(array) {
		array = last
	}
	r.addArray(array, nodes, found)
}

// addClaimed puts an array that is being written over its members. What their superblocks say meanwhile does not matter.
func (r *run) addClaimed(array *md.Array, found []memberNode) {
	var nodes []*Node
	for _, m := range found {
		if slices.Contains(array.Beneath(), m.Device) {
			nodes = append(nodes, m.node)
			continue
		}
		err := fmt.Errorf("%s: not used as %s: the array is being written without it", m.node.Name, m.Super)
		r.Warnings = append(r.Warnings, err)
		m.node.Err, m.node.leftOut = err, true
	}
	r.addArray(array, nodes, found)
}

func (r *run) addArray(array *md.Array, nodes []*Node, found []memberNode) {
	set := found[0].Super.Set()
	r.arrays[set], r.usedArrays[set] = array, true
	n := r.add(nodes, array, array.Name(), array.String())
	n.onArray = true
	n.likeMember = n.likeMember || slices.ContainsFunc(found, func(m memberNode) bool { return m.Super.DataOffset == 0 })
}

// claimedMember says whether a device is a member of an array that is being written, and as what it was known before.
func (r *run) claimedMember(d mapping.Device) (md.Member, bool) {
	for set, array := range r.arrays {
		if !array.Claimed() || !slices.Contains(array.Beneath(), d) {
			continue
		}
		for _, m := range array.Members() {
			if m.Device == d {
				r.claimed[set] = true
				return m, true
			}
		}
	}
	return md.Member{}, false
}
