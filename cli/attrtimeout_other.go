//go:build !linux

package cli

// defaultAttrTimeout lets the kernel keep no attributes: on these systems it is not known whether an answer under way
// outlives a reload.
const defaultAttrTimeout = 0
