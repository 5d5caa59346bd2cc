package dm

import "lvm2fs/mapping"

// Linear is size bytes of beneath from off, one after the other:
//
//	          off            off+size
//	beneath |--|================|----|
//	linear     |0            size|
func Linear(beneath mapping.Volume, off, size int64) mapping.Volume {
	return &linear{
		remapped: remapped{
			size:    size,
			locate:  func(o int64) (mapping.Volume, int64, int64) { return beneath, off + o, size - o },
			beneath: []mapping.Volume{beneath},
		},
		off: off,
	}
}

type linear struct {
	remapped
	off int64
}
