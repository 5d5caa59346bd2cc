package cli

import "errors"

type mapCmd struct {
	deviceOptions
	JSON    bool     `name:"json" help:"Print JSON."`
	LV      string   `name:"lv" required:"" placeholder:"VG/LV" help:"The LV to map."`
	Devices []string `arg:"" name:"device"`
}

// Help is shown by lvm2fs map --help, between the synopsis and the flags.
func (mapCmd) Help() string {
	return `Examples:
  lvm2fs map --lv vg/root disk.img`
}

func (c *mapCmd) Run(a *app) error {
	s, err := openDevices(a, c.Devices, c.deviceOptions)
	if err != nil {
		return err
	}
	defer s.Close()
	return errors.ErrUnsupported
}
