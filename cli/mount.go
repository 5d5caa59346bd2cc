package cli

import "errors"

type mountCmd struct {
	deviceOptions
	Foreground bool     `short:"f" help:"Stay in the foreground. The default is to return once the mount answers."`
	ReadOnly   bool     `short:"r" help:"The same as -o ro."`
	All        bool     `short:"a" help:"Show internal LVs too (_rimage_0, _tdata, ...), as lvs -a does; always read-only."`
	Options    []string `short:"o" sep:"none" placeholder:"OPT[,OPT...]" help:"Mount options."`
	Debug      bool     `short:"d" help:"Log every FUSE request."`
	Args       []string `arg:"" optional:"" name:"device... mountpoint"`
}

func (c *mountCmd) Run(a *app) error { return errors.ErrUnsupported }
