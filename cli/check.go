package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"lvm2fs/lvm2"
	"lvm2fs/mapping"
	"lvm2fs/raid"
	"lvm2fs/scan"
)

type checkCmd struct {
	deviceOptions
	overlayOptions
	LV      []string `name:"lv" sep:"none" placeholder:"VG/LV" help:"Only this LV. May be given more than once."`
	Devices []string `arg:"" optional:"" name:"device"`
}

// Help is shown by lvm2fs check --help, between the synopsis and the flags.
func (checkCmd) Help() string {
	return `Examples:
  lvm2fs check disk1.img disk2.img
  lvm2fs check --lv vg/root /dev/sdb1 /dev/sdc1
  lvm2fs check disk*.img >findings.txt || echo "exit code $?"

Reads all of each LV, and all legs of the RAIDs and mirrors beneath: every checksum on the way is verified, and legs and
parity are compared wherever they should be in agreement. What is out of sync, was being written in a crash, or has lost a
leg is read, but not compared; that alone is no fault, but the LV is not called good. The metadata of thin pools are
verified as thin_check does: nodes, mappings and the counts of the space maps. Nothing is written.

Each finding is a line, with the LV's bytes and where they are on the devices. Then comes a line for each LV. The exit
code is 3 if anything is wrong.`
}

func (c *checkCmd) Run(a *app) error {
	if err := c.chooseTexts(c.LV); err != nil {
		return err
	}
	s, err := openDevices(a, c.Devices, c.deviceOptions)
	if err != nil {
		return err
	}
	defer s.Close()
	lvs, err := checkable(s.Result(), c.LV)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // the second signal kills
	overlays, err := openOverlays(c.Overlay)
	if err != nil {
		return err
	}
	defer overlays.close()
	run := &check{app: a, overlays: overlays, named: len(c.LV) > 0}
	if !run.named {
		run.damagedVGs = damagedVGs(s.Result().VGs)
	}
	if run.named {
		return run.run(ctx, lvs)
	}
	return firstOf(run.run(ctx, lvs), unknownPVs(s.Result()))
}

// checkable are the LVs that are named, or all visible ones and all pools.
func checkable(found *scan.Result, names []string) ([]*lvm2.LV, error) {
	var lvs []*lvm2.LV
	for _, name := range names {
		lv, err := findLV(found, name)
		if err != nil {
			return nil, err
		}
		lvs = append(lvs, lv)
	}
	if len(names) > 0 {
		return lvs, nil
	}
	for _, vg := range found.VGs {
		for _, lv := range vg.LVs {
			if lv.Visible() || lv.Data() != nil {
				lvs = append(lvs, lv)
			}
		}
	}
	return lvs, nil
}

// check is one run of the command.
type check struct {
	*app
	overlays *overlaid
	named    bool // the user has named the LVs

	damagedVGs []error

	meter *meter
	of    *lvm2.LV // that meter is of
}

func (c *check) run(ctx context.Context, lvs []*lvm2.LV) error {
	checker := lvm2.Checker{Found: c.found, Contents: func(lv *lvm2.LV, v mapping.Volume) (mapping.Volume, error) {
		v, _, err := c.overlays.contents(lv, v)
		return v, err
	}}
	if c.stderrTerminal {
		checker.Progress = c.progress
	}
	bad := 0
	for _, lv := range lvs {
		sum, err := checker.Check(ctx, lv)
		c.hideProgress()
		switch {
		case errors.Is(err, context.Canceled):
			return errors.New("stopped")
		case err != nil:
			return err
		}
		if !c.named && sum.Good() && sum.Size == 0 && sum.Redundant == 0 && sum.Metadata == 0 {
			continue // a pool without anything that could be checked
		}
		if _, err := fmt.Fprintf(c.stdout, "%s: %s\n", lvPath(lv), summary(sum)); err != nil {
			return err
		}
		if sum.Good() {
			continue
		}
		bad++
		if sum.Err != nil {
			c.printError(fmt.Errorf("%s: %w", lvPath(lv), sum.Err))
		} else {
			c.printError(fmt.Errorf("%s: %s", lvPath(lv), faults(sum)))
		}
	}
	switch {
	case bad > 0:
		return notGood{bad, len(lvs)}
	case len(c.damagedVGs) > 0:
		return fmt.Errorf("%w: %w", errIncomplete, c.damagedVGs[0])
	}
	return nil
}

// notGood is the error of a check that has found something.
type notGood struct{ bad, all int }

func (e notGood) Error() string {
	return fmt.Sprintf("something is wrong with %d of %d LVs", e.bad, e.all)
}

func (notGood) Is(target error) bool { return target == errIncomplete }

func (c *check) found(f lvm2.Finding) error {
	c.hideProgress()
	_, err := fmt.Fprintf(c.stdout, "%s: %s\n", lvPath(f.LV), printable(describe(f)))
	return err
}

func (c *check) progress(lv *lvm2.LV, done, total int64) {
	if c.of != lv || c.meter == nil {
		c.hideProgress()
		c.of, c.meter = lv, &meter{w: c.stderr, now: time.Now, title: lvPath(lv), size: total}
	}
	c.meter.set(done)
}

func (c *check) hideProgress() {
	if c.meter != nil {
		c.meter.finish()
		c.meter = nil
	}
}

// describe says in a line what a finding is, where in the LV and where on the devices.
func describe(f lvm2.Finding) string {
	if f.Metadata {
		return "metadata: " + oneLine(f.Err)
	}
	if f.Legs == nil {
		return fmt.Sprintf("%d bytes at %d are lost: %s", f.Length, f.Offset, oneLine(f.Err))
	}
	at := func(i int) string { return legAt(f.Legs.Places[i], f.Places[i]) }
	where := fmt.Sprintf("%d bytes at %d", f.Length, f.Offset)
	blamed := f.Legs.Blamed
	if blamed != raid.Unknown {
		switch f.Legs.Places[blamed].Role {
		case raid.P:
			where = fmt.Sprintf("%d bytes of P for the row at %d", f.Length, f.Offset)
		case raid.Q:
			where = fmt.Sprintf("%d bytes of Q for the row at %d", f.Length, f.Offset)
		}
	}
	switch {
	case f.Legs.Problem == raid.Unreadable:
		return fmt.Sprintf("%s: %s: %s", where, at(blamed), oneLine(f.Err))
	case f.Legs.Problem == raid.CopiesDiffer:
		return fmt.Sprintf("%s: %s differs from %s", where, at(blamed), at(f.Legs.Against))
	case blamed != raid.Unknown:
		return fmt.Sprintf("%s: %s contradicts all others", where, at(blamed))
	}
	var data, parity []string
	for i, p := range f.Legs.Places {
		if p.Role == raid.Data {
			data = append(data, fmt.Sprintf("%d on %s", p.Offset, at(i)))
		} else if p.Role == raid.P && f.Legs.P {
			parity = append(parity, "P on "+at(i))
		} else if p.Role == raid.Q && f.Legs.Q {
			parity = append(parity, "Q on "+at(i))
		}
	}
	return fmt.Sprintf("%d bytes each at %s: %s does not fit", f.Length, strings.Join(data, ", "), strings.Join(parity, " and "))
}

// legAt is a leg with its place on a device, if it has one.
func legAt(p raid.Place, at lvm2.FindingPlace) string {
	if at.Device == nil {
		return fmt.Sprintf("leg %d (byte %d of it)", p.Leg, p.LegOffset)
	}
	return fmt.Sprintf("leg %d (%s at byte %d)", p.Leg, at.Device.Name(), at.Offset)
}

// summary says in a phrase what was checked of an LV, what could not be, and with what result.
func summary(s lvm2.CheckSummary) string {
	var parts []string
	switch {
	case s.Err != nil:
		parts = append(parts, "cannot be checked as a whole")
	case !s.Good():
		parts = append(parts, faults(s))
	case s.Redundant > 0 && s.Compared == 0:
		parts = append(parts, "nothing wrong was found, but nothing could be compared")
	case s.Compared < s.Redundant:
		parts = append(parts, "nothing wrong was found, but not all could be compared")
	default:
		parts = append(parts, "good")
	}
	if s.Size > 0 {
		parts = append(parts, fmt.Sprintf("%d of %d bytes can be read", s.Size-s.Lost, s.Size))
	}
	if s.Redundant > 0 {
		parts = append(parts, fmt.Sprintf("%d of %d bytes of RAID or mirror compared", s.Compared, s.Redundant))
	}
	if s.Metadata > 0 {
		parts = append(parts, fmt.Sprintf("%d bytes of pool metadata verified", s.Metadata))
	}
	phrase := strings.Join(parts, ", ")
	if len(s.Uncompared) > 0 {
		phrase += "; not compared: " + oneLine(errors.Join(s.Uncompared...))
	}
	return phrase
}

// faults says in a phrase what is wrong with an LV.
func faults(s lvm2.CheckSummary) string {
	var parts []string
	for _, part := range []struct {
		n    int64
		what string
	}{
		{s.Lost, "lost"},
		{s.Unreadable, "of legs unreadable"},
		{s.Differing, "of legs in disagreement"},
	} {
		if part.n > 0 {
			parts = append(parts, fmt.Sprintf("%d bytes %s", part.n, part.what))
		}
	}
	if s.Faults > 0 {
		parts = append(parts, fmt.Sprintf("%d faults in pool metadata", s.Faults))
	}
	return strings.Join(parts, ", ")
}
