package attach

import (
	"fmt"
	"strings"
)

// HDIUtil makes block devices of files on macOS. Run runs its program with arguments, and gives what that printed.
type HDIUtil struct {
	Run func(args ...string) (string, error)
}

// Attach makes a block device of a file, and tells the devices of partitions that the system found in it.
func (h HDIUtil) Attach(file string, readOnly bool) (device string, partitions []string, err error) {
	args := []string{"attach", "-nomount", "-imagekey", "diskimage-class=CRawDiskImage"}
	if readOnly {
		args = append(args, "-readonly")
	}
	said, err := h.Run(append(args, file)...)
	if err != nil {
		return "", nil, err
	}
	// A line for the disk and each partition: the device, then what is in it.
	for line := range strings.Lines(said) {
		fields := strings.Fields(line)
		switch {
		case len(fields) == 0 || !strings.HasPrefix(fields[0], "/dev/disk"):
		case device == "":
			device = fields[0]
		default:
			partitions = append(partitions, fields[0])
		}
	}
	if device == "" {
		return "", nil, fmt.Errorf("hdiutil attach names no device: %q", said)
	}
	return device, partitions, nil
}

// Detach takes a device away. It fails where it is mounted.
func (h HDIUtil) Detach(device string) error {
	_, err := h.Run("detach", device)
	return err
}
