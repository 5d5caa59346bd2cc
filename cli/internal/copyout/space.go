package copyout

import (
	"os"

	"lvm2fs/internal/sparse"
	"lvm2fs/mapping"
)

// Need is how many bytes Run may at most add to what the file system holds: what is
// neither done yet, nor zeros, nor a hole of an image file, nor can share its blocks
// with one.
func (j *Job) Need() (int64, error) {
	s, err := j.look()
	if err != nil {
		return 0, err
	}
	images := map[mapping.Device]image{}
	var need int64
	for _, r := range s.done.Not(j.Identity.Size) {
		for off := r.Off; off < r.End; {
			e, err := j.Volume.Map(off, r.End-off)
			if err != nil || e.Length <= 0 {
				e = mapping.Extent{Kind: mapping.Computed, Length: min(r.End-off, bufferSize)}
			}
			switch e.Kind {
			case mapping.Data:
				i, known := images[e.Device]
				if !known {
					i = j.image(e.Device)
					images[e.Device] = i
				}
				need += i.bytes(e.Offset, e.Offset+e.Length)
			case mapping.Computed:
				need += e.Length
			}
			off += e.Length
		}
	}
	if s.part {
		need -= max(0, s.allocated-s.done.Bytes())
	}
	return max(0, need), nil
}

// image is a device as a source of bytes that take no space.
type image struct {
	file   *os.File // nil for a disk
	shared bool     // its blocks can be shared
}

func (j *Job) image(d mapping.Device) image {
	i := image{file: imageFile(d)}
	if i.file != nil {
		i.shared = canClone(j.Folder.existing().dir, i.file)
	}
	return i
}

// bytes is how many of the bytes from off to end take space in a copy.
func (i image) bytes(off, end int64) int64 {
	if i.shared {
		return 0
	}
	if i.file == nil {
		return end - off
	}
	var n int64
	for off < end {
		from, to, err := sparse.NextData(i.file, off, end)
		if err != nil || to < from || from < off {
			return n + end - off
		}
		n += to - from
		off = to
	}
	return n
}
