package mapping

// Fault is a device that failed an access: the part of an error that tells one failing place from another.
type Fault struct {
	Device string // its name
	Offset int64  // the first byte that could not be accessed
	Err    error  // what to say, with name and offset
}

func (f *Fault) Error() string { return f.Err.Error() }
func (f *Fault) Unwrap() error { return f.Err }
