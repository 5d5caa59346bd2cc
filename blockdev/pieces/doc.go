// Package pieces reads a raw disk image that lies in several files, one after the other, as the tools of
// imaging and split(1) leave it.
//
// Which files belong together is read from their names, and nothing in them can confirm it. So what does not
// fit is an error: a name that is missing between others, two names that could come next, or sizes that no
// tool makes (all pieces but the last are of one size, and the last is no larger).
package pieces
