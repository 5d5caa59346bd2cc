package luks

import (
	"errors"
	"strings"
	"testing"
)

func TestArgon2TakesNoMoreThanTheMachineHas(t *testing.T) {
	real := machineMemory
	defer func() { machineMemory = real }()
	if real() < 64<<20 {
		t.Errorf("this machine has %d bytes", real())
	}
	for _, c := range []struct {
		machine, want int64 // MiB
		refused       bool
	}{{2048, 1024, false}, {1024, 1024, true}, {1024, 768, false}, {1024, 769, true}, {0, 4096, false}, {1 << 20, 4096, false}} {
		machineMemory = func() int64 { return c.machine << 20 }
		err := argon2{time: 1, memory: c.want << 10, cpus: 1}.check()
		if refused := errors.Is(err, ErrUnsupported) && strings.Contains(err.Error(), "three quarters of what this machine has"); refused != c.refused || err != nil && !refused {
			t.Errorf("%d MiB of %d: %v", c.want, c.machine, err)
		}
	}
}
