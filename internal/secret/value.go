package secret

import (
	"reflect"
	"unsafe"
)

// MoveValue moves what v, a pointer to a struct, points to, such as the state of a cipher. It returns a pointer of
// the same type to the new place, which is valid until Bytes is wiped. The original is zeroed, so no other pointer
// to it may be in use. A struct that holds pointers itself stays where it is, and Bytes is nil.
func MoveValue[T any](v T) (T, *Bytes, error) {
	p := reflect.ValueOf(v)
	if p.Kind() != reflect.Pointer || p.IsNil() || hasPointers(p.Type().Elem()) {
		return v, nil, nil
	}
	old := p.Elem()
	pages, err := New(int(old.Type().Size()))
	if err != nil {
		return v, nil, err
	}
	moved := reflect.NewAt(old.Type(), unsafe.Pointer(unsafe.SliceData(pages.pages)))
	moved.Elem().Set(old)
	old.SetZero()
	return moved.Interface().(T), pages, nil
}

// hasPointers says whether values of the type lead to memory elsewhere.
func hasPointers(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Array:
		return hasPointers(t.Elem())
	case reflect.Struct:
		for i := range t.NumField() {
			if hasPointers(t.Field(i).Type) {
				return true
			}
		}
		return false
	}
	return t.Kind() > reflect.Complex128
}
