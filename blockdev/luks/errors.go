package luks

import "errors"

var (
	// ErrPassphrase: none of the keys opens the container.
	ErrPassphrase = errors.New("no key slot opens with the passphrase given")
	// ErrNoHeader: there is no LUKS header on the device.
	ErrNoHeader = errors.New("no LUKS header")
	// ErrHeader: there is a header, but it is damaged or makes no sense.
	ErrHeader = errors.New("damaged LUKS header")
	// ErrDetached: the header is that of a container on another device.
	ErrDetached = errors.New("a detached LUKS header, whose payload is on another device")
	// ErrUnsupported: the container is of a kind that is not opened.
	ErrUnsupported = errors.New("not supported")
)
