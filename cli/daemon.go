package cli

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"lvm2fs/fusefs"
)

// logDestination is where a mount logs once it answers.
type logDestination struct {
	file   *os.File   // nil for none
	syslog *systemLog // nil for none
}

func (c *mountCmd) openLog(a *app, background bool) (logDestination, error) {
	if c.Debug {
		a.logTo.level.Set(slog.LevelDebug)
	}
	return openLog(a, c.LogFile, background)
}

func openLog(a *app, name string, background bool) (logDestination, error) {
	// Libraries log by the standard logger.
	slog.SetDefault(a.log)
	if name == "" {
		if !background {
			return logDestination{}, nil
		}
		return logDestination{syslog: newSystemLog()}, nil
	}
	path, err := filepath.Abs(name)
	if err != nil {
		return logDestination{}, err
	}
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o640)
	if err != nil {
		return logDestination{}, fmt.Errorf("log file: %w", err)
	}
	return logDestination{file: file}, nil
}

// use has the log go there from now on. It warns if the system has no log now; at boot the log may come after the mount.
func (d logDestination) use(a *app) {
	switch {
	case d.file != nil:
		a.logTo.switchTo(toFile(d.file))
	case d.syslog != nil:
		if !d.syslog.there() {
			a.warnf("the system has no log now; unless one is started, what this mount has to say is lost: --log-file FILE keeps it")
		}
		a.logTo.switchTo(d.syslog.write)
	}
}

// signals are what a mount listens to.
type signals struct {
	end    chan os.Signal // INT, TERM
	reload chan os.Signal // HUP
}

func catchSignals() signals {
	s := signals{end: make(chan os.Signal, 3), reload: make(chan os.Signal, 1)}
	signal.Notify(s.end, syscall.SIGINT, syscall.SIGTERM)
	signal.Notify(s.reload, syscall.SIGHUP)
	return s
}

func (s signals) stop() {
	signal.Stop(s.end)
	signal.Stop(s.reload)
}

// attend obeys signals until the mount is gone. Nothing here waits for the mount while
// it should listen: a device that hangs must not keep a second signal from being heard.
// A tree that was not used for as long as idle, if that is not 0, is unmounted.
func attend(a *app, server *fusefs.Server, signals signals, mountpoint string, idle time.Duration) error {
	var unused <-chan time.Time
	if idle > 0 {
		unused = time.After(idle)
	}
	gone := make(chan struct{})
	go func() {
		server.Wait()
		close(gone)
	}()
	var unmounting sync.WaitGroup
	for asked := 0; ; {
		select {
		case <-gone:
			// A forced end of the mount comes before it is out of its directory.
			unmounting.Wait()
			a.log.Info("unmounted", "mountpoint", mountpoint)
			return nil
		case <-unused:
			rest := idle - server.UnusedFor()
			if rest <= 0 {
				// A process in a directory of the mount uses it too. Trying again finds that out.
				unmounting.Go(func() { unmountUnused(a, server, mountpoint) })
				rest = idle
			}
			unused = time.After(rest)
		case <-signals.reload:
			go func() { _ = server.Reload() }() // which logs what came of it
		case <-signals.end:
			asked++
			switch asked {
			case 1:
				unmounting.Go(func() { unmount(a, server, mountpoint) })
			case 2:
				a.log.Warn("unmounting although it is in use", "mountpoint", mountpoint)
				unmounting.Go(func() {
					if err := server.ForceUnmount(); err != nil {
						a.log.Error("unmounting failed", "mountpoint", mountpoint, "err", err)
					}
				})
			default:
				return fmt.Errorf("%s: ended by a third signal before unmounting was done", mountpoint)
			}
		}
	}
}

func unmount(a *app, server *fusefs.Server, mountpoint string) {
	err := server.Unmount()
	switch {
	case errors.Is(err, syscall.EBUSY):
		a.log.Warn("busy, not unmounted; a second signal unmounts it all the same",
			"mountpoint", mountpoint, "used_by", strings.Join(usersOf(mountpoint), ", "))
	case err != nil:
		a.log.Error("unmounting failed", "mountpoint", mountpoint, "err", err)
	}
}

func unmountUnused(a *app, server *fusefs.Server, mountpoint string) {
	if err := server.Unmount(); err != nil && !errors.Is(err, syscall.EBUSY) {
		a.log.Error("unused, but unmounting failed", "mountpoint", mountpoint, "err", err)
	}
}
