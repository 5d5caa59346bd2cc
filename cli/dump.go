package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"lvm2fs/cli/internal/copyout"
	"lvm2fs/lvm2"
	"lvm2fs/mapping"
	"lvm2fs/scan"
)

type dumpCmd struct {
	deviceOptions
	overlayOptions
	Directory string   `short:"C" name:"directory" xor:"to" placeholder:"DIR" help:"Where to create VG/LV; the default is the current directory."`
	LV        []string `name:"lv" sep:"none" placeholder:"VG/LV" help:"Only this LV. May be given more than once."`
	Output    string   `short:"o" xor:"to,how,sync" placeholder:"-" help:"- writes the one LV of --lv to standard output, zeros for holes too."`
	Force     bool     `xor:"how" help:"Replace files that exist."`
	NoSync    bool     `xor:"sync" help:"Do not wait until files are on the disk. After a power cut they may hold anything."`
	Devices   []string `arg:"" optional:"" name:"device"`
}

// Help is shown by lvm2fs dump --help, between the synopsis and the flags.
func (dumpCmd) Help() string {
	return `Examples:
  lvm2fs dump /dev/ada0s7
  lvm2fs dump --lv vg/root -C /backup disk1.img disk2.img
  lvm2fs dump --lv vg/root -o - disk1.img disk2.img | zstd >root.zst

Each LV becomes DIR/VG/LV, with holes where it has zeros, and sharing its blocks with the image where the file system
can. It is LV.part until it is complete; a dump that was stopped goes on when it is run again, and knows by LV.done what
is finished. An LV with bytes that cannot be read becomes LV.partial, with a ddrescue map of what is lost in LV.map, and
the exit code is 3. What goes to standard output ends before the first byte that cannot be read, with the same exit
code.`
}

func (c *dumpCmd) Run(a *app) error {
	if c.Output != "" {
		if err := c.checkStream(a); err != nil {
			return err
		}
	}
	if err := c.chooseTexts(c.LV); err != nil {
		return err
	}
	s, err := openDevices(a, c.Devices, c.deviceOptions)
	if err != nil {
		return err
	}
	defer s.Close()
	overlays, err := openOverlays(c.Overlay)
	if err != nil {
		return err
	}
	defer overlays.close()
	d := &dump{app: a, overlays: overlays, force: c.Force, noSync: c.NoSync}
	if err := d.choose(s.Result(), c.LV); err != nil {
		return err
	}
	if err := d.protect(s); err != nil {
		return err
	}
	if c.Output != "" {
		return d.stream()
	}
	if err := d.openDirectory(cmp.Or(c.Directory, ".")); err != nil {
		return err
	}
	defer d.close()
	if err := d.plan(); err != nil {
		return err
	}
	if err := d.checkSpace(); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // the second signal kills
	if len(c.LV) > 0 {
		return d.run(ctx)
	}
	return firstOf(d.run(ctx), unknownPVs(s.Result()))
}

// dump is one run of the command.
type dump struct {
	*app
	overlays *overlaid
	force    bool
	noSync   bool

	lvs       []*lvm2.LV
	explicit  bool // the user has named lvs
	root      *copyout.Folder
	folders   map[*lvm2.VG]*copyout.Folder
	jobs      []dumpJob
	protected []os.FileInfo // never to be replaced
	finished  int           // of jobs, by now

	inTheWay   []error // LVs that were not begun because a file is in the way
	incomplete int     // LVs that could not be read, in whole or in part
	damagedVGs []error // of VGs that may have more LVs than are known of
}

type dumpJob struct {
	*copyout.Job
	lv       *lvm2.LV
	finished time.Time // by an earlier run of this dump; zero if it was not
}

// choose finds the LVs that are to be dumped, in the order of their VGs.
func (d *dump) choose(found *scan.Result, names []string) error {
	d.explicit = len(names) > 0
	named := map[*lvm2.LV]bool{}
	var devices []*lvm2.LV // of thin pools, which no LV is there for
	for _, name := range names {
		lv, err := findLV(found, name)
		if err != nil {
			return err
		}
		if !named[lv] && lv.VG.Of(lv.LV) == nil {
			devices = append(devices, lv)
		}
		named[lv] = true
	}
	if !d.explicit {
		d.damagedVGs = damagedVGs(found.VGs)
	}
	for _, vg := range found.VGs {
		for _, lv := range vg.LVs {
			if named[lv] || !d.explicit && lv.Visible() {
				d.lvs = append(d.lvs, lv)
			}
		}
	}
	d.lvs = append(d.lvs, devices...)
	return d.checkNames()
}

// checkNames refuses LVs if one is called like a file that another one needs.
func (d *dump) checkNames() error {
	type file struct {
		vg   *lvm2.VG
		name string
	}
	taken := map[file]*lvm2.LV{}
	for _, lv := range d.lvs {
		taken[file{lv.VG, lv.FileName()}] = lv
	}
	for _, lv := range d.lvs {
		for _, suffix := range copyout.Suffixes {
			if other := taken[file{lv.VG, lv.FileName() + suffix}]; other != nil {
				return fmt.Errorf("%s and %s cannot be written to one directory: use --lv and another -C for one of them", lvPath(lv), lvPath(other))
			}
		}
	}
	return nil
}

func (d *dump) openDirectory(path string) (err error) {
	if err := os.MkdirAll(path, 0o777); err != nil {
		return err
	}
	d.root, err = copyout.OpenFolder(path)
	return err
}

func (d *dump) close() {
	for _, f := range d.folders {
		f.Close()
	}
	d.root.Close()
}

// protect notes the devices, which may lie where the files go.
func (d *dump) protect(s *session) error {
	for _, dev := range s.Devices() {
		info, err := os.Stat(dev.Path())
		if err != nil {
			return err
		}
		d.protected = append(d.protected, info)
	}
	return nil
}

// plan opens the LVs and looks at what is there of them, changing nothing.
func (d *dump) plan() error {
	d.folders = map[*lvm2.VG]*copyout.Folder{}
	for _, lv := range d.lvs {
		v, changes, err := d.overlays.openLV(lv)
		if errors.Is(err, lvm2.ErrNoContents) && !d.explicit {
			continue
		} else if err != nil {
			d.giveUp(err)
			continue
		}
		folder := d.folders[lv.VG]
		if folder == nil {
			if folder, err = d.root.Sub(lv.VG.DirName()); err != nil {
				return err
			}
			d.folders[lv.VG] = folder
		}
		id, err := identity(lv, changes)
		if err != nil {
			return err
		}
		job := copyout.NewJob(v, folder, lv.FileName(), lvPath(lv), id)
		job.Replace, job.NoSync = d.force, d.noSync
		job.Protect = d.protected
		if finished, err := job.Check(); isInTheWay(err) {
			d.inTheWay = append(d.inTheWay, err)
		} else if err != nil {
			return err
		} else {
			d.jobs = append(d.jobs, dumpJob{job, lv, finished})
		}
	}
	return nil
}

func isInTheWay(err error) bool {
	return errors.Is(err, copyout.ErrExists) || errors.Is(err, copyout.ErrBusy) || errors.Is(err, copyout.ErrProtected)
}

// leftAlone is all that is in the way, first that which --force replaces.
func (d *dump) leftAlone() error {
	var replaceable, others []error
	for _, err := range d.inTheWay {
		if errors.Is(err, copyout.ErrExists) && !errors.Is(err, copyout.ErrDirectory) {
			replaceable = append(replaceable, err)
		} else {
			others = append(others, err)
		}
	}
	hint := "--force replaces what exists"
	if len(d.jobs) > 0 {
		// It would do what is done once more.
		hint = "--force with --lv replaces one of these and leaves the rest"
	}
	var forced error
	if len(replaceable) > 0 {
		forced = fmt.Errorf("%w; %s", errors.Join(replaceable...), hint)
	}
	return errors.Join(append([]error{forced}, others...)...)
}

// giveUp names an LV that cannot be read as it should.
func (d *dump) giveUp(err error) {
	d.printError(err)
	d.incomplete++
}

// identity is what must be the same for a dump to be continued: the LV, its metadata, and the image files beneath and
// the overlay, by when they last changed. changes is the path of the overlay, "" if there is none.
func identity(lv *lvm2.LV, changes string) (copyout.Identity, error) {
	devices := lv.Devices()
	sources := map[string]string{}
	for _, pv := range lv.VG.PVs {
		if pv.Device == nil || !slices.Contains(devices, pv.Device) {
			continue
		}
		if changed := mapping.ModTime(pv.Device); !changed.IsZero() {
			sources[pv.UUID.String()] = changed.UTC().Format(time.RFC3339Nano)
		}
	}
	if changes != "" {
		info, err := os.Stat(changes)
		if err != nil {
			return copyout.Identity{}, err
		}
		sources["overlay"] = info.ModTime().UTC().Format(time.RFC3339Nano)
	}
	return copyout.Identity{UUID: lv.UUID.String(), Seqno: lv.VG.Seqno, Sources: sources}, nil
}

// checkSpace refuses to begin what the file system has no room for.
func (d *dump) checkSpace() error {
	free := map[copyout.FileSystemID]int64{}
	need := map[copyout.FileSystemID]int64{}
	for _, job := range d.jobs {
		id, n, err := job.Folder.FreeSpace()
		if err != nil {
			return err
		}
		free[id] = n
		need[id] += job.Volume.Size()
	}
	for id := range need {
		if need[id] <= free[id] {
			continue
		}
		// Not all of it may be needed, which takes longer to find out.
		var n int64
		for _, job := range d.jobs {
			if at, _, err := job.Folder.FreeSpace(); err != nil || at != id {
				continue
			}
			more, err := job.Need()
			if err != nil {
				return err
			}
			n += more
		}
		if n > free[id] {
			return fmt.Errorf("%s has %s free, and %s is needed: %d of %d bytes are missing",
				d.root.Path("."), formatSize(free[id]), formatSize(n), n-free[id], n)
		}
	}
	return nil
}

func (d *dump) run(ctx context.Context) error {
	if d.force {
		// A later run without it must not take what is about to be replaced for this run's.
		if err := d.forget(); err != nil {
			return err
		}
	}
	for _, job := range d.jobs {
		err := d.runJob(ctx, job)
		switch {
		case err == nil:
		case isInTheWay(err):
			d.inTheWay = append(d.inTheWay, err)
		case errors.Is(err, context.Canceled):
			return fmt.Errorf("stopped; %s", d.next())
		default:
			return fmt.Errorf("%s: %w; %s", lvPath(job.lv), err, d.next())
		}
	}
	switch {
	case len(d.inTheWay) > 0:
		return d.leftAlone()
	case d.incomplete > 0:
		return fmt.Errorf("%w: %d of %d LVs", errIncomplete, d.incomplete, len(d.lvs))
	case len(d.damagedVGs) > 0:
		return fmt.Errorf("%w: %w", errIncomplete, d.damagedVGs[0])
	}
	return d.forget()
}

// next says what another run would do after one that has stopped.
func (d *dump) next() string {
	if d.force && d.finished > 0 {
		return "the same command goes on from here, but --force replaces again what is finished"
	}
	return "the same command goes on from here"
}

// forget drops what is known of finished files: they are the user's now, and the next dump starts anew.
func (d *dump) forget() error {
	for _, job := range d.jobs {
		if err := job.Forget(); err != nil {
			return err
		}
	}
	return nil
}

func (d *dump) runJob(ctx context.Context, job dumpJob) error {
	if err := d.announce(job); err != nil {
		return err
	}
	if d.stderrTerminal && job.finished.IsZero() {
		m := &meter{w: d.stderr, now: time.Now, title: lvPath(job.lv), size: job.Volume.Size()}
		defer m.finish()
		job.Progress = m.set
	}
	job.Protect = d.protected
	r, err := job.Run(ctx)
	if err != nil {
		return err
	}
	d.protected = append(d.protected, r.File)
	d.finished++
	if r.Map != "" {
		d.giveUp(fmt.Errorf("%s: %d of %d bytes are lost: %w; what there is went to %s, and what is lost is in %s",
			lvPath(job.lv), r.Lost.Bytes(), job.Volume.Size(), r.Err, job.Folder.Path(r.Name), job.Folder.Path(r.Map)))
	}
	return nil
}

func (d *dump) announce(job dumpJob) error {
	what := fmt.Sprintf("Reading %s %s", lvPath(job.lv), where(job.lv, job.Volume))
	if !job.finished.IsZero() {
		what = fmt.Sprintf("Finished %s on %s", lvPath(job.lv), job.finished.Format(time.DateTime))
	}
	_, err := fmt.Fprintf(d.stdout, "===> %s\n", what)
	return err
}

var errSeveral = errors.New("more than one run")

// where says where an LV lies: at an offset of its device, if it is one run there.
func where(lv *lvm2.LV, v mapping.Volume) string {
	var first *mapping.Extent
	err := mapping.Walk(v, 0, v.Size(), func(_ int64, e mapping.Extent) error {
		if first != nil || e.Kind != mapping.Data {
			return errSeveral
		}
		first = &e
		return nil
	})
	if err == nil && first != nil {
		return fmt.Sprintf("from offset %d (%#x)", first.Offset, first.Offset)
	}
	if n := len(lv.Segments); n != 1 {
		return fmt.Sprintf("in %d segments", n)
	}
	return "in 1 segment"
}
