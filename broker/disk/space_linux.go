package disk

import (
	"fmt"
	"syscall"
)

// Free asks the kernel; blocks that are kept for root are not among them.
func (OS) Free(path string) (freeBytes int64, err error) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(path, &st); err != nil {
		return 0, fmt.Errorf("statfs %s: %w", path, err)
	}
	return int64(st.Bavail) * int64(st.Bsize), nil
}
