package cli

import (
	"errors"
	"fmt"
	"os"
	"time"

	"lvm2fs/cli/internal/copyout"
)

// checkStream refuses -o where it makes no sense, before anything is opened.
func (c *dumpCmd) checkStream(a *app) error {
	switch {
	case c.Output != "-":
		return usagef("-o %s: only - is known, for standard output; -C says where files go", c.Output)
	case len(c.LV) != 1:
		return usagef("-o - writes one LV: exactly one --lv says which")
	case a.stdoutTerminal:
		return usagef("-o -: standard output is a terminal, which is not for the bytes of an LV")
	}
	return nil
}

// stream writes the only LV of d to standard output. Signals end the program as usual: there is nothing to
// leave in order.
func (d *dump) stream() error {
	lv := d.lvs[0]
	if err := d.checkStdout(); err != nil {
		return err
	}
	v, _, err := d.overlays.openLV(lv)
	if err != nil {
		return fmt.Errorf("%w: %w; nothing was written", errIncomplete, err)
	}
	var progress func(int64)
	if d.stderrTerminal {
		m := &meter{w: d.stderr, now: time.Now, title: lvPath(lv), size: v.Size()}
		defer m.finish()
		progress = m.set
	}
	n, err := copyout.Stream(d.stdout, v, progress)
	if f, ok := d.stdout.(*os.File); ok && err == nil {
		err = f.Close() // some file systems tell only now
	}
	switch {
	case errors.Is(err, copyout.ErrLost):
		return fmt.Errorf("%w: %s: byte %d %w; the output ends there, and its %d of %d bytes are good", errIncomplete, lvPath(lv), n, err, n, v.Size())
	case err != nil:
		return fmt.Errorf("%s: %w; %d of %d bytes were written", lvPath(lv), err, n, v.Size())
	}
	return nil
}

// checkStdout refuses to write over what is read.
func (d *dump) checkStdout() error {
	f, ok := d.stdout.(*os.File)
	if !ok {
		return nil
	}
	info, err := f.Stat()
	if err != nil {
		return err
	}
	for _, device := range d.protected {
		if os.SameFile(info, device) {
			return fmt.Errorf("standard output is %s, which would be overwritten", device.Name())
		}
	}
	return nil
}
