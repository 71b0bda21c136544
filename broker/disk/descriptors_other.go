//go:build !unix

package disk

// MaxOpenFiles is how many files the process may have open, 0 when that is not
// known.
func MaxOpenFiles() int { return 0 }
