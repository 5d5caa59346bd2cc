package dm

import (
	"errors"
	"sync"
	"sync/atomic"
)

// once is like sync.OnceValues, but calls f again if a device failed, because that may pass. Once there is a value, or
// another error, calls take no lock.
func once[T any](f func() (T, error)) func() (T, error) {
	type result struct {
		value T
		err   error
	}
	var mu sync.Mutex
	var done atomic.Pointer[result]
	return func() (T, error) {
		if r := done.Load(); r != nil {
			return r.value, r.err
		}
		mu.Lock()
		defer mu.Unlock()
		if r := done.Load(); r != nil {
			return r.value, r.err
		}
		value, err := f()
		if !errors.Is(err, ErrDevice) {
			done.Store(&result{value, err})
		}
		return value, err
	}
}
