// Package mounttable reads what Linux says of its mounts.
package mounttable

import (
	"bufio"
	"errors"
	"io"
	"strings"

	"github.com/moby/sys/mountinfo"
)

// Read gives the mounts of a mountinfo file of proc(5), in the order of mounting. A line that makes no sense hides no
// other.
func Read(r io.Reader) ([]*mountinfo.Info, error) {
	var mounts []*mountinfo.Info
	for lines := bufio.NewReader(r); ; {
		line, err := lines.ReadString('\n')
		// Read all at once, the lines would end at the first that makes no sense.
		if infos, err := mountinfo.GetMountsFromReader(strings.NewReader(line), nil); err == nil {
			mounts = append(mounts, infos...)
		}
		switch {
		case errors.Is(err, io.EOF):
			return mounts, nil
		case err != nil:
			return nil, err
		}
	}
}
