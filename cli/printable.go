package cli

import fit "lvm2fs/internal/printable"

// printable is text that may come from a disk, fit for a terminal.
func printable(s string) string { return fit.Text(s) }
