package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"lvm2fs/attach"
	"lvm2fs/blockdev"
	"lvm2fs/lvm2"
	"lvm2fs/mapping"
)

// reloadAttached reads the metadata of all that is attached again.
func reloadAttached(a *app, st *attach.State) error {
	var errs []error
	reloaded := map[attach.PID]error{}
	sessions := map[string]*session{}
	defer func() {
		for _, s := range sessions {
			if s != nil {
				s.Close()
			}
		}
	}()
	for _, e := range st.Entries {
		var err error
		switch e.Way {
		case attach.Direct:
			err = reloadDirect(a, e, sessions)
		case attach.Mounted:
			err = reloadMounted(a, e, reloaded)
		}
		errs = append(errs, err)
	}
	return errors.Join(append(errs, st.Save())...)
}

// reloadMounted has the process of an entry read the metadata, once, and fits the device to the file.
func reloadMounted(a *app, e *attach.Entry, reloaded map[attach.PID]error) error {
	if !e.Process.Alive() {
		return fmt.Errorf("%s: the process behind it is gone: lvm2fs detach %[1]s", e.LV)
	}
	if _, done := reloaded[*e.Process]; !done {
		reloaded[*e.Process] = a.reload(privateRoot(e.Process))
		if err := reloaded[*e.Process]; err != nil {
			return err
		}
	}
	if reloaded[*e.Process] != nil {
		return nil // said once
	}
	if !isShown(e) {
		return lose(e, "is gone")
	}
	if err := attach.Refit(e.Device); err != nil {
		return err
	}
	return resized(a, e)
}

// isShown says whether the private mount still has a file of the LV of an entry, by whatever name.
func isShown(e *attach.Entry) bool {
	files, _ := filepath.Glob(privateRoot(e.Process) + "/*/*")
	return slices.ContainsFunc(files, func(file string) bool { return uuidOf(file) == e.LVUUID })
}

// lose notes that the device of an entry is no longer that of its LV.
func lose(e *attach.Entry, why string) error {
	e.Lost = true
	return fmt.Errorf("%s %s: all that uses %s gets errors from now on", e.LV, why, e.Device)
}

// resized says what has become of a device's size.
func resized(a *app, e *attach.Entry) error {
	size, err := attach.Size(e.Device)
	if err != nil {
		return err
	}
	e.Lost = false
	if size == e.Size {
		return nil
	}
	word := "grown"
	if size < e.Size {
		word = "shrunk"
	}
	a.log.Info(fmt.Sprintf("%s (%s) has %s from %d to %d bytes", e.LV, e.Device, word, e.Size, size))
	e.Size = size
	return nil
}

// nowhere is an offset at which no file has a byte.
const nowhere = 1 << 62

// reloadDirect has the device of an entry cover what the metadata say now.
func reloadDirect(a *app, e *attach.Entry, sessions map[string]*session) error {
	s, err := sessionOf(a, e, sessions)
	if err != nil {
		return fmt.Errorf("%s stays as it is: %w", e.LV, err)
	}
	lv := lvWith(s.Result().VGs, e.VGUUID, e.LVUUID)
	if lv == nil {
		return errors.Join(attach.Resize(e.Device, nowhere, 512), lose(e, "is gone"))
	}
	run, ok := attach.Contiguous(lv)
	d, isDisk := run.Device.(*blockdev.Device)
	switch {
	case ok && isDisk && run.Offset == e.Offset && onSame(e, d):
		if err := attach.Resize(e.Device, run.Offset, run.Length); err != nil {
			return err
		}
		return resized(a, e)
	case !ok && stillStarts(lv, e):
		return fmt.Errorf("%s has grown, but is in pieces now: %s stays as it is; detach it and attach it again", e.LV, e.Device)
	}
	return errors.Join(attach.Resize(e.Device, nowhere, 512), lose(e, "lies elsewhere now"))
}

// stillStarts says whether the bytes that an entry's device has are the first of the LV.
func stillStarts(lv *lvm2.LV, e *attach.Entry) bool {
	run, ok := attach.Beginning(lv, e.Size)
	d, isDisk := run.Device.(*blockdev.Device)
	return ok && isDisk && run.Offset == e.Offset && onSame(e, d)
}

// onSame says whether an entry is of this file or disk.
func onSame(e *attach.Entry, d *blockdev.Device) bool {
	return e.On == attach.IDOf(d.Info())
}

// sessionOf opens the devices of an entry as when it was attached, once for each command line.
func sessionOf(a *app, e *attach.Entry, sessions map[string]*session) (*session, error) {
	key := fmt.Sprintf("%q %q", e.Dir, e.Command)
	if s, ok := sessions[key]; ok {
		if s == nil {
			return nil, errors.New("its metadata cannot be read")
		}
		return s, nil
	}
	sessions[key] = nil
	c, err := commandOf(e)
	if err != nil {
		return nil, err
	}
	c.ours = func(mapping.Device) bool { return true }
	if err := os.Chdir(e.Dir); err != nil {
		return nil, err
	}
	s, err := openDevices(a, c.Devices, c.deviceOptions)
	if err != nil {
		return nil, err
	}
	sessions[key] = s
	return s, nil
}
