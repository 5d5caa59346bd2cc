package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"lvm2fs/attach"
	"lvm2fs/blockdev"
	"lvm2fs/ggate"
	"lvm2fs/lvm2"
)

const runDir = "/var/run/lvm2fs"

// maker makes units of geom_gate of LVs. They are there before the process in the background that serves them; requests
// wait meanwhile.
type maker struct {
	a  *app
	c  *attachCmd
	st *attach.State

	control ggate.Control // nil: not yet open
	made    []*attach.Entry
	taken   []*attach.Entry // from processes that are gone
}

func newMaker(a *app, c *attachCmd, st *attach.State, _ *session) *maker {
	return &maker{a: a, c: c, st: st}
}

func (m *maker) close() {
	if m.control != nil {
		_ = m.control.Close()
	}
}

func (m *maker) make(e *attach.Entry, lv *lvm2.LV) (err error) {
	if m.control == nil {
		if m.control, err = ggate.Open(); err != nil {
			return err
		}
	}
	if err := claimable(lv, e.ReadOnly); err != nil {
		return err
	}
	v, err := lv.Open()
	if err != nil {
		return err
	}
	provider, offset := providerOf(lv)
	if err := attach.CreateGate(m.control, e, v, provider, offset); err != nil {
		return err
	}
	if !e.ReadOnly {
		e.Claims = bottomIDs(lv)
	}
	e.Pending = true
	m.st.Add(e)
	m.made = append(m.made, e)
	return m.st.Save()
}

// providerOf is the provider of GEOM on which an LV is one run of bytes, from offset; "" if there is none.
func providerOf(lv *lvm2.LV) (provider string, offset int64) {
	run, ok := attach.Contiguous(lv)
	d, isDisk := run.Device.(*blockdev.Device)
	if !ok || !isDisk || d.IsFile() {
		return "", 0
	}
	path, err := filepath.EvalSymlinks(d.Path())
	if err != nil || !strings.HasPrefix(path, "/dev/") {
		return "", 0
	}
	return strings.TrimPrefix(path, "/dev/"), run.Offset
}

// takeOver has the process to come serve a device whose process is gone. The kernel sends it again what the old one had
// not answered.
func (m *maker) takeOver(e *attach.Entry, _ *lvm2.LV) bool {
	e.Process, e.Pending = nil, true
	m.taken = append(m.taken, e)
	return true
}

// finish starts the process that serves what was made and taken over.
func (m *maker) finish() error {
	if len(m.made)+len(m.taken) == 0 {
		return nil
	}
	err := m.st.Save()
	var p *attach.PID
	if err == nil {
		var process *os.Process
		if process, err = runInBackground(m.a); err == nil {
			if p = attach.ProcessOf(process.Pid); p == nil {
				err = errors.New("the process in the background is gone")
			}
		}
	}
	for _, e := range m.taken {
		e.Process, e.Pending = p, false
		if p == nil {
			e.Process = &attach.PID{} // as before: dead
		}
	}
	for _, e := range m.made {
		e.Process, e.Pending = p, false
		if p == nil {
			m.st.Remove(e)
			err = errors.Join(err, attach.DestroyGate(m.control, e, true))
		}
	}
	return errors.Join(err, m.st.Save())
}

// serve is the process in the background: it serves what is on the list and has no process yet, until all of that is
// destroyed.
func (c *attachCmd) serve(a *app, ready *os.File) error {
	s, log, err := c.openInBackground(a, ready)
	if err != nil {
		return err
	}
	defer s.Close()
	st, err := attach.Read(attachDir())
	if err != nil {
		return err
	}
	control, err := ggate.Open()
	if err != nil {
		return err
	}
	defer func() { _ = control.Close() }()
	signals := catchSignals()
	defer signals.stop()
	gates := &attach.Gates{Control: control, Failed: func(lv string, err error) {
		a.log.Error("a request failed", "lv", lv, "err", err)
	}}
	find := func(vgs []*lvm2.VG) func(vg, lv string) *lvm2.LV {
		return func(vg, lv string) *lvm2.LV { return lvWith(vgs, vg, lv) }
	}
	lvs := find(s.Result().VGs)
	for _, e := range st.Entries {
		if e.Way != attach.Served || !e.Pending {
			continue
		}
		lv := lvs(e.VGUUID, e.LVUUID)
		if lv == nil {
			return fmt.Errorf("%s is gone", e.LV)
		}
		if err := gates.Serve(e, lv); err != nil {
			return err
		}
	}
	if err := detach(a, ready, log); err != nil {
		return err
	}
	reload := func() {
		said, err := gates.Reload(func() (func(vg, lv string) *lvm2.LV, error) {
			scan, _, err := s.rescan(a)
			if err != nil {
				return nil, err
			}
			return find(scan.VGs), nil
		})
		if err != nil {
			a.log.Error("reload", "err", err)
		}
		for _, line := range said {
			a.log.Info(line)
		}
	}
	return attendGates(a, gates, signals, reload)
}

// attendGates obeys signals until no device is left.
func attendGates(a *app, gates *attach.Gates, signals signals, reload func()) error {
	ended := make(chan error, 1)
	go func() { ended <- gates.Wait() }()
	for force := false; ; {
		select {
		case err := <-ended:
			return err
		case <-signals.reload:
			go reload()
		case <-signals.end:
			if err := gates.Stop(force); err != nil {
				a.log.Warn("devices are in use; a second signal takes them away all the same", "err", err)
			}
			force = true
		}
	}
}

// isAttached says whether the unit of an entry is there, and is ours if the system tells whose it is.
func isAttached(e *attach.Entry) bool {
	if _, err := os.Stat(e.Device); err != nil {
		return false
	}
	mesh, err := unix.Sysctl("kern.geom.confxml")
	if err != nil {
		return true
	}
	info, known := attach.GateInfo([]byte(mesh), filepath.Base(e.Device))
	return !known || info == e.Mark()
}

func detachEntry(a *app, st *attach.State, e *attach.Entry) error {
	control, err := ggate.Open()
	if err != nil {
		return err
	}
	defer func() { _ = control.Close() }()
	err = attach.DestroyGate(control, e, false)
	switch {
	case errors.Is(err, syscall.EBUSY):
		return fmt.Errorf("%s is in use: %s", e.LV, strings.Join(usersOfDevice(e.Device), ", "))
	case err != nil && !errors.Is(err, syscall.ENXIO):
		return fmt.Errorf("%s: %w", e.LV, err)
	}
	st.Remove(e)
	if err := st.Save(); err != nil {
		return err
	}
	// The process syncs, and ends with the last device.
	if e.Process.Alive() && len(st.Served(e.Process)) == 0 {
		awaitEnd(a, watch(e.Process.Number))
	}
	return nil
}

// takeAway destroys the device of an entry that nobody is to know any more.
func takeAway(_ *attach.State, e *attach.Entry) error {
	control, err := ggate.Open()
	if err != nil {
		return err
	}
	defer func() { _ = control.Close() }()
	return attach.DestroyGate(control, e, false)
}

// reloadAttached has each process read the metadata again; what comes of it is in its log.
func reloadAttached(a *app, st *attach.State) error {
	var errs []error
	told := map[attach.PID]bool{}
	for _, e := range st.Entries {
		switch {
		case !e.Process.Alive():
			errs = append(errs, fmt.Errorf("%s: the process behind it is gone: attach it again", e.LV))
		case !told[*e.Process]:
			told[*e.Process] = true
			errs = append(errs, syscall.Kill(e.Process.Number, syscall.SIGHUP))
			a.log.Info(fmt.Sprintf("process %d reads the metadata again; its log says what has changed", e.Process.Number))
		}
	}
	return errors.Join(errs...)
}
