package cli

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"lvm2fs/lvm2"
	"lvm2fs/lvm2/history"
	"lvm2fs/lvm2/metadata"
	"lvm2fs/scan"
)

type undeleteCmd struct {
	deviceOptions
	VG      []string `name:"vg" sep:"none" placeholder:"VG" help:"Look only at this VG, by its name or UUID; may be repeated."`
	JSON    bool     `name:"json" help:"Print JSON; sizes are numbers of bytes."`
	Devices []string `arg:"" optional:"" name:"device"`
}

// Help is shown by lvm2fs undelete --help, between the synopsis and the flags.
func (undeleteCmd) Help() string {
	return `Examples:
  lvm2fs undelete disk.img                        which LVs are gone?
  lvm2fs dump --lv vg/root@19 disk.img            write out root as it was in seqno 19
  lvm2fs --at vg=19 disk.img /mnt/lvm             mount the VG as it was

Lists the LVs that an older metadata text has, and the current one has not, or has smaller: by which command they went, and
how much of their places no later text has given to something else. The rest may have been overwritten, and is not read
unless --reused read says so. Nothing is written.`
}

func (c *undeleteCmd) Run(a *app) error {
	return lookBack(a, c.Devices, c.deviceOptions, c.VG, func(s *session, found *history.Found, vgs []*history.VG, out io.Writer) error {
		rows := goneRows(found, vgs)
		findThin(s.Result(), found, rows)
		if c.JSON {
			return writeGoneJSON(out, rows)
		}
		return writeGone(out, rows, layout{headings: true, width: a.terminalWidth()}, c.Devices)
	})
}

// goneRow is an element of gone.
type goneRow struct {
	Path      string   `json:"lv_path"` // VG/LV@SEQNO, as --lv takes it
	VG        string   `json:"vg_name"`
	LV        string   `json:"lv_name"`
	UUID      string   `json:"lv_uuid"`
	Seqno     uint64   `json:"seqno"`
	Size      int64    `json:"lv_size"`
	SizeNow   int64    `json:"size_now"` // 0 if it is gone as a whole
	Time      int64    `json:"removed,omitempty"`
	Command   string   `json:"command,omitempty"`
	Beneath   int64    `json:"bytes_beneath"`             // on PVs
	Reused    int64    `json:"bytes_reused"`              // of those that may have been overwritten
	By        []string `json:"reused_by,omitempty"`       // by whom
	OtherAge  string   `json:"of_another_age,omitempty"`  // why its parts are, or may be
	MissingPV []string `json:"missing_pvs,omitempty"`     // UUIDs of PVs that no label shows
	PVOptions []string `json:"suggested_flags,omitempty"` // that say which device is one of those
	Device    string   `json:"thin_device,omitempty"`     // VG/POOL#ID of a thin LV whose pool is there
	Root      uint64   `json:"thin_root,omitempty"`       // the newest that knows it; 0 if none was found

	Other string `json:"thin_device_now,omitempty"` // the LV that was given its device ID since

	thin *metadata.Thin // its mapping; nil for other types
	uuid metadata.UUID
}

// findThin finds the roots of the mappings of thin LVs that were removed from a pool that is still there.
func findThin(r *scan.Result, found *history.Found, rows []goneRow) {
	for i := range rows {
		row := &rows[i]
		if row.thin == nil || row.SizeNow > 0 || row.thin.ExternalOrigin != nil {
			continue // the pool knows nothing of an external origin, and would show zeros for its bytes
		}
		pool := lvm2.LVOf(r.VGs, row.thin.Pool.VG.UUID, row.thin.Pool.UUID)
		if pool == nil {
			continue
		}
		id := row.thin.DeviceID
		row.Device = fmt.Sprintf("%s#%d", lvPath(pool), id)
		if row.Other = found.DeviceGiven(row.thin.Pool, id, row.uuid); row.Other != "" {
			continue // which root knew which of the two cannot be told
		}
		roots, err := pool.ThinRoots(id)
		if err != nil {
			continue // reading the pool tells of it
		}
		if at := slices.IndexFunc(roots, func(root lvm2.ThinRoot) bool { return slices.Contains(root.Devices, id) }); at >= 0 {
			row.Root = roots[at].Block
			row.PVOptions = append(row.PVOptions, "--thin-root", fmt.Sprintf("%s=%d", lvPath(pool), row.Root))
		}
	}
}

func goneRows(found *history.Found, vgs []*history.VG) []goneRow {
	rows := []goneRow{}
	for _, vg := range vgs {
		views := map[*history.Text]*history.View{}
		for _, gone := range vg.Gone() {
			t := gone.Text
			if views[t] == nil {
				views[t] = found.View(t, found.Renamed(t))
			}
			r := goneRow{thin: thinOf(gone.LV), uuid: gone.LV.UUID, Path: fmt.Sprintf("%s/%s@%d", t.Name, gone.LV.Name, t.Seqno), VG: t.Name, LV: gone.LV.Name, UUID: uuidText(gone.LV.UUID), Seqno: t.Seqno, Size: gone.LV.DeviceSize()}
			r.Reused, r.Beneath, r.By, r.OtherAge = views[t].Overwritten(gone.LV)
			if gone.Now != nil {
				r.SizeNow = gone.Now.DeviceSize()
			}
			if next := gone.Next; next != nil {
				r.Command, _ = next.Command()
				if !next.VG.CreationTime.IsZero() {
					r.Time = next.VG.CreationTime.Unix()
				}
			}
			r.MissingPV, r.PVOptions = missingPVs(found, t, gone)
			rows = append(rows, r)
		}
	}
	return rows
}

// thinOf is the mapping of a thin LV; nil for other types.
func thinOf(lv *metadata.LV) *metadata.Thin {
	thin, _ := lv.Mapping().(*metadata.Thin)
	return thin
}

// missingPVs are the PVs beneath an LV that no label shows, and which devices they may be.
func missingPVs(found *history.Found, t *history.Text, gone history.Gone) (missing, flags []string) {
	for _, pv := range gone.LV.PVs() {
		if found.Labelled(pv.UUID) {
			continue
		}
		missing = append(missing, pv.UUID.String())
		if d := found.MayBe(t, pv); d != nil {
			flags = append(flags, "--pv", d.Name()+"="+pv.UUID.String())
		}
	}
	return missing, flags
}

func writeGone(w io.Writer, rows []goneRow, look layout, devices []string) error {
	if len(rows) == 0 {
		fmt.Fprintln(w, "No LV is gone, as far as the metadata texts tell that were found.")
		return nil
	}
	var t table
	t.header("LV", "Size", "Went", "By", "Untouched", "Notes")
	for _, r := range rows {
		went := ""
		if r.Time != 0 {
			went = time.Unix(r.Time, 0).Format(time.DateTime)
		}
		t.row(printable(r.Path), size(r.Size), went, printable(r.Command), r.untouched(), notes(r.notes()))
	}
	if err := t.write(w, look); err != nil {
		return err
	}
	for _, r := range rows {
		if r.Root != 0 {
			fmt.Fprintf(w, "\nTo write out what %s was in its pool: lvm2fs dump --lv %s\n", printable(r.Path), commandLine(slices.Concat([]string{r.Device}, r.PVOptions, devices)))
			break
		}
	}
	rows = slices.DeleteFunc(rows, func(r goneRow) bool { return r.Device != "" })
	if len(rows) == 0 {
		return nil
	}
	best := rows[0]
	for _, r := range rows {
		if r.OtherAge == "" && (best.OtherAge != "" || r.Reused < best.Reused) {
			best = r
		}
	}
	args := append([]string{"--lv", best.Path}, best.PVOptions...)
	fmt.Fprintf(w, "\nTo write one out: lvm2fs dump %s\n", commandLine(append(args, devices...)))
	args = append([]string{"--at", best.VG + "=" + strconv.FormatUint(best.Seqno, 10)}, best.PVOptions...)
	fmt.Fprintf(w, "To mount its VG as it was: lvm2fs %s MOUNTPOINT\n", commandLine(append(args, devices...)))
	return nil
}

// untouched is how much of the LV no later text has given away.
func (r goneRow) untouched() string {
	switch {
	case r.Device != "" && r.Root != 0:
		return "what its pool has not reused"
	case r.Device != "":
		return "unknown"
	case r.OtherAge != "":
		return "unknown"
	case r.Reused == 0:
		return "all"
	case r.Reused >= r.Beneath:
		return "nothing"
	}
	return fmt.Sprintf("%s of %s", humanSize(r.Beneath-r.Reused), humanSize(r.Beneath))
}

func (r goneRow) notes() (remarks []string) {
	if r.SizeNow > 0 {
		remarks = append(remarks, "has "+humanSize(r.SizeNow)+" now")
	}
	if r.Reused > 0 {
		remarks = append(remarks, humanSize(r.Reused)+" may have been overwritten by "+some(r.By))
	}
	switch {
	case r.Device != "" && r.Root != 0:
		remarks = append(remarks, fmt.Sprintf("thin device %s, of root %d; what was discarded at last may show again", r.Device, r.Root))
	case r.Other != "":
		remarks = append(remarks, fmt.Sprintf("thin device %s, which is %s by now: lvm2fs rescue lists roots that may be older", r.Device, r.Other))
	case r.Device != "":
		remarks = append(remarks, fmt.Sprintf("thin device %s, of which no root is left", r.Device))
	case r.OtherAge != "":
		remarks = append(remarks, r.OtherAge)
	}
	for _, uuid := range r.MissingPV {
		remarks = append(remarks, "no label shows PV "+uuid)
	}
	return remarks
}

func writeGoneJSON(w io.Writer, rows []goneRow) error {
	return writeJSON(w, map[string]any{"gone": rows})
}

// chooseTexts takes the @SEQNO from paths VG/LV@SEQNO, and has their VGs shown as they were in that text.
func (o *deviceOptions) chooseTexts(paths []string) error {
	for i, path := range paths {
		at := strings.LastIndexByte(path, '@')
		slash := strings.LastIndexByte(path, '/')
		if at <= slash+1 || slash < 0 {
			continue
		}
		seqno, err := strconv.ParseUint(path[at+1:], 10, 32)
		if err != nil || seqno == 0 {
			return usagef("--lv %s: %q is no seqno", path, path[at+1:])
		}
		paths[i] = path[:at]
		vg := strings.TrimPrefix(path[:slash], "/dev/")
		o.texts = append(o.texts, scan.At{VG: vg, Seqno: seqno, LV: path[slash+1 : at]})
	}
	return nil
}
