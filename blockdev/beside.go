package blockdev

import (
	"errors"
	"fmt"
	"path/filepath"

	"lvm2fs/mapping"
)

// ErrOutside: an image names a file that may not be opened for it.
var ErrOutside = errors.New("outside of the image's directory")

// Beside gives a function that opens what the image file first names, and what the images named by
// it name, by their paths. A path counts from the directory of the image that holds it. An image comes from
// anywhere, and is not to choose which of the user's files are read: only plain files in the
// directory of first and below it are opened, symbolic links followed, and those of which
// allowed, if it is not nil, says that the user has named them.
func Beside(first *Device, allowed func(path string) bool) func(from mapping.Device, path string) (mapping.Device, error) {
	// The files are opened later, maybe, when the working directory is another.
	start := filepath.Dir(first.absolute)
	return func(from mapping.Device, path string) (mapping.Device, error) {
		image, ok := from.(*Device)
		if !ok {
			return nil, fmt.Errorf("%w: %s is no file", ErrOutside, from.Name())
		}
		if !filepath.IsAbs(path) {
			path = filepath.Join(filepath.Dir(image.absolute), path)
		}
		free := allowed != nil && allowed(path)
		if !free {
			var err error
			if path, err = inside(first, start, path); err != nil {
				return nil, err
			}
		}
		d, err := Open(path, Options{})
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

// inside returns path without symbolic links, if it leads to a place in directory.
func inside(first *Device, directory, path string) (string, error) {
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
