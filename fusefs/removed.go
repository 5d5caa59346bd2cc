package fusefs

import "github.com/hanwen/go-fuse/v2/fs"

// removedNode is the directory, in that of a VG, of the LVs that the VG had once.
type removedNode struct{ lvsNode }

var (
	_ fs.NodeLookuper  = (*removedNode)(nil)
	_ fs.NodeReaddirer = (*removedNode)(nil)
	_ fs.NodeGetattrer = (*removedNode)(nil)
	_ fs.NodeStatxer   = (*removedNode)(nil)
	_ fs.NodeStatfser  = (*removedNode)(nil)
)
