//go:build !freebsd

package ggate

import (
	"errors"
	"fmt"
)

// Open fails: only FreeBSD has geom_gate.
func Open() (Control, error) {
	return nil, fmt.Errorf("geom_gate: %w", errors.ErrUnsupported)
}
