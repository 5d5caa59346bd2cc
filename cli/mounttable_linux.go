package cli

import (
	"io"
	"os"
	"slices"
	"strings"

	"lvm2fs/internal/mounttable"
)

// mountTable is what is mounted, in the order of mounting.
func mountTable() ([]mountEntry, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readMountTable(f)
}

func readMountTable(r io.Reader) ([]mountEntry, error) {
	infos, err := mounttable.Read(r)
	if err != nil {
		return nil, err
	}
	ro := func(options string) bool { return slices.Contains(strings.Split(options, ","), "ro") }
	var mounts []mountEntry
	for _, m := range infos {
		mounts = append(mounts, mountEntry{
			source:   m.Source,
			dir:      m.Mountpoint,
			fsType:   m.FSType,
			readOnly: ro(m.Options) || ro(m.VFSOptions),
			number:   m.Minor,
		})
	}
	return mounts, nil
}
