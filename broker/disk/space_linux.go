package disk

import (
	"fmt"
	"syscall"
)

// Free asks the kernel; blocks that are kept for root are not among them.
func (OS) Free(path string) (freeBytes int64, err error) {
	st, err := statfs(path)
	return int64(st.Bavail) * int64(st.Bsize), err
}

// Capacity asks the kernel; it is all blocks, those that are kept for root too.
func (OS) Capacity(path string) (bytes int64, err error) {
	st, err := statfs(path)
	return int64(st.Blocks) * int64(st.Bsize), err
}

func statfs(path string) (st syscall.Statfs_t, err error) {
	if err := syscall.Statfs(path, &st); err != nil {
		return syscall.Statfs_t{}, fmt.Errorf("statfs %s: %w", path, err)
	}
	return st, nil
}
