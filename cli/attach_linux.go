package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"lvm2fs/attach"
	"lvm2fs/blockdev"
	"lvm2fs/fusefs"
	"lvm2fs/lvm2"
)

const runDir = "/run/lvm2fs"

// rootFD is the descriptor of the root of its private mount in a process in the background: root reaches the mount
// through /proc.
const rootFD = 900

// maker makes loop devices of LVs.
type maker struct {
	a  *app
	c  *attachCmd
	st *attach.State
	s  *session

	open    []*lvm2.Volume // whose claims the devices share
	own     map[*blockdev.Device]bool
	started *os.Process // in the background, by this command
}

func newMaker(a *app, c *attachCmd, st *attach.State, s *session) *maker {
	shareClaims(s)
	return &maker{a: a, c: c, st: st, s: s, own: map[*blockdev.Device]bool{}}
}

// close ends the process in the background if nothing came to use it.
func (m *maker) close() {
	for _, v := range m.open {
		if err := v.Close(); err != nil {
			m.a.warnf("%w", err)
		}
	}
	if m.started != nil {
		if p := attach.ProcessOf(m.started.Pid); p != nil && len(m.st.Served(p)) == 0 {
			_ = m.started.Signal(syscall.SIGTERM)
		}
	}
}

// shareClaims lets the devices of a session be written where a loop device of ours keeps others out.
func shareClaims(s *session) {
	dir := attachDir() // while a relative one still means what it did
	for _, d := range s.Devices() {
		id := attach.IDOf(d.Info())
		d.ShareClaim(func() bool {
			st, err := attach.Read(dir)
			return err == nil && st.ClaimHolder(id, isAttached) != nil
		})
	}
}

// make makes a loop device of an LV, and an entry of it.
func (m *maker) make(e *attach.Entry, lv *lvm2.LV) error {
	if run, ok := attach.Contiguous(lv); ok && !m.c.Mounted {
		if d, ok := run.Device.(*blockdev.Device); ok {
			err := m.direct(e, lv, d, run)
			// What a process of ours has claimed for others, it can write for this one too.
			if !errors.Is(err, blockdev.ErrBusy) || m.serverThatClaims(d) == nil {
				return err
			}
		}
	}
	return m.mounted(e, lv)
}

// takeOver is for kernels that keep what was asked of a process that is gone.
func (m *maker) takeOver(*attach.Entry, *lvm2.LV) bool { return false }

// finish has nothing left to do: each device answers when it is made.
func (m *maker) finish() error { return nil }

// direct makes a loop device of a run of a file or disk.
func (m *maker) direct(e *attach.Entry, lv *lvm2.LV, d *blockdev.Device, run attach.Run) error {
	e.Way, e.Offset, e.On = attach.Direct, run.Offset, attach.IDOf(d.Info())
	if !m.c.ReadOnly {
		if _, known := m.own[d]; !known {
			m.own[d] = m.st.ClaimHolder(e.On, isAttached) == nil
		}
		v, err := lv.OpenWritable()
		if err != nil {
			delete(m.own, d)
			return err
		}
		m.open = append(m.open, v)
		e.Claims, e.HasClaim = []attach.ID{e.On}, m.own[d]
	}
	file, ok := d.File()
	if !m.c.ReadOnly {
		file, ok = d.ClaimedFile()
	}
	if !ok {
		return fmt.Errorf("LV %s: %s: %w", lv, d.Name(), errors.ErrUnsupported)
	}
	return m.configure(e, attach.Loop{File: file, Offset: run.Offset, Size: run.Length})
}

// configure makes the loop device of an entry, which is on the list from before until it is taken away.
func (m *maker) configure(e *attach.Entry, loop attach.Loop) error {
	loop.BlockSize, loop.ReadOnly, loop.Partition, loop.Mark = e.BlockSize, e.ReadOnly, e.Partitions, e.Mark()
	e.Pending = true
	m.st.Add(e)
	device, err := loop.Configure(func(device string) error {
		e.Device = device
		return m.st.Save()
	})
	if err == nil {
		err = m.check(e, device)
	}
	if err != nil {
		m.st.Remove(e)
		return errors.Join(fmt.Errorf("LV %s: %w", e.LV, err), m.st.Save())
	}
	e.Pending = false
	return m.st.Save()
}

// check sees whether a loop device is what was asked for, and leaves none that is not.
func (m *maker) check(e *attach.Entry, device string) error {
	size, err := attach.Size(device)
	if err == nil && size != e.Size {
		err = fmt.Errorf("%s has %d bytes, not %d", device, size, e.Size)
	}
	var status attach.LoopStatus
	if err == nil {
		status, err = attach.Status(device)
	}
	if err != nil {
		return errors.Join(err, clearLoop(device))
	}
	e.DirectIO, e.Backing = status.DirectIO, attach.Backing(device)
	return nil
}

func clearLoop(device string) error {
	held, err := attach.Exclusive(device)
	if err != nil {
		return err
	}
	return attach.Clear(device, held, releaseTime)
}

// mounted makes a loop device of an LV's file in a private mount.
func (m *maker) mounted(e *attach.Entry, lv *lvm2.LV) error {
	e.Way = attach.Mounted
	server, file, err := m.fileOf(lv)
	if err != nil {
		return err
	}
	defer file.Close()
	e.Process = server
	if !m.c.ReadOnly {
		e.Claims = bottomIDs(lv)
	}
	return m.configure(e, attach.Loop{File: file})
}

// servers are the processes in the background that still run.
func (m *maker) servers() []*attach.Entry {
	var found []*attach.Entry
	for _, e := range m.st.Entries {
		same := func(o *attach.Entry) bool { return *o.Process == *e.Process }
		if e.Way == attach.Mounted && reachable(e.Process) && !slices.ContainsFunc(found, same) {
			found = append(found, e)
		}
	}
	return found
}

// reachable says whether a process still runs, and still has its mount open: not if it was told to end, and waits for
// its devices to go.
func reachable(p *attach.PID) bool {
	if !p.Alive() {
		return false
	}
	_, err := os.Stat(privateRoot(p))
	return err == nil
}

// serverThatClaims is a process in the background that has claimed a device; nil if there is none.
func (m *maker) serverThatClaims(d *blockdev.Device) *attach.Entry {
	id := attach.IDOf(d.Info())
	for _, e := range m.st.Entries {
		if e.Way == attach.Mounted && reachable(e.Process) && slices.Contains(e.Claims, id) {
			return e
		}
	}
	return nil
}

// fileOf opens the file of an LV in the private mount of a process that has it already, or of a new one.
func (m *maker) fileOf(lv *lvm2.LV) (*attach.PID, *os.File, error) {
	options := m.c.optionsText()
	for _, e := range m.servers() {
		if e.Options != options {
			continue
		}
		f, err := m.openIn(e.Process, lv)
		if errors.Is(err, errNotShown) && e.VGUUID == lv.VG.UUID.String() {
			// It may have been made since.
			if err := m.a.reload(privateRoot(e.Process)); err != nil {
				return nil, nil, err
			}
			f, err = m.openIn(e.Process, lv)
		}
		if !errors.Is(err, errNotShown) {
			return e.Process, f, err
		}
	}
	if m.started == nil {
		if err := claimable(lv, m.c.ReadOnly); err != nil {
			return nil, nil, err
		}
		process, err := runInBackground(m.a)
		if err != nil {
			return nil, nil, err
		}
		m.started = process
	}
	p := attach.ProcessOf(m.started.Pid)
	if p == nil {
		return nil, nil, fmt.Errorf("LV %s: the process in the background is gone", lv)
	}
	f, err := m.openIn(p, lv)
	return p, f, err
}

func privateRoot(p *attach.PID) string { return fmt.Sprintf("/proc/%d/fd/%d", p.Number, rootFD) }

var errNotShown = errors.New("not in the private mount")

func (m *maker) openIn(p *attach.PID, lv *lvm2.LV) (*os.File, error) {
	path := privateRoot(p) + "/" + lvPath(lv)
	flags := unix.O_RDWR
	if m.c.ReadOnly {
		flags = unix.O_RDONLY
	}
	fd, err := unix.Open(path, flags|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) {
		return nil, fmt.Errorf("LV %s: %w", lv, errNotShown)
	}
	if err != nil {
		return nil, fmt.Errorf("LV %s: opening it in process %d, whose log may say more: %w", lv, p.Number, err)
	}
	if uuidOf(fmt.Sprintf("/proc/self/fd/%d", fd)) != lv.UUID.String() {
		unix.Close(fd)
		return nil, fmt.Errorf("LV %s: %w", lv, errNotShown)
	}
	return os.NewFile(uintptr(fd), path), nil
}

// uuidOf is the UUID of the LV that a file in a mount is; "" if it is none.
func uuidOf(path string) string {
	uuid := make([]byte, 64)
	n, err := unix.Getxattr(path, "user.lvm2.uuid", uuid)
	if err != nil {
		return ""
	}
	return string(uuid[:n])
}

// forgotten is how long a process in the background stays that no device uses any more, if nobody ends it.
const forgotten = time.Minute

// serve is the process in the background: a private mount, which ends when the last file of it is closed.
func (c *attachCmd) serve(a *app, ready *os.File) error {
	s, log, err := c.openInBackground(a, ready)
	if err != nil {
		return err
	}
	defer s.Close()
	shareClaims(s)
	signals := catchSignals()
	defer signals.stop()
	server, err := fusefs.MountPrivate(fusefs.Config{
		Scan:   lvmScan(s.Result()),
		Rescan: func() (*lvm2.Scan, []string, error) { return s.rescan(a) },
		FSName: "lvm2fs",
		Logger: a.log,

		AttrTimeout:  defaultAttrTimeout,
		BlockDevices: true,
	}, rootFD)
	if err != nil {
		return err
	}
	if err := detach(a, ready, log); err != nil {
		return errors.Join(err, server.ForceUnmount())
	}
	return attend(a, server, signals, "attached LVs", forgotten)
}

// isAttached says whether the device of an entry is still that of the entry.
func isAttached(e *attach.Entry) bool {
	if e.Pending { // the file was not yet known
		status, err := attach.Status(e.Device)
		return err == nil && status.Mark == e.Mark()
	}
	return attach.IsMadeOf(e.Device, e.Mark(), e.Backing)
}

// detachEntry takes the device of an entry away, and what it alone needed.
func detachEntry(a *app, st *attach.State, e *attach.Entry) error {
	held, err := attach.Exclusive(e.Device)
	switch {
	case errors.Is(err, unix.EBUSY):
		return fmt.Errorf("%s is in use: %s", e.LV, strings.Join(usersOfDevice(e.Device), ", "))
	case err != nil:
		return fmt.Errorf("%s: %w", e.LV, err)
	}
	if st.NeedsClaim(e) {
		return keepClaim(st, e, held)
	}
	dead := isBroken(e) || e.Lost
	err = attach.Clear(e.Device, held, releaseTime)
	if dead && err != nil && !isAttached(e) {
		a.warnf("%s was gone before: %w", e.LV, err)
		err = nil
	}
	if errors.Is(err, attach.ErrStillOpen) {
		return fmt.Errorf("%s: %w: %s", e.LV, err, strings.Join(usersOfDevice(e.Device), ", "))
	}
	st.Remove(e)
	return errors.Join(err, st.Save(), endServer(a, st, e.Process), dropClaims(st))
}

// keepClaim leaves, of a device that is to go, one block that cannot be written. It keeps the claim for others.
func keepClaim(st *attach.State, e *attach.Entry, held *os.File) error {
	defer held.Close()
	if err := held.Sync(); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.EROFS) {
		return fmt.Errorf("%s: %w", e.LV, err)
	}
	if err := attach.MakeClaim(e.Device, held, int64(e.BlockSize)); err != nil {
		return fmt.Errorf("%s: %w", e.LV, err)
	}
	e.Way = attach.Claim
	return st.Save()
}

// dropClaims takes away what keeps claims that nobody needs any more.
func dropClaims(st *attach.State) error {
	var errs []error
	for _, e := range st.IdleClaims() {
		errs = append(errs, takeAway(st, e))
		st.Remove(e)
	}
	if len(errs) > 0 {
		errs = append(errs, st.Save())
	}
	return errors.Join(errs...)
}

// takeAway clears the device of an entry that nobody is to know any more.
func takeAway(_ *attach.State, e *attach.Entry) error { return clearLoop(e.Device) }

// endServer ends a process in the background that no device uses any more, and returns when all that was written is on
// disk.
func endServer(a *app, st *attach.State, p *attach.PID) error {
	if p == nil || len(st.Served(p)) > 0 || !p.Alive() {
		return nil
	}
	process := watch(p.Number)
	if err := syscall.Kill(p.Number, syscall.SIGTERM); err != nil {
		process.close()
		return fmt.Errorf("process %d: %w", p.Number, err)
	}
	awaitEnd(a, process)
	return nil
}

// releaseTime is how long detaching waits for those who have a device open.
const releaseTime = 20 * time.Second

// commandOf is the command line by which an entry was attached.
func commandOf(e *attach.Entry) (*attachCmd, error) {
	var line CLI
	parser, err := newParser(&line, io.Discard, io.Discard)
	if err != nil {
		return nil, err
	}
	if _, err := parser.Parse(canonicalArgs(parser.Model, e.Command)); err != nil {
		return nil, fmt.Errorf("the command line that attached %s: %w", e.LV, err)
	}
	return &line.Attach, nil
}
