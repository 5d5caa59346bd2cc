package vdisk

import (
	"strings"

	"lvm2fs/mapping"
)

// Opener opens the file at a path that the image on from names. One that is not absolute counts from the
// directory of that image. What it returns is closed with the image, if it is an io.Closer.
type Opener func(from mapping.Device, path string) (mapping.Device, error)

// localPath is the path that a name stands for. QEMU's own notation for other places is
// refused.
func localPath(name string) (string, error) {
	scheme, rest, found := strings.Cut(name, ":")
	switch {
	case name == "" || strings.ContainsRune(name, 0):
		return "", damaged("the name of a file: %q", name)
	case !found || strings.Contains(scheme, "/"):
		return name, nil
	case scheme == "file" && !strings.HasPrefix(rest, "//"):
		return rest, nil
	}
	return "", unsupported("a file named in the manner of %q", scheme+":")
}
