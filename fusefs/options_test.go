package fusefs

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"lvm2fs/lvm2"
)

func TestARequestThatAKernelCanDoWithoutIsNotLogged(t *testing.T) {
	var out bytes.Buffer
	s := newServer("", Config{Scan: &lvm2.Scan{}, Logger: slog.New(slog.NewTextHandler(&out, nil))})
	s.fuseLogger().Printf("Unimplemented opcode BMAP")
	if out.Len() > 0 {
		t.Errorf("logged: %s", out.String())
	}
	s.fuseLogger().Printf("Unimplemented opcode SYNCFS")
	if !strings.Contains(out.String(), "SYNCFS") {
		t.Errorf("not logged: %q", out.String())
	}
}
