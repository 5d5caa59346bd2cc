package cli

import "errors"

type dumpCmd struct {
	deviceOptions
	Directory string   `short:"C" name:"directory" default:"." placeholder:"DIR" help:"Where to create VG/LV; the default is the current directory."`
	LV        []string `name:"lv" sep:"none" placeholder:"VG/LV" help:"Only this LV. May be given more than once."`
	Force     bool     `help:"Overwrite files that exist."`
	Devices   []string `arg:"" name:"device"`
}

// Help is shown by lvm2fs dump --help, between the synopsis and the flags.
func (dumpCmd) Help() string {
	return `Examples:
  lvm2fs dump /dev/ada0s7
  lvm2fs dump --lv vg/root -C /backup disk1.img disk2.img`
}

func (c *dumpCmd) Run(a *app) error {
	s, err := openDevices(a, c.Devices, c.deviceOptions)
	if err != nil {
		return err
	}
	defer s.Close()
	return errors.ErrUnsupported
}
