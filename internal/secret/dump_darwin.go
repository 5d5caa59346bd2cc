package secret

// undumped: macOS writes no core dumps unless told to, and then of everything.
func undumped([]byte) error { return nil }
