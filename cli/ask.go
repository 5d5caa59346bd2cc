package cli

import (
	"encoding/binary"
	"errors"
	"io"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/term"

	"lvm2fs/internal/secret"
)

// person is who sits at the terminal of this process, whatever its standard input is.
type person struct{ stdin io.Reader }

func (p person) standardInput() (*secret.Bytes, error) { return readSecret(p.stdin) }

func (p person) passphrase(question string) (*secret.Bytes, error) {
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return nil, errNoTerminal
	}
	fd := int(tty.Fd())
	before, err := term.GetState(fd)
	if err != nil {
		tty.Close()
		return nil, errNoTerminal
	}
	// A signal must not leave the terminal without echo.
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(ended)
	type line struct {
		text []byte
		err  error
	}
	typed := make(chan line, 1)
	if _, err := io.WriteString(tty, question); err != nil {
		tty.Close()
		return nil, errNoTerminal
	}
	go func() {
		text, err := term.ReadPassword(fd)
		typed <- line{text, err}
	}()
	select {
	case <-ended:
		_ = term.Restore(fd, before)
		_, _ = io.WriteString(tty, "\n")
		// The terminal stays open: ReadPassword goes on with it until the process ends.
		return nil, errInterrupted
	case l := <-typed:
		_, _ = io.WriteString(tty, "\n")
		tty.Close()
		if l.err != nil && !errors.Is(l.err, io.EOF) {
			return nil, l.err
		}
		return secret.Move(l.text)
	}
}

var errInterrupted = errors.New("interrupted")

// A background process asks the one that the user waits for, by the descriptor on which it
// says that the mount answers: one byte, and for a question its length and its text. The
// answer is one byte for success, a length, and the bytes.
const (
	saysReady       = 1
	asksPassphrase  = 2
	asksInput       = 3
	answerGood      = 0
	answerFailed    = 1
	answerNobody    = 2
	maxQuestion     = 64 << 10
	lengthOfMessage = 4
)

// remote is the asker of a background process.
type remote struct{ conn io.ReadWriter }

func (r remote) passphrase(question string) (*secret.Bytes, error) {
	return r.ask(asksPassphrase, question)
}

func (r remote) standardInput() (*secret.Bytes, error) { return r.ask(asksInput, "") }

func (r remote) ask(kind byte, question string) (*secret.Bytes, error) {
	message := binary.BigEndian.AppendUint32([]byte{kind}, uint32(len(question)))
	if _, err := r.conn.Write(append(message, question...)); err != nil {
		return nil, err
	}
	var head [1 + lengthOfMessage]byte
	if _, err := io.ReadFull(r.conn, head[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(head[1:])
	if n > maxKeyFile {
		return nil, errors.New("an answer that is too long")
	}
	answer, err := secret.New(int(n))
	if err != nil {
		return nil, err
	}
	if _, err := io.ReadFull(r.conn, answer.Bytes()); err != nil {
		answer.Wipe()
		return nil, err
	}
	if head[0] == answerGood {
		return answer, nil
	}
	defer answer.Wipe()
	if head[0] == answerNobody {
		return nil, errNoTerminal
	}
	return nil, errors.New(string(answer.Bytes()))
}

// attendChild answers the questions of a background process until it is ready, and says
// whether it came to that.
func attendChild(conn io.ReadWriter, ask asker) bool {
	for {
		var kind [1]byte
		if _, err := io.ReadFull(conn, kind[:]); err != nil {
			return false
		}
		if kind[0] == saysReady {
			return true
		}
		var length [lengthOfMessage]byte
		if _, err := io.ReadFull(conn, length[:]); err != nil {
			return false
		}
		n := binary.BigEndian.Uint32(length[:])
		if n > maxQuestion {
			return false
		}
		question := make([]byte, n)
		if _, err := io.ReadFull(conn, question); err != nil {
			return false
		}
		var answer *secret.Bytes
		var err error
		switch kind[0] {
		case asksPassphrase:
			answer, err = ask.passphrase(string(question))
		case asksInput:
			answer, err = ask.standardInput()
		default:
			return false
		}
		err = sendAnswer(conn, answer, err)
		answer.Wipe()
		if err != nil {
			return false
		}
	}
}

func sendAnswer(conn io.Writer, answer *secret.Bytes, failure error) error {
	status, text := byte(answerGood), answer.Bytes()
	switch {
	case errors.Is(failure, errNoTerminal):
		status, text = answerNobody, nil
	case failure != nil:
		status, text = answerFailed, []byte(failure.Error())
	}
	_, err := conn.Write(binary.BigEndian.AppendUint32([]byte{status}, uint32(len(text))))
	if err == nil && len(text) > 0 {
		_, err = conn.Write(text)
	}
	return err
}
