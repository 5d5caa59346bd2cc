package cli

import "errors"

type umountCmd struct {
	Mountpoints []string `arg:"" name:"mountpoint"`
}

func (c *umountCmd) Run(a *app) error { return errors.ErrUnsupported }
