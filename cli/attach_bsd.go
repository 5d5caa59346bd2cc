//go:build freebsd || darwin

package cli

import (
	"errors"
	"fmt"
	"os"

	"lvm2fs/attach"
	"lvm2fs/lvm2"
)

const runDir = "/var/run/lvm2fs"

type maker struct {
	a  *app
	st *attach.State
}

func newMaker(a *app, _ *attachCmd, st *attach.State, _ *session) *maker { return &maker{a, st} }
func (*maker) close()                                                    {}

func (*maker) make(*attach.Entry, *lvm2.LV) error {
	return fmt.Errorf("attach: %w on this system", errors.ErrUnsupported)
}

func (*attachCmd) serve(*app, *os.File) error              { return errors.ErrUnsupported }
func reloadAttached(*app, *attach.State) error             { return errors.ErrUnsupported }
func detachEntry(*app, *attach.State, *attach.Entry) error { return errors.ErrUnsupported }
func takeAway(*attach.State, *attach.Entry) error          { return errors.ErrUnsupported }
func isAttached(*attach.Entry) bool                        { return false }
func partitionsOf(*attach.Entry) []string                  { return nil }
