//go:build !linux

package cli

// defaultAttrTimeout lets the kernel keep no attributes: whether an answer under way outlives a reload is not known
// here.
const defaultAttrTimeout = 0
