package cli

import (
	"bytes"
	"errors"
	"log/syslog"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A mount at boot may come before the system's log.
func TestWhereThereIsNoSystemLogAMountSaysSoAndFindsItLater(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "log")
	l := &systemLog{connect: func() (*syslog.Writer, error) {
		return syslog.Dial("unixgram", socket, syslog.LOG_DAEMON|syslog.LOG_INFO, "lvm2fs")
	}}
	var stderr bytes.Buffer
	a := newApp(nil, strings.NewReader(""), &stderr, &stderr)
	logDestination{syslog: l}.use(a)
	if said := stderr.String(); !strings.Contains(said, "--log-file") || strings.Count(said, "\n") != 1 {
		t.Errorf("without a log: %q", said)
	}
	a.log.Info("lost")

	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	stderr.Reset()
	a.warnf("%w", errors.New("the disk is hot"))
	message := make([]byte, 1000)
	if err := conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	n, err := conn.Read(message)
	if got := string(message[:n]); err != nil || !strings.HasPrefix(got, "<28>") || !strings.HasSuffix(got, "the disk is hot\n") {
		t.Errorf("the log got %q, %v", got, err)
	}

	if (logDestination{syslog: l}).use(a); stderr.Len() > 0 {
		t.Errorf("with a log: %q", stderr.String())
	}
}
