package cli

import (
	"encoding/json"
	"io"
)

// writeJSON writes a value for programs, and for people who look at it.
func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(v)
}
