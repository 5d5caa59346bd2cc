package luks

import "errors"

var (
	// ErrPassphrase: none of the keys opens the container.
	ErrPassphrase = errors.New("no key slot opens with the passphrase given")
	// ErrSlot: the key slot that was asked for holds no key of the container's data.
	ErrSlot = errors.New("key slot not in use")
	// ErrNoHeader: there is no LUKS header on the device.
	ErrNoHeader = errors.New("no LUKS header")
	// ErrHeader: there is a header, but it is damaged or makes no sense.
	ErrHeader = errors.New("damaged LUKS header")
	// ErrDetached: the header is that of a container on another device.
	ErrDetached = errors.New("a detached LUKS header, whose payload is on another device")
	// ErrUnsupported: the container is of a kind that is not opened.
	ErrUnsupported = errors.New("not supported")
)

// errIgnored: a slot of LUKS2 that its owner wants to be left alone.
var errIgnored = errors.New(`its priority is "ignore": it is tried only if it is asked for`)
