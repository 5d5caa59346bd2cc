package mounttable

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

func TestALineThatMakesNoSenseHidesNoOther(t *testing.T) {
	const good = "66 29 0:53 / /mnt/%s rw - tmpfs none rw"
	for _, bad := range []string{
		"",
		"66 29 0:53 / /mnt rw",
		"66 29 0:53 / /mnt rw - tmpfs",
		"66 29 0:53 / /mnt rw shared:1 tmpfs none rw rw",
		"66 29 053 / /mnt rw - tmpfs none rw",
		strings.Repeat("x", 1<<20),
	} {
		table := strings.Join([]string{strings.Replace(good, "%s", "before", 1), bad, strings.Replace(good, "%s", "after", 1)}, "\n")
		for _, end := range []string{"", "\n"} {
			infos, err := Read(strings.NewReader(table + end))
			var dirs []string
			for _, info := range infos {
				dirs = append(dirs, info.Mountpoint)
			}
			if diff := cmp.Diff([]string{"/mnt/before", "/mnt/after"}, dirs); diff != "" || err != nil {
				t.Errorf("%.60q: %v %s", bad, err, diff)
			}
		}
	}
}

func TestATableThatCannotBeReadIsAnError(t *testing.T) {
	broken := io.MultiReader(strings.NewReader("66 29 0:53 / /mnt rw - tmpfs none rw\n"), iotest.ErrReader(io.ErrUnexpectedEOF))
	if infos, err := Read(broken); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("%d mounts, %v", len(infos), err)
	}
}
