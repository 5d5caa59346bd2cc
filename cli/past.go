package cli

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"lvm2fs/lvm2/history"
	"lvm2fs/lvm2/metadata"
	"lvm2fs/scan"
)

// pastOptions are the flags, of every command, about what was before an accident. Nothing of the kind is done without being
// asked for.
type pastOptions struct {
	At         []string `name:"at" sep:"none" placeholder:"[VG=]SEQNO|TIME" help:"Show the VG as it was: by the metadata of this seqno, or by the newest not written after TIME. Read-only."`
	VGCfg      []string `name:"vgcfg" sep:"none" placeholder:"[VG=]FILE" help:"Show the VG as a file of vgcfgbackup or of /etc/lvm/archive describes it; with --at, let that choose among such files too. Read-only."`
	Reused     string   `name:"reused" enum:"fail,read" default:"fail" placeholder:"fail|read" help:"Whether to read what may have been overwritten since, as it is now."`
	Carve      bool     `name:"carve" help:"Search all of each DEVICE for metadata that --at can choose; reads everything."`
	UseMissing []string `name:"use-missing" sep:"none" placeholder:"PV" help:"Read a PV, by its device or UUID, although it was missing when its VG was changed, and may be older."`
}

// past are the flags in the words of package scan.
func (o *deviceOptions) past(options *scan.Options) error {
	for _, arg := range o.At {
		at, err := parseAt(arg)
		if err != nil {
			return usagef("--at %s: %w", arg, err)
		}
		options.At = append(options.At, at)
	}
	options.At = append(options.At, o.texts...)
	for _, arg := range o.VGCfg {
		options.MetadataFiles = append(options.MetadataFiles, parseVGCfg(arg))
	}
	options.Carve, options.ReadReused, options.UseMissing = o.Carve, o.Reused == "read", o.UseMissing
	return nil
}

// parseAt takes [VG=]SEQNO|TIME apart.
func parseAt(arg string) (at scan.At, err error) {
	vg, when, ok := strings.Cut(arg, "=")
	if !ok {
		vg, when = "", arg
	}
	at.VG = vg
	if at.Seqno, err = strconv.ParseUint(when, 10, 32); err == nil && at.Seqno > 0 {
		return at, nil
	}
	at.Seqno = 0
	at.Time, err = history.ReadTime(when, time.Local)
	return at, err
}

// parseVGCfg takes [VG=]FILE apart. A FILE may have a = in its name: it is one if it is there.
func parseVGCfg(arg string) scan.MetadataFile {
	vg, path, ok := strings.Cut(arg, "=")
	if _, err := os.Stat(arg); err == nil || !ok {
		return scan.MetadataFile{Path: arg}
	}
	return scan.MetadataFile{VG: vg, Path: path}
}

// parsePVs sorts --pv into devices that are preferred, and devices that are said to be a PV.
func parsePVs(args []string) (prefer []string, is []scan.IsPV, err error) {
	for _, arg := range args {
		i := strings.LastIndexByte(arg, '=')
		if i < 0 {
			prefer = append(prefer, arg)
			continue
		}
		uuid, err := metadata.ParseUUID(arg[i+1:])
		if _, statErr := os.Stat(arg); err != nil && statErr == nil {
			prefer = append(prefer, arg) // it is called so
			continue
		}
		if err != nil {
			return nil, nil, usagef("--pv %s: %w", arg, err)
		}
		pv := scan.IsPV{Device: arg[:i], UUID: uuid}
		if at := strings.LastIndexByte(pv.Device, '@'); at >= 0 {
			if n, err := strconv.ParseInt(pv.Device[at+1:], 10, 64); err == nil && n >= 0 {
				pv.Device, pv.Offset = pv.Device[:at], n
			}
		}
		is = append(is, pv)
	}
	return prefer, is, nil
}

// carving shows how far the search of a device has come, where somebody watches.
func (a *app) carving() func(device string, done, size int64) {
	if !a.stderrTerminal {
		return nil
	}
	var last int64 = -1
	return func(device string, done, size int64) {
		percent := done * 100 / max(size, 1)
		if percent == last {
			return
		}
		last = percent
		fmt.Fprintf(a.stderr, "\rsearching %s: %d%%", printable(device), percent)
		if done == size {
			fmt.Fprint(a.stderr, "\r\x1b[K")
		}
	}
}
