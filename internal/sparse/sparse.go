// Package sparse finds the holes of files.
package sparse
