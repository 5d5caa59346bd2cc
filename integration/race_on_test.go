//go:build race

package integration

// Under the race detector the program under test has it too.
var buildFlags = []string{"-race"}
