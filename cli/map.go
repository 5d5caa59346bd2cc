package cli

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"strconv"

	"lvm2fs/lvm2"
	"lvm2fs/mapping"
)

type mapCmd struct {
	deviceOptions
	JSON    bool     `name:"json" help:"Print JSON."`
	LV      string   `name:"lv" required:"" placeholder:"VG/LV" help:"The LV to map."`
	Devices []string `arg:"" name:"device"`
}

// Help is shown by lvm2fs map --help, between the synopsis and the flags.
func (mapCmd) Help() string {
	return `Examples:
  lvm2fs map --lv vg/root disk.img
  lvm2fs map --json --lv vg/root disk.img | jq '.extents[] | select(.kind == "missing")'

Prints where each run of the LV's bytes is. Data lies on a device as it is; zero lies nowhere; computed is made while it
is read, from parity for example; missing is lost. All numbers are bytes.`
}

func (c *mapCmd) Run(a *app) error {
	s, err := openDevices(a, c.Devices, c.deviceOptions)
	if err != nil {
		return err
	}
	defer s.Close()
	lv, err := findLV(s.Scan, c.LV)
	if err != nil {
		return err
	}
	v, err := lv.Open()
	if err != nil {
		return err
	}
	out := bufio.NewWriter(a.stdout)
	write := writeMapTable
	if c.JSON {
		write = writeMapJSON
	}
	// What could be answered is worth having.
	err = write(out, lv, v)
	if flushErr := out.Flush(); err == nil {
		err = flushErr
	}
	return err
}

// writeMapTable prints a line for each run, as it is found: an LV may have millions.
func writeMapTable(w io.Writer, lv *lvm2.LV, v mapping.Volume) error {
	fmt.Fprintf(w, "%s, %d bytes\n\n", lvPath(lv), v.Size())
	width := max(len("Length"), len(strconv.FormatInt(v.Size(), 10)))
	deviceWidth := len("Device offset")
	for _, d := range lv.Devices() {
		deviceWidth = max(deviceWidth, len(strconv.FormatInt(d.Size(), 10)))
	}
	fmt.Fprintf(w, "%*s  %*s  %-8s  %*s  %s\n", width, "Offset", width, "Length", "Kind", deviceWidth, "Device offset", "Device")
	return mapping.Walk(v, 0, v.Size(), func(off int64, e mapping.Extent) error {
		var err error
		switch e.Kind {
		case mapping.Data:
			_, err = fmt.Fprintf(w, "%*d  %*d  %-8s  %*d  %s\n", width, off, width, e.Length, e.Kind, deviceWidth, e.Offset, printable(e.Device.Name()))
		case mapping.Missing:
			_, err = fmt.Fprintf(w, "%*d  %*d  %-8s  %*s  %s\n", width, off, width, e.Length, e.Kind, deviceWidth, "", printable(e.Err.Error()))
		default:
			_, err = fmt.Fprintf(w, "%*d  %*d  %s\n", width, off, width, e.Length, e.Kind)
		}
		return err
	})
}

// jsonExtent is an element of extents.
type jsonExtent struct {
	Offset       int64  `json:"offset"`
	Length       int64  `json:"length"`
	Kind         string `json:"kind"`
	Device       string `json:"device,omitempty"`        // of data
	DeviceOffset *int64 `json:"device_offset,omitempty"` // of data
	Error        string `json:"error,omitempty"`         // of missing
}

// writeMapJSON prints one object, an extent to a line.
func writeMapJSON(w io.Writer, lv *lvm2.LV, v mapping.Volume) error {
	name, err := json.Marshal(lvPath(lv))
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "{\"lv\": %s, \"size\": %d, \"extents\": [", name, v.Size())
	separator := "\n"
	err = mapping.Walk(v, 0, v.Size(), func(off int64, e mapping.Extent) error {
		x := jsonExtent{Offset: off, Length: e.Length, Kind: e.Kind.String()}
		switch e.Kind {
		case mapping.Data:
			x.Device, x.DeviceOffset = e.Device.Name(), &e.Offset
		case mapping.Missing:
			x.Error = e.Err.Error()
		}
		line, err := json.Marshal(x)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(w, "%s  %s", separator, line)
		separator = ",\n"
		return err
	})
	if err != nil {
		return err
	}
	_, err = fmt.Fprint(w, "\n]}\n")
	return err
}
