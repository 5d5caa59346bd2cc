package cli

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"strconv"

	fit "lvm2fs/internal/printable"
	"lvm2fs/lvm2"
	"lvm2fs/mapping"
)

type mapCmd struct {
	deviceOptions
	overlayOptions
	JSON     bool     `name:"json" xor:"format" help:"Print JSON."`
	Ddrescue bool     `name:"ddrescue" xor:"format" help:"Print a mapfile of GNU ddrescue."`
	LV       string   `name:"lv" required:"" placeholder:"VG/LV" help:"The LV to map."`
	Since    string   `name:"since" placeholder:"VG/LV" help:"Show only where LV is mapped otherwise than this thin LV of the same pool, such as a snapshot of it."`
	Devices  []string `arg:"" optional:"" name:"device"`
}

// Help is shown by lvm2fs map --help, between the synopsis and the flags.
func (mapCmd) Help() string {
	return `Examples:
  lvm2fs map --lv vg/root disk.img
  lvm2fs map --json --lv vg/root disk.img | jq '.extents[] | select(.kind == "missing")'
  lvm2fs map --lv vg/thin --since vg/thin_monday disk.img        what an incremental backup has to copy
  lvm2fs map --ddrescue --lv vg/thin --since vg/thin_monday disk.img >changed.map

Prints where each run of the LV's bytes is. Data lies on a device as it is; zero lies nowhere; computed is made while it
is read, from parity for example; missing is lost. All numbers are bytes.

With --since, a run of kind different lies in another chunk of the pool than in the other LV, or in one of the two alone.
Only mappings are compared: no data are read, and equal bytes in different chunks count as different.

A mapfile has + for what can be read and - for what is missing; with --since, + for what differs and ? for the rest, as
ddrescue's option --domain-mapfile takes it.`
}

func (c *mapCmd) Run(a *app) error {
	if c.Since != "" && c.Overlay != "" {
		return usagef("--since and --overlay: what is in an overlay has no place in the pool")
	}
	path := []string{c.LV}
	if err := c.chooseTexts(path); err != nil {
		return err
	}
	s, err := openDevices(a, c.Devices, c.deviceOptions)
	if err != nil {
		return err
	}
	defer s.Close()
	lv, err := findLV(s.Result(), path[0])
	if err != nil {
		return err
	}
	overlays, err := openOverlays(c.Overlay)
	if err != nil {
		return err
	}
	defer overlays.close()
	v, _, err := overlays.openLV(lv)
	if err != nil {
		return err
	}
	m := lvMap{lv: lv, size: v.Size(), runs: extentRuns(v)}
	if c.Since != "" {
		since, err := findLV(s.Result(), c.Since)
		if err != nil {
			return fmt.Errorf("--since: %w", err)
		}
		m.rest = '?'
		m.runs = differentRuns(lv, since)
	}
	out := bufio.NewWriter(a.stdout)
	switch {
	case c.JSON:
		err = m.writeJSON(out)
	case c.Ddrescue:
		err = m.writeMapfile(out)
	default:
		err = m.writeTable(out)
	}
	// What could be answered is worth having.
	if flushErr := out.Flush(); err == nil {
		err = flushErr
	}
	return err
}

// lvMap is the runs of an LV, which are found while they are printed: there may be millions.
type lvMap struct {
	lv   *lvm2.LV
	size int64
	runs func(visit func(mapRun) error) error
	rest byte // the status, in a mapfile, of what runs leave out
}

// mapRun is an element of extents.
type mapRun struct {
	Offset       int64  `json:"offset"`
	Length       int64  `json:"length"`
	Kind         string `json:"kind"`
	Device       string `json:"device,omitempty"`        // of data
	DeviceOffset *int64 `json:"device_offset,omitempty"` // of data
	Error        string `json:"error,omitempty"`         // of missing
}

// extentRuns are the extents of v.
func extentRuns(v mapping.Volume) func(func(mapRun) error) error {
	return func(visit func(mapRun) error) error {
		return mapping.Walk(v, 0, v.Size(), func(off int64, e mapping.Extent) error {
			r := mapRun{Offset: off, Length: e.Length, Kind: e.Kind.String()}
			switch e.Kind {
			case mapping.Data:
				r.Device, r.DeviceOffset = e.Device.Name(), &e.Offset
			case mapping.Missing:
				r.Error = e.Err.Error()
			}
			return visit(r)
		})
	}
}

// differentRuns are where lv is mapped otherwise than since.
func differentRuns(lv, since *lvm2.LV) func(func(mapRun) error) error {
	return func(visit func(mapRun) error) error {
		return lv.Differences(since, func(off, length int64) error {
			return visit(mapRun{Offset: off, Length: length, Kind: "different"})
		})
	}
}

func (m lvMap) writeTable(w io.Writer) error {
	fmt.Fprintf(w, "%s, %d bytes\n\n", lvPath(m.lv), m.size)
	width := max(len("Length"), len(strconv.FormatInt(m.size, 10)))
	kindWidth := len("computed")
	deviceWidth := len("Device offset")
	for _, d := range m.lv.Devices() {
		deviceWidth = max(deviceWidth, len(strconv.FormatInt(d.Size(), 10)))
	}
	if m.rest != 0 {
		fmt.Fprintf(w, "%*s  %*s  Kind\n", width, "Offset", width, "Length")
	} else {
		fmt.Fprintf(w, "%*s  %*s  %-*s  %*s  %s\n", width, "Offset", width, "Length", kindWidth, "Kind", deviceWidth, "Device offset", "Device")
	}
	return m.runs(func(r mapRun) error {
		var err error
		switch {
		case r.DeviceOffset != nil:
			_, err = fmt.Fprintf(w, "%*d  %*d  %-*s  %*d  %s\n", width, r.Offset, width, r.Length, kindWidth, r.Kind, deviceWidth, *r.DeviceOffset, printable(r.Device))
		case r.Error != "":
			_, err = fmt.Fprintf(w, "%*d  %*d  %-*s  %*s  %s\n", width, r.Offset, width, r.Length, kindWidth, r.Kind, deviceWidth, "", printable(r.Error))
		default:
			_, err = fmt.Fprintf(w, "%*d  %*d  %s\n", width, r.Offset, width, r.Length, r.Kind)
		}
		return err
	})
}

// writeJSON prints one object, a run to a line.
func (m lvMap) writeJSON(w io.Writer) error {
	name, err := json.Marshal(lvPath(m.lv))
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "{\"lv\": %s, \"size\": %d, \"extents\": [", name, m.size)
	separator := "\n"
	err = m.runs(func(r mapRun) error {
		r.Device, r.Error = fit.UTF8(r.Device), fit.UTF8(r.Error)
		line, err := json.Marshal(r)
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

// writeMapfile prints a mapfile as the manual of GNU ddrescue describes it.
func (m lvMap) writeMapfile(w io.Writer) error {
	fmt.Fprintf(w, "# %s by lvm2fs map\n# current_pos  current_status  current_pass\n0x0  +  1\n# pos  size  status\n", lvPath(m.lv))
	var end int64
	block := func(off, length int64, status byte) error {
		if length == 0 {
			return nil
		}
		_, err := fmt.Fprintf(w, "0x%X  0x%X  %c\n", off, length, status)
		return err
	}
	err := m.runs(func(r mapRun) error {
		if err := block(end, r.Offset-end, m.rest); err != nil {
			return err
		}
		end = r.Offset + r.Length
		status := byte('+')
		if r.Error != "" {
			status = '-'
		}
		return block(r.Offset, r.Length, status)
	})
	if err != nil {
		return err
	}
	return block(end, m.size-end, m.rest)
}
