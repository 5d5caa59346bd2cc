package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"lvm2fs/blockdev"
	"lvm2fs/internal/secret"
	"lvm2fs/scan"
)

// keyOptions are the flags, of every command, about LUKS containers.
type keyOptions struct {
	KeyFile    []string `name:"key-file" sep:"none" placeholder:"[DEVICE=]FILE" help:"Open LUKS containers, those on DEVICE or all, with the exact bytes of FILE; - is standard input."`
	KeySlot    []string `name:"key-slot" sep:"none" placeholder:"[DEVICE=]N" help:"Try only key slot N of LUKS containers, those on DEVICE or all."`
	LUKSHeader []string `name:"luks-header" sep:"none" placeholder:"DEVICE=FILE" help:"The LUKS header of DEVICE is in FILE."`
}

// errNoTerminal: there is nobody to ask.
var errNoTerminal error = noTerminal{}

type noTerminal struct{}

func (noTerminal) Error() string {
	return "no terminal to ask for its passphrase on; --key-file names a file with it"
}

func (noTerminal) Is(target error) bool { return target == scan.ErrNobody }

// asker is where passphrases come from that are in no file.
type asker interface {
	// passphrase asks a person. It fails with errNoTerminal where there is none.
	passphrase(question string) (*secret.Bytes, error)
	// standardInput is all of it.
	standardInput() (*secret.Bytes, error)
}

// keyring is what can open containers, for as long as devices are being opened.
type keyring struct {
	ask     asker // nil once they are
	secrets []*secret.Bytes

	warnings []error
}

// maxKeyFile is more than cryptsetup takes.
const maxKeyFile = 8 << 20

func parseSlots(args, devices []string) (all []scan.KeySlot, err error) {
	for _, arg := range args {
		device, number := cutDevice(arg, devices)
		n, err := strconv.ParseUint(number, 10, 8)
		if err != nil {
			return nil, usagef("--key-slot %s: %q is not the number of a key slot", arg, number)
		}
		all = append(all, scan.KeySlot{Device: device, Slot: uint8(n)})
	}
	return all, nil
}

func parseHeaders(args, devices []string) (all []scan.LUKSHeader, err error) {
	for _, arg := range args {
		device, file := cutDevice(arg, devices)
		if device == "" {
			return nil, usagef("--luks-header %s: not DEVICE=FILE with one of the DEVICEs", arg)
		}
		all = append(all, scan.LUKSHeader{Device: device, Path: file})
	}
	return all, nil
}

// read reads key files. devices are the DEVICE arguments of the command.
func (k *keyring) read(args, devices []string) (all []scan.Key, err error) {
	var fromInput *secret.Bytes
	for _, arg := range args {
		device, file := cutDevice(arg, devices)
		var key *secret.Bytes
		var err error
		switch {
		case file == "-" && fromInput != nil:
			key = fromInput
		case file == "-":
			key, err = k.ask.standardInput()
			fromInput = key
		default:
			key, err = k.readKeyFile(file)
		}
		if err != nil {
			return nil, fmt.Errorf("key file %s: %w", file, withoutPath(err))
		}
		all = append(all, scan.Key{Device: device, Bytes: k.keep(key)})
	}
	return all, nil
}

// keep keeps a secret until wipe, out of core dumps too: so do the ciphers with what they make of it.
func (k *keyring) keep(s *secret.Bytes) []byte {
	withoutCoreDumps()
	k.secrets = append(k.secrets, s)
	return s.Bytes()
}

// passphrase asks whoever knows; see [scan.Options].
func (k *keyring) passphrase(_ context.Context, q scan.Question) ([]byte, error) {
	if k.ask == nil {
		return nil, errors.New("unmount and mount again to give its passphrase")
	}
	question := fmt.Sprintf("Passphrase for %s: ", printable(q.Device))
	if q.Slot != "" {
		question = fmt.Sprintf("Passphrase for key slot %s of %s: ", q.Slot, printable(q.Device))
	}
	if q.Try > 0 {
		question = "It does not fit. " + question
	}
	typed, err := k.ask.passphrase(question)
	if err != nil {
		return nil, err
	}
	return k.keep(typed), nil
}

// cutDevice splits [DEVICE=]VALUE. Both may have a = in them: DEVICE is one of devices, or
// something that lies on one, "disk.img (partition 2)". "" if it is neither.
func cutDevice(arg string, devices []string) (device, value string) {
	for i := range len(arg) {
		if arg[i] != '=' {
			continue
		}
		for _, d := range devices {
			if blockdev.SamePath(arg[:i], d) {
				return d, arg[i+1:]
			}
			if rest, ok := strings.CutPrefix(arg[:i], d); ok && strings.HasPrefix(rest, " ") {
				return arg[:i], arg[i+1:]
			}
		}
	}
	return "", arg
}

// readKeyFile reads a key file, and warns if it is not its owner's alone.
func (k *keyring) readKeyFile(path string) (*secret.Bytes, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if mode := info.Mode(); mode.IsRegular() && mode.Perm()&0o077 != 0 {
		k.warnings = append(k.warnings, fmt.Errorf("key file %s: others than its owner can use it (mode %04o); chmod go= takes that from them", path, mode.Perm()))
	}
	return readSecret(f)
}

// readSecret reads all of r, and leaves no copy behind.
func readSecret(r io.Reader) (*secret.Bytes, error) {
	whole, err := secret.New(maxKeyFile + 1)
	if err != nil {
		return nil, err
	}
	defer whole.Wipe()
	n, err := io.ReadFull(r, whole.Bytes())
	switch {
	case err == nil:
		return nil, fmt.Errorf("more than %d bytes", maxKeyFile)
	case err != io.EOF && err != io.ErrUnexpectedEOF:
		return nil, err
	}
	return secret.Move(whole.Bytes()[:n])
}

func withoutPath(err error) error {
	var p *os.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

// wipe forgets all keys. Nobody is asked for more.
func (k *keyring) wipe() {
	for _, s := range k.secrets {
		s.Wipe()
	}
	k.secrets, k.ask = nil, nil
}

// withoutCoreDumps keeps what the ciphers hold of keys from ending up in a file.
func withoutCoreDumps() {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_CORE, &limit); err == nil {
		limit.Cur = 0
		_ = unix.Setrlimit(unix.RLIMIT_CORE, &limit)
	}
}
