package cli

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"lvm2fs/attach"
	"lvm2fs/fusefs"
	"lvm2fs/lvm2"
)

const runDir = "/var/run/lvm2fs"

// attachMountEnv tells the process in the background where to mount.
const attachMountEnv = "LVM2FS_ATTACH_MOUNTPOINT"

// hdiutil is the system's program.
var hdiutil = attach.HDIUtil{Run: func(args ...string) (string, error) {
	cmd := exec.Command("hdiutil", args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("hdiutil %s: %w: %s", args[0], err, strings.TrimSpace(stderr.String()))
	}
	return string(out), nil
}}

// maker has hdiutil make block devices of the files of a mount of ours.
type maker struct {
	a  *app
	c  *attachCmd
	st *attach.State

	process    *attach.PID // of this command; nil: not yet started
	mountpoint string
}

func newMaker(a *app, c *attachCmd, st *attach.State, _ *session) *maker {
	return &maker{a: a, c: c, st: st}
}

// close ends the mount if nothing came to use it.
func (m *maker) close() {
	if m.process != nil && len(m.st.Served(m.process)) == 0 {
		if err := endMount(m.a, m.process, m.mountpoint); err != nil {
			m.a.warnf("%w", err)
		}
	}
}

func (m *maker) finish() error { return nil }

func (m *maker) takeOver(*attach.Entry, *lvm2.LV) bool { return false }

func (m *maker) make(e *attach.Entry, lv *lvm2.LV) error {
	if m.process == nil {
		if err := claimable(lv, e.ReadOnly); err != nil {
			return err
		}
		if err := m.mount(); err != nil {
			return err
		}
	}
	device, _, err := hdiutil.Attach(filepath.Join(m.mountpoint, lvPath(lv)), e.ReadOnly)
	if err != nil {
		return fmt.Errorf("LV %s: %w", e.LV, err)
	}
	e.Way, e.Device, e.Process, e.Mountpoint = attach.Mounted, device, m.process, m.mountpoint
	m.st.Add(e)
	return m.st.Save()
}

// mount starts a process that mounts where only root comes.
func (m *maker) mount() error {
	above := filepath.Join(attachDir(), "@attached", "mnt")
	if err := os.MkdirAll(above, 0o700); err != nil {
		return err
	}
	dir, err := os.MkdirTemp(above, "")
	if err != nil {
		return err
	}
	if err := os.Setenv(attachMountEnv, dir); err != nil {
		return err
	}
	process, err := runInBackground(m.a)
	if err != nil {
		return errors.Join(err, os.Remove(dir))
	}
	if m.process = attach.ProcessOf(process.Pid); m.process == nil {
		return errors.New("the process in the background is gone")
	}
	m.mountpoint = dir
	return nil
}

func (c *attachCmd) serve(a *app, ready *os.File) error {
	dir := os.Getenv(attachMountEnv)
	s, log, err := c.openInBackground(a, ready)
	if err != nil {
		return err
	}
	defer s.Close()
	signals := catchSignals()
	defer signals.stop()
	server, err := mountTree(a, dir, fusefs.Config{
		Scan:     lvmScan(s.Result()),
		Rescan:   func() (*lvm2.Scan, []string, error) { return s.rescan(a) },
		ReadOnly: c.ReadOnly,
		FSName:   "lvm2fs",
		Logger:   a.log,

		AttrTimeout:  defaultAttrTimeout,
		BlockDevices: true,
	})
	if err != nil {
		return err
	}
	if err := detach(a, ready, log); err != nil {
		return errors.Join(err, server.ForceUnmount())
	}
	return attend(a, server, signals, dir, 0)
}

// isAttached says whether the device of an entry is there.
func isAttached(e *attach.Entry) bool {
	_, err := os.Stat(e.Device)
	return err == nil
}

func detachEntry(a *app, st *attach.State, e *attach.Entry) error {
	if err := hdiutil.Detach(e.Device); err != nil {
		users := usersOfDevice(e.Device)
		return fmt.Errorf("%s: %w (%s)", e.LV, err, strings.Join(users, ", "))
	}
	st.Remove(e)
	err := st.Save()
	if len(st.Served(e.Process)) == 0 {
		err = errors.Join(err, endMount(a, e.Process, e.Mountpoint))
	}
	return err
}

// endMount unmounts, and returns when the process behind the mount has ended.
func endMount(a *app, p *attach.PID, dir string) error {
	err := umountPatiently(dir)
	if err != nil && p.Alive() {
		return wrapUmount(dir, err)
	}
	if p.Alive() {
		awaitEnd(a, watch(p.Number))
	}
	return os.Remove(dir)
}

func takeAway(_ *attach.State, e *attach.Entry) error { return hdiutil.Detach(e.Device) }

// reloadAttached has each process read the metadata again. A device keeps the size that it was made with.
func reloadAttached(a *app, st *attach.State) error {
	var errs []error
	var done []string
	for _, e := range st.Entries {
		if e.Mountpoint == "" || slices.Contains(done, e.Mountpoint) {
			continue
		}
		done = append(done, e.Mountpoint)
		errs = append(errs, a.reload(e.Mountpoint))
	}
	return errors.Join(errs...)
}
