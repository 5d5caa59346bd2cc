package cli

import "errors"

type listCmd struct {
	deviceOptions
	JSON    bool     `name:"json" help:"Print lvm's report format; sizes are numbers of bytes."`
	All     bool     `short:"a" help:"Show internal LVs too, as lvs -a does."`
	Tree    bool     `help:"Show LVs as trees, down to the PVs."`
	Devices []string `arg:"" name:"device"`
}

// Help is shown by lvm2fs list --help, between the synopsis and the flags.
func (listCmd) Help() string {
	return `Examples:
  lvm2fs list disk.img
  lvm2fs list --json disk1.img disk2.img | jq '.report[0].lv'`
}

func (c *listCmd) Run(a *app) error {
	s, err := openDevices(a, c.Devices, c.deviceOptions)
	if err != nil {
		return err
	}
	defer s.Close()
	return errors.ErrUnsupported
}
