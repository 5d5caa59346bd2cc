package cli

import (
	"bufio"
	"os"
	"slices"
	"strings"
)

// mountTable is what is mounted, in the order of mounting. Its format is described in
// proc_pid_mountinfo(5).
func mountTable() ([]mountEntry, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var mounts []mountEntry
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if m, ok := parseMountinfo(lines.Text()); ok {
			mounts = append(mounts, m)
		}
	}
	return mounts, lines.Err()
}

func parseMountinfo(line string) (mountEntry, bool) {
	place, fs, ok := strings.Cut(line, " - ")
	placeFields, fsFields := strings.Fields(place), strings.Fields(fs)
	if !ok || len(placeFields) < 6 || len(fsFields) < 3 {
		return mountEntry{}, false
	}
	ro := func(options string) bool { return slices.Contains(strings.Split(options, ","), "ro") }
	return mountEntry{
		source:   unescapeMountinfo.Replace(fsFields[1]),
		dir:      unescapeMountinfo.Replace(placeFields[4]),
		fsType:   fsFields[0],
		readOnly: ro(placeFields[5]) || ro(fsFields[2]),
	}, true
}

var unescapeMountinfo = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\043`, "#", `\134`, `\`)
