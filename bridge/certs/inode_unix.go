//go:build unix

package certs

import (
	"os"
	"syscall"
)

// inode tells a file from another of the same size and age that took its name.
func inode(info os.FileInfo) uint64 {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return stat.Ino
	}
	return 0
}
