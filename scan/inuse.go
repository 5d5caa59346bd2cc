package scan

import (
	"fmt"
	"strings"

	"lvm2fs/blockdev"
	"lvm2fs/layers/probe"
	"lvm2fs/lvm2"
	"lvm2fs/mapping"
)

// holders names, for each device with a PV, who else uses what it lies on, and says so of each of those
// once.
func holders(users *blockdev.Users, found *probe.Result) (names map[lvm2.Device]string, inUse []Problem) {
	names = map[lvm2.Device]string{}
	what := map[mapping.Device]string{}
	for _, pv := range found.Candidates {
		var by []string
		for _, bottom := range mapping.Bottom(pv) {
			disk, ok := bottom.(*blockdev.Device)
			if !ok {
				continue
			}
			user, seen := what[disk]
			if !seen {
				var err error
				user, err = usersOfDisk(users, disk)
				what[disk] = user
				if err != nil {
					inUse = append(inUse, Problem{Reason: InUse, Device: disk, Err: err})
				}
			}
			if user != "" {
				by = append(by, user)
			}
		}
		if len(by) > 0 {
			names[pv] = strings.Join(by, ", ")
		}
	}
	return names, inUse
}

// usersOfDisk names who else uses a disk, briefly and in full; nil and "" if nobody does.
func usersOfDisk(users *blockdev.Users, d *blockdev.Device) (string, error) {
	var holders, what []string
	for _, holder := range users.Of(d) {
		holders = append(holders, holder.String())
		what = append(what, holder.What)
	}
	if len(holders) == 0 {
		return "", nil
	}
	return strings.Join(what, ", "), fmt.Errorf("%s is %w: %s", d.Name(), ErrInUse, strings.Join(holders, ", "))
}
