package vdisk

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"lvm2fs/blockdev"
	"lvm2fs/mapping"
)

// Opener opens the file that the image on from names. What it returns is closed with the
// image, if it is an io.Closer.
type Opener func(from mapping.Device, name string) (mapping.Device, error)

// Beside is an Opener for what the image file first names, and for what the images named by
// it name. A name counts from the directory of the image that holds it. An image comes from
// anywhere, and is not to choose which of the user's files are read: only plain files in the
// directory of first and below it are opened, symbolic links followed, and those of which
// allowed, if it is not nil, says that the user has named them.
func Beside(first *blockdev.Device, allowed func(path string) bool) Opener {
	// The files are opened later, maybe, when the working directory is another.
	start, startErr := filepath.Abs(first.Path())
	return func(from mapping.Device, name string) (mapping.Device, error) {
		image, ok := from.(*blockdev.Device)
		if !ok {
			return nil, fmt.Errorf("%w: %s is no file", ErrOutside, from.Name())
		}
		directory := filepath.Dir(start)
		if image != first {
			directory = filepath.Dir(image.Path())
		}
		path, err := localPath(name)
		if err = errors.Join(startErr, err); err != nil {
			return nil, err
		}
		if !filepath.IsAbs(path) {
			path = filepath.Join(directory, path)
		}
		free := allowed != nil && allowed(path)
		if !free {
			if path, err = inside(first, filepath.Dir(start), path); err != nil {
				return nil, err
			}
		}
		d, err := blockdev.Open(path, blockdev.Options{})
		if err != nil {
			return nil, err
		}
		if !free && !d.IsFile() {
			_ = d.Close()
			return nil, fmt.Errorf("%w: %s is no plain file", ErrOutside, path)
		}
		return d, nil
	}
}

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

// inside returns path without symbolic links, if it leads to a place in directory.
func inside(first *blockdev.Device, directory, path string) (string, error) {
	if !first.IsFile() {
		return "", fmt.Errorf("%w: %s is no file and has none", ErrOutside, first.Name())
	}
	root, err := filepath.EvalSymlinks(directory)
	if err != nil {
		return "", err
	}
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return "", err
	}
	if relative, err := filepath.Rel(root, real); err != nil || !filepath.IsLocal(relative) {
		return "", fmt.Errorf("%w: %s", ErrOutside, path)
	}
	return real, nil
}
