package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"lvm2fs/internal/secret"
	"lvm2fs/layers/luks"
	"lvm2fs/mapping"
)

// keyOptions are the flags, of every command, about LUKS containers.
type keyOptions struct {
	KeyFile    []string `name:"key-file" sep:"none" placeholder:"[DEVICE=]FILE" help:"Open LUKS containers, those on DEVICE or all, with the exact bytes of FILE; - is standard input."`
	KeySlot    []string `name:"key-slot" sep:"none" placeholder:"[DEVICE=]N" help:"Try only key slot N of LUKS containers, those on DEVICE or all."`
	LUKSHeader []string `name:"luks-header" sep:"none" placeholder:"DEVICE=FILE" help:"The LUKS header of DEVICE is in FILE."`
}

// errNoTerminal: there is nobody to ask.
var errNoTerminal = errors.New("no terminal to ask for its passphrase on; --key-file names a file with it")

// asker is where passphrases come from that are in no file.
type asker interface {
	// passphrase asks a person. It fails with errNoTerminal where there is none.
	passphrase(question string) (*secret.Bytes, error)
	// standardInput is all of it.
	standardInput() (*secret.Bytes, error)
}

// keyring is what can open containers, for as long as devices are being opened.
type keyring struct {
	ask   asker
	files []keyFile
	slots []keySlot
	typed []*secret.Bytes // and did open something

	warnings []error
}

// keyFile is one --key-file.
type keyFile struct {
	device string // "" for all
	key    *secret.Bytes
}

// keySlot is one --key-slot.
type keySlot struct {
	device string // "" for all
	name   string
}

// maxKeyFile is more than cryptsetup takes.
const maxKeyFile = 8 << 20

// newKeyring reads the key files. devices are the DEVICE arguments of the command.
func newKeyring(ask asker, opts keyOptions, devices []string) (*keyring, error) {
	k := &keyring{ask: ask}
	for _, arg := range opts.KeySlot {
		device, number := cutDevice(arg, devices)
		n, err := strconv.ParseUint(number, 10, 8)
		if err != nil {
			return nil, usagef("--key-slot %s: %q is not the number of a key slot", arg, number)
		}
		k.slots = append(k.slots, keySlot{device, strconv.FormatUint(n, 10)})
	}
	var fromInput *secret.Bytes
	for _, arg := range opts.KeyFile {
		device, file := cutDevice(arg, devices)
		var key *secret.Bytes
		var err error
		switch {
		case file == "-" && fromInput != nil:
			key = fromInput
		case file == "-":
			key, err = ask.standardInput()
			fromInput = key
		default:
			key, err = k.readKeyFile(file)
		}
		if err != nil {
			k.wipe()
			return nil, fmt.Errorf("key file %s: %w", file, withoutPath(err))
		}
		k.files = append(k.files, keyFile{device, key})
	}
	return k, nil
}

// cutDevice splits [DEVICE=]VALUE. Both may have a = in them: DEVICE is one of devices, or
// something that lies on one, "disk.img (partition 2)". "" if it is neither.
func cutDevice(arg string, devices []string) (device, value string) {
	for i := range len(arg) {
		if arg[i] != '=' {
			continue
		}
		for _, d := range devices {
			if samePlace(arg[:i], d) {
				return d, arg[i+1:]
			}
			if rest, ok := strings.CutPrefix(arg[:i], d); ok && strings.HasPrefix(rest, " ") {
				return arg[:i], arg[i+1:]
			}
		}
	}
	return "", arg
}

// samePlace says whether two paths lead to one file.
func samePlace(a, b string) bool {
	if filepath.Clean(a) == filepath.Clean(b) {
		return true
	}
	x, errX := os.Stat(a)
	y, errY := os.Stat(b)
	return errX == nil && errY == nil && os.SameFile(x, y)
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

// wipe forgets all keys.
func (k *keyring) wipe() {
	for _, f := range k.files {
		f.key.Wipe()
	}
	for _, s := range k.typed {
		s.Wipe()
	}
	k.files, k.typed, k.ask = nil, nil, nil
}

// tries is how often a person may mistype.
const tries = 3

// open opens a container: with the key files for its device, or else with those for all and
// with what opened another, or else with what a person types.
func (k *keyring) open(dev mapping.Device, opts luks.Options) (mapping.Device, error) {
	keys, own := k.keysFor(dev)
	opts.Slot = k.slotFor(dev)
	c, err := luks.Open(dev, keys, opts)
	if err == nil {
		withoutCoreDumps()
		return c, nil
	}
	if !errors.Is(err, luks.ErrPassphrase) || own {
		return nil, err
	}
	if k.ask == nil {
		return nil, fmt.Errorf("%s: it is locked; unmount and mount again to give its passphrase", dev.Name())
	}
	for try := range tries {
		question := fmt.Sprintf("Passphrase for %s: ", printable(dev.Name()))
		if opts.Slot != "" {
			question = fmt.Sprintf("Passphrase for key slot %s of %s: ", opts.Slot, printable(dev.Name()))
		}
		if try > 0 {
			question = "It does not fit. " + question
		}
		typed, asked := k.ask.passphrase(question)
		switch {
		case errors.Is(asked, errNoTerminal) && len(keys) > 0:
			return nil, err
		case asked != nil:
			return nil, fmt.Errorf("%s: it is locked: %w", dev.Name(), asked)
		case len(typed.Bytes()) == 0:
			return nil, err
		}
		if c, err = luks.Open(dev, [][]byte{typed.Bytes()}, opts); err == nil {
			k.typed = append(k.typed, typed)
			withoutCoreDumps()
			return c, nil
		}
		typed.Wipe()
		if !errors.Is(err, luks.ErrPassphrase) {
			break
		}
	}
	return nil, err
}

// keysFor returns the keys to try on dev, and whether they are for it alone.
func (k *keyring) keysFor(dev mapping.Device) (keys [][]byte, own bool) {
	for _, f := range k.files {
		if f.device != "" && liesOn(dev, f.device) {
			keys = append(keys, f.key.Bytes())
		}
	}
	if len(keys) > 0 {
		return keys, true
	}
	for _, f := range k.files {
		if f.device == "" {
			keys = append(keys, f.key.Bytes())
		}
	}
	for _, s := range k.typed {
		keys = append(keys, s.Bytes())
	}
	return keys, false
}

// slotFor is the last slot that was chosen for dev, or else for all; "" for any.
func (k *keyring) slotFor(dev mapping.Device) (name string) {
	for _, s := range k.slots {
		if s.device == "" {
			name = s.name
		}
	}
	for _, s := range k.slots {
		if s.device != "" && liesOn(dev, s.device) {
			name = s.name
		}
	}
	return name
}

// liesOn says whether dev is what the user calls device, or lies on that.
func liesOn(dev mapping.Device, device string) bool {
	if dev.Name() == device {
		return true
	}
	if file, ok := dev.(interface{ Path() string }); ok {
		return samePlace(file.Path(), device)
	}
	s, ok := dev.(mapping.Stacked)
	if !ok {
		return false
	}
	for _, d := range s.Beneath() {
		if liesOn(d, device) {
			return true
		}
	}
	return false
}

// withoutCoreDumps keeps what the ciphers hold of keys from ending up in a file.
func withoutCoreDumps() {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_CORE, &limit); err == nil {
		limit.Cur = 0
		_ = unix.Setrlimit(unix.RLIMIT_CORE, &limit)
	}
}
