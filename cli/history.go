package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"lvm2fs/lvm2/history"
	"lvm2fs/lvm2/metadata"
)

type historyCmd struct {
	deviceOptions
	VG      []string `name:"vg" sep:"none" placeholder:"VG" help:"Show only this VG, by its name or UUID; may be repeated."`
	JSON    bool     `name:"json" help:"Print JSON; sizes are numbers of bytes."`
	Devices []string `arg:"" optional:"" name:"device"`
}

// Help is shown by lvm2fs history --help, between the synopsis and the flags.
func (historyCmd) Help() string {
	return `Examples:
  lvm2fs history disk.img
  lvm2fs history --vg vg --json disk1.img disk2.img | jq '.texts[] | select(.whole) | .seqno'

lvm2 writes new metadata behind the old, which stay until the area they are in is full. Prints every metadata text that
is found, newest first: its seqno, when and where it was written and by which command, what changed against the
one before, and where it lies. Also shown are texts in areas whose header or label is damaged, texts of VGs that are
gone, and texts of which only a part is left. Nothing is written.`
}

func (c *historyCmd) Run(a *app) error {
	return lookBack(a, c.Devices, c.deviceOptions, c.VG, func(_ *session, found *history.Found, vgs []*history.VG, out io.Writer) error {
		if c.JSON {
			return writeHistoryJSON(out, vgs)
		}
		writeHistory(out, vgs)
		writeLabels(out, found)
		writeNext(out, vgs, c.Devices)
		return nil
	})
}

// lookBack has a command show what the devices hold of the past of VGs, by their names or UUIDs; of all if there are none.
func lookBack(a *app, devices []string, opts deviceOptions, names []string, show func(s *session, found *history.Found, vgs []*history.VG, out io.Writer) error) error {
	opts.anything = true
	s, err := openDevices(a, devices, opts)
	if err != nil {
		return err
	}
	defer s.Close()
	found, err := s.History(context.Background())
	if err != nil {
		return s.inWords(err)
	}
	for _, warning := range found.Warnings {
		a.warnf("%w", warning)
	}
	vgs, err := chosenVGs(found, names)
	if err != nil {
		return err
	}
	out := bufio.NewWriter(a.stdout)
	err = show(s, found, vgs, out)
	return errors.Join(err, out.Flush())
}

// chosenVGs are those of the names or UUIDs; all if there are none. It fails if there is nothing to show.
func chosenVGs(found *history.Found, names []string) ([]*history.VG, error) {
	if len(names) == 0 {
		if len(found.VGs) == 0 {
			return nil, fmt.Errorf("no metadata text found (--carve searches all of the devices)")
		}
		return found.VGs, nil
	}
	var vgs []*history.VG
	for _, name := range names {
		matches := found.Named(name)
		if len(matches) == 0 {
			return nil, fmt.Errorf("no metadata text of VG %q found", name)
		}
		vgs = append(vgs, matches...)
	}
	return vgs, nil
}

func writeHistory(w io.Writer, vgs []*history.VG) {
	for i, vg := range vgs {
		if i > 0 {
			fmt.Fprintln(w)
		}
		fmt.Fprintf(w, "%s\n", historyTitle(vg))
		for _, t := range vg.Texts {
			writeText(w, t)
		}
	}
}

func historyTitle(vg *history.VG) string {
	switch {
	case vg.UUID == "":
		return "VG unknown"
	case vg.Current() == nil:
		return fmt.Sprintf("VG %s, UUID %s, which is gone", printable(vg.Name), vg.UUID)
	}
	return fmt.Sprintf("VG %s, UUID %s", printable(vg.Name), vg.UUID)
}

func writeText(w io.Writer, t *history.Text) {
	line := fmt.Sprintf("  seqno %d", t.Seqno)
	switch {
	case t.VG == nil:
		line += ": " + printable(oneLine(t.Err))
	default:
		if !t.VG.CreationTime.IsZero() {
			line += "  " + t.VG.CreationTime.Format(time.DateTime)
		}
		if t.VG.CreationHost != "" {
			line += "  on " + printable(t.VG.CreationHost)
		}
	}
	if t.Current {
		line += "  (current)"
	}
	fmt.Fprintln(w, line)
	if command, _ := t.Command(); command != "" {
		fmt.Fprintf(w, "      by %s\n", printable(command))
	}
	for _, line := range changeLines(t) {
		fmt.Fprintf(w, "      %s\n", printable(line))
	}
	for _, c := range t.Copies {
		line := c.String()
		if c.Slot != "" && !t.Current {
			line += " (" + c.Slot + ")"
		}
		fmt.Fprintf(w, "      at %s\n", printable(line))
	}
}

// changeLines say what changed, of hidden LVs only where nothing else did.
func changeLines(t *history.Text) (lines []string) {
	changes, before := t.Changes()
	shown := func(hidden bool) {
		for _, c := range changes {
			if c.Hidden == hidden {
				lines = append(lines, changeLine(c))
			}
		}
	}
	shown(false)
	if len(lines) == 0 {
		shown(true)
	}
	if before != nil && before.Seqno+1 < t.Seqno {
		lines = append(lines, fmt.Sprintf("(against seqno %d; those between were not found)", before.Seqno))
	}
	return lines
}

func changeLine(c metadata.Change) string {
	switch c.Kind {
	case metadata.Made, metadata.Removed:
		if size := max(c.Before, c.After); c.What == "lv" {
			return fmt.Sprintf("%s, %s", c, humanSize(size))
		}
	case metadata.Grown, metadata.Shrunk:
		return fmt.Sprintf("%s from %s to %s", c, humanSize(c.Before), humanSize(c.After))
	}
	return c.String()
}

// writeLabels lists the labels that were carved where no PV was looked for.
func writeLabels(w io.Writer, found *history.Found) {
	for _, l := range found.Carved {
		if found.Labels[l.Device] == l.UUID && l.Start == 0 {
			continue
		}
		fmt.Fprintf(w, "\nThe label of PV %s is at byte %d of %s: --offset %s reads what begins there\n", l.UUID, l.Start, printable(l.Device.Name()),
			commandLine([]string{fmt.Sprintf("%s=%d", l.Device.Name(), l.Start)}))
	}
}

// writeNext says how to see a VG as it was.
func writeNext(w io.Writer, vgs []*history.VG, devices []string) {
	for _, vg := range vgs {
		for _, t := range vg.Texts {
			if t.VG == nil || t.Current {
				continue
			}
			at := fmt.Sprintf("%s=%d", vg.Name, t.Seqno)
			fmt.Fprintf(w, "\nTo see a VG as it was: lvm2fs list --at %s\n", commandLine(append([]string{at}, devices...)))
			return
		}
	}
}

// commandLine is a list of words as a shell takes them.
func commandLine(words []string) string {
	quoted := make([]string, 0, len(words))
	for _, word := range words {
		if word == "" || strings.ContainsFunc(word, func(r rune) bool {
			return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("_@%+=:,./-#", r))
		}) {
			word = "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
		}
		quoted = append(quoted, word)
	}
	return printable(strings.Join(quoted, " "))
}

// jsonText is an element of texts.
type jsonText struct {
	VGName  string       `json:"vg_name"`
	VGUUID  string       `json:"vg_uuid,omitempty"`
	Seqno   uint64       `json:"seqno"`
	Whole   bool         `json:"whole"`
	Error   string       `json:"error,omitempty"` // why it is not
	Current bool         `json:"current"`
	Time    int64        `json:"time,omitempty"` // seconds since 1970
	Host    string       `json:"host,omitempty"`
	Command string       `json:"command,omitempty"`
	Size    int          `json:"size"`
	Copies  []jsonCopy   `json:"copies"`
	Before  *uint64      `json:"before,omitempty"` // the seqno that changes are against
	Changes []jsonChange `json:"changes"`
}

type jsonCopy struct {
	Device string `json:"device,omitempty"`
	Offset *int64 `json:"offset,omitempty"`
	Slot   string `json:"slot,omitempty"`
	File   string `json:"file,omitempty"`
}

type jsonChange struct {
	What   string `json:"what"`
	Change string `json:"change"`
	Name   string `json:"name"`
	UUID   string `json:"uuid,omitempty"`
	Was    string `json:"was,omitempty"`
	Before int64  `json:"size_before,omitempty"`
	After  int64  `json:"size_after,omitempty"`
	Hidden bool   `json:"hidden,omitempty"`
}

func writeHistoryJSON(w io.Writer, vgs []*history.VG) error {
	texts := []jsonText{}
	for _, vg := range vgs {
		for _, t := range vg.Texts {
			texts = append(texts, jsonOf(t))
		}
	}
	return writeJSON(w, map[string]any{"texts": texts})
}

func jsonOf(t *history.Text) jsonText {
	j := jsonText{VGName: t.Name, VGUUID: uuidText(t.UUID), Seqno: t.Seqno, Whole: t.VG != nil, Current: t.Current, Size: t.Size, Changes: []jsonChange{}}
	if t.Err != nil {
		j.Error = t.Err.Error()
	}
	if t.VG != nil {
		j.Host = t.VG.CreationHost
		j.Command, _ = t.Command()
		if !t.VG.CreationTime.IsZero() {
			j.Time = t.VG.CreationTime.Unix()
		}
	}
	for _, c := range t.Copies {
		jc := jsonCopy{Slot: c.Slot, File: c.File}
		if c.Device != nil {
			jc.Device, jc.Offset = c.Device.Name(), &c.Offset
		}
		j.Copies = append(j.Copies, jc)
	}
	changes, before := t.Changes()
	if before != nil {
		j.Before = &before.Seqno
	}
	for _, c := range changes {
		j.Changes = append(j.Changes, jsonChange{c.What, string(c.Kind), c.Name, uuidText(c.UUID), c.Was, c.Before, c.After, c.Hidden})
	}
	return j
}

func uuidText(u metadata.UUID) string {
	if u == "" {
		return ""
	}
	return u.String()
}
