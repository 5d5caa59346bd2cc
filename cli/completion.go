package cli

import "errors"

type completionCmd struct {
	Shell string `arg:"" enum:"bash,zsh,fish"`
}

func (c *completionCmd) Run(a *app) error { return errors.ErrUnsupported }
