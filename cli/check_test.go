package cli

import (
	"errors"
	"testing"

	"lvm2fs/lvm2"
)

func TestOnlyWhatWasComparedIsCalledGood(t *testing.T) {
	for want, s := range map[string]lvm2.CheckSummary{
		"good": {},
		"good, 8 of 8 bytes can be read, 8 of 8 bytes of RAID or mirror compared": {Size: 8, Redundant: 8, Compared: 8},
		"nothing wrong was found, but nothing could be compared, 8 of 8 bytes can be read, 0 of 8 bytes of RAID or mirror compared; not compared: leg 1; leg 2": {
			Size: 8, Redundant: 8, Uncompared: []error{errors.New("leg 1"), errors.New("leg 2")},
		},
		"nothing wrong was found, but not all could be compared, 4 of 8 bytes of RAID or mirror compared; not compared: leg 1": {
			Redundant: 8, Compared: 4, Uncompared: []error{errors.New("leg 1")},
		},
		"2 bytes lost, 6 of 8 bytes can be read":                          {Size: 8, Lost: 2},
		"good, 4096 bytes of pool metadata verified":                      {Metadata: 4096},
		"3 faults in pool metadata, 4096 bytes of pool metadata verified": {Metadata: 4096, Faults: 3},
		"cannot be checked as a whole":                                    {Err: errors.New("leg 0")},
	} {
		if got := summary(s); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
