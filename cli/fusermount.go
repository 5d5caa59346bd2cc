package cli

import (
	"fmt"
	"io"
	"os"
	"strings"

	"lvm2fs/fusefs"
)

// mountTree mounts. For an ordinary user fusermount does, and says what is wrong on
// standard error, from where it is fetched to become the error.
func mountTree(a *app, mountpoint string, config fusefs.Config) (*fusefs.Server, error) {
	said, err := catchStderr()
	if err != nil {
		return nil, err
	}
	server, err := fusefs.Mount(mountpoint, config)
	text := said()
	if err == nil {
		if text != "" {
			a.warnf("%s", text)
		}
		return server, nil
	}
	if text != "" {
		err = fmt.Errorf("mounting %s: %s", mountpoint, text)
	}
	if hint := mountHint(thisHost()); hint != "" {
		err = fmt.Errorf("%w; %s", err, hint)
	}
	return nil, err
}

// catchStderr catches what child processes print on standard error until the function
// that it returns is called. What this process prints by an [app] is not affected.
func catchStderr() (said func() string, err error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	stderr := os.Stderr
	os.Stderr = w
	caught := make(chan string)
	go func() {
		text, _ := io.ReadAll(r)
		_ = r.Close()
		caught <- strings.TrimSpace(string(text))
	}()
	return func() string {
		os.Stderr = stderr
		_ = w.Close()
		return <-caught
	}, nil
}
