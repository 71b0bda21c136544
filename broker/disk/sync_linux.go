package disk

import (
	"os"
	"syscall"
)

// Sync is fdatasync, which leaves out the times of the file and so, when the
// size did not change, a write of the file system's journal.
func (f osFile) Sync() error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var syncErr error
	err = conn.Control(func(fd uintptr) { // holds the descriptor against a Close meanwhile
		for {
			if syncErr = syscall.Fdatasync(int(fd)); syncErr != syscall.EINTR {
				return
			}
		}
	})
	if err != nil {
		return err
	}
	return os.NewSyscallError("fdatasync", syncErr)
}
