package scan

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"lvm2fs/layers/luks"
	"lvm2fs/mapping"
)

// errLocked is wrapped by errors of containers for which no passphrase was given.
var errLocked = errors.New("it is locked")

// keyring is what can open containers, for as long as devices are being opened.
type keyring struct {
	ask   func(context.Context, Question) ([]byte, error)
	keys  []Key
	keep  bool // keys, when others are forgotten
	slots []KeySlot
	typed [][]byte // and did open something
}

// forget forgets what was typed, and the keys.
func (k *keyring) forget() {
	for _, typed := range k.typed {
		clear(typed)
	}
	k.typed = nil
	if !k.keep {
		k.keys = nil
	}
}

// tries is how often a person may mistype.
const tries = 3

// open opens a container: with the keys for its device, or else with those for all and
// with what opened another, or else with what is asked for.
func (k *keyring) open(ctx context.Context, dev mapping.Device, opts luks.Options) (mapping.Device, error) {
	keys, own := k.keysFor(dev)
	opts.Slot = k.slotFor(dev)
	c, err := luks.Open(ctx, dev, keys, opts)
	if err == nil {
		return c, nil
	}
	if !errors.Is(err, luks.ErrPassphrase) || own {
		return nil, err
	}
	if k.ask == nil {
		if len(keys) > 0 {
			return nil, err
		}
		return nil, fmt.Errorf("%s: %w", dev.Name(), errLocked)
	}
	for try := range tries {
		typed, asked := k.ask(ctx, Question{Device: dev.Name(), Slot: opts.Slot, Try: try})
		switch {
		case errors.Is(asked, ErrNobody) && len(keys) > 0:
			return nil, err
		case asked != nil:
			return nil, fmt.Errorf("%s: %w: %w", dev.Name(), errLocked, asked)
		case len(typed) == 0:
			return nil, err
		}
		if c, err = luks.Open(ctx, dev, [][]byte{typed}, opts); err == nil {
			k.typed = append(k.typed, typed)
			return c, nil
		}
		clear(typed)
		if !errors.Is(err, luks.ErrPassphrase) {
			break
		}
	}
	return nil, err
}

// keysFor returns the keys to try on dev, and whether they are for it alone.
func (k *keyring) keysFor(dev mapping.Device) (keys [][]byte, own bool) {
	for _, key := range k.keys {
		if key.Device != "" && liesOn(dev, key.Device) {
			keys = append(keys, key.Bytes)
		}
	}
	if len(keys) > 0 {
		return keys, true
	}
	for _, key := range k.keys {
		if key.Device == "" {
			keys = append(keys, key.Bytes)
		}
	}
	return append(keys, k.typed...), false
}

// slotFor is the last slot that was chosen for dev, or else for all; "" for any.
func (k *keyring) slotFor(dev mapping.Device) (name string) {
	own := false
	for _, s := range k.slots {
		mine := s.Device != "" && liesOn(dev, s.Device)
		if mine || s.Device == "" && !own {
			name, own = strconv.Itoa(int(s.Slot)), own || mine
		}
	}
	return name
}
