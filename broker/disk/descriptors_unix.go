//go:build unix

package disk

import (
	"math"
	"syscall"
)

// MaxOpenFiles is how many files the process may have open, 0 when that is not
// known. (The runtime has raised the soft limit to the hard one.)
func MaxOpenFiles() int {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 0
	}
	return int(min(uint64(limit.Cur), math.MaxInt32))
}
