package cli

import (
	"fmt"
	"time"

	"lvm2fs/attach"
)

// attached is what --list shows of an LV that is attached; docs/attach.schema.json describes it.
type attached struct {
	LV         string    `json:"lv"`
	VGUUID     string    `json:"vg_uuid"`
	LVUUID     string    `json:"lv_uuid"`
	Device     string    `json:"device"`
	Link       string    `json:"link"`
	Partitions []string  `json:"partitions"`
	Size       int64     `json:"size"`
	BlockSize  int       `json:"block_size"`
	ReadOnly   bool      `json:"read_only"`
	Way        string    `json:"way"`
	DirectIO   bool      `json:"direct_io"`
	State      string    `json:"state"`
	Process    *int      `json:"process"`
	Since      time.Time `json:"since"`
	By         string    `json:"by"`
}

func (c *attachCmd) list(a *app) error {
	st, err := attach.Read(attachDir())
	if err != nil {
		return err
	}
	rows := []attached{}
	for _, e := range st.Entries {
		if e.Way == attach.Claim || e.Pending || !isAttached(e) {
			continue
		}
		row := attached{
			LV: e.LV, VGUUID: e.VGUUID, LVUUID: e.LVUUID, Device: e.Device, Link: st.Link(e),
			Partitions: append([]string{}, partitionsOf(e)...),
			Size:       e.Size, BlockSize: e.BlockSize, ReadOnly: e.ReadOnly, Way: string(e.Way), DirectIO: e.DirectIO,
			State: stateOf(e), Since: e.Since, By: e.By,
		}
		if e.Process != nil {
			row.Process = &e.Process.Number
		}
		rows = append(rows, row)
	}
	if c.JSON {
		return writeJSON(a.stdout, map[string]any{"attached": rows})
	}
	if len(rows) == 0 {
		return nil
	}
	var t table
	t.header("LV", "Device", "Size", "Mode", "Way", "Process", "State", "Since", "By")
	for _, r := range rows {
		mode, process := "rw", "-"
		if r.ReadOnly {
			mode = "ro"
		}
		if r.Process != nil {
			process = fmt.Sprint(*r.Process)
		}
		t.row(r.LV, r.Device, number(r.Size), mode, r.Way, process, r.State, r.Since.Local().Format("2006-01-02 15:04:05"), printable(r.By))
	}
	return t.write(a.stdout, layout{headings: true, width: a.terminalWidth()})
}

// stateOf says in a word how an attached LV is: "ok", "lost" (from the metadata), or "dead" (its process is).
func stateOf(e *attach.Entry) string {
	switch {
	case isBroken(e):
		return "dead"
	case e.Lost:
		return "lost"
	}
	return "ok"
}

// isBroken says whether the process that an entry needs is gone.
func isBroken(e *attach.Entry) bool { return e.Process != nil && !e.Process.Alive() }
