package fusefs

import (
	"bytes"
	"fmt"
	"os"
	"testing"
	"time"

	"lvm2fs/internal/testenv"
)

func TestPrivateMountIsReachedByItsRootAlone(t *testing.T) {
	testenv.NeedRoot(t)
	testenv.NeedFUSE(t)
	_ = bytes.Equal
	_ = fmt.Sprint
	_ = time.Now
	_ = os.Args
}
