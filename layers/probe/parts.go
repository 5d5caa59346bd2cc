package probe

import (
	"fmt"
	"slices"

	"lvm2fs/mapping"
)

// ownPart is a device that an image names as its own: as its backing file, or an extent.
type ownPart struct {
	device mapping.Device
	image  *Node
}

// addParts notes which devices the image on a node names. err is why the image was not opened; it may mean that
// the image lies over any device.
func (r *run) addParts(image *Node, l Layer, err error) {
	if err != nil && l.LiesOnAny != nil && l.LiesOnAny(err) {
		r.loose = append(r.loose, image)
	}
	if l.Parts == nil {
		return
	}
	for _, d := range l.Parts(image.Device) {
		r.parts = append(r.parts, ownPart{d, image})
	}
}

// isPart says whether a node is a part of an image, or lies on nothing else. What was found on it is taken
// back.
func (r *run) isPart(n *Node) bool {
	if n.isPart {
		return true
	}
	if len(n.beneath) > 0 && !slices.ContainsFunc(n.beneath, func(b *Node) bool { return !r.isPart(b) }) {
		n.isPart = true
		return true
	}
	for _, p := range r.parts {
		if p.image == n || !mapping.Same(n.Device, p.device) {
			continue
		}
		n.isPart, n.leftOut, n.Children = true, true, nil
		n.Err = fmt.Errorf("%s: not looked at by itself: it is a part of %s, which names it as its backing file or an extent", n.Name, p.image.Name)
		r.Warnings = append(r.Warnings, n.Err)
		return true
	}
	return false
}

// MayBeBeneath names an image that cannot be read and may lie over what the device lies on, so that an older
// state of the image is read there; "" if there is none.
func (r *Result) MayBeBeneath(d mapping.Device) string {
	n := r.nodes[d]
	if n == nil {
		return ""
	}
	for _, image := range r.loose {
		if !image.isPart && n.liesOnFileBeside(image) {
			return image.Name
		}
	}
	return ""
}

// liesOnFileBeside says whether the node is, or lies on, a file other than that of image.
func (n *Node) liesOnFileBeside(image *Node) bool {
	seen := map[*Node]bool{}
	for queue := []*Node{n}; len(queue) > 0; {
		b := queue[0]
		queue = queue[1:]
		if seen[b] {
			continue
		}
		seen[b] = true
		if len(b.beneath) == 0 && b.Type == typeFile && b != image {
			return true
		}
		queue = append(queue, b.beneath...)
	}
	return false
}

// Beats says why a system would read what lies on a, and not the same thing on b; "" if it might as well
// read b. The devices are those of the Result. It is a phrase about a.
func (r *Result) Beats(a, b mapping.Device) string {
	x, y := r.nodes[a], r.nodes[b]
	switch {
	case x == nil || y == nil:
		return ""
	case x.likeMember && !y.onArray:
		// b was a member before it lost its superblock, or its superblock cannot be read.
		return "lies on an MD array whose members show the same"
	case y.likeMember && !x.onArray:
		return ""
	case x.named && !y.named:
		return "was named"
	}
	return ""
}
