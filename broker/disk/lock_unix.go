//go:build unix

package disk

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// Lock keeps other processes out of dir until it is closed or this process ends.
// It returns an error wrapping ErrLocked when another has it. The file dir/.lock
// stays: removing it would let two processes hold locks on two files of one name.
func Lock(dir string) (io.Closer, error) {
	f, err := os.OpenFile(filepath.Join(dir, ".lock"), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	return flock(f, dir, syscall.LOCK_EX)
}

// LockToRead is Lock for who only looks, and writes nothing: it shares the lock
// with others of its kind. Without a file dir/.lock nobody has dir, and it returns
// one that there is nothing to let go of.
func LockToRead(dir string) (io.Closer, error) {
	f, err := os.Open(filepath.Join(dir, ".lock"))
	if errors.Is(err, fs.ErrNotExist) {
		return io.NopCloser(nil), nil
	}
	if err != nil {
		return nil, err
	}
	return flock(f, dir, syscall.LOCK_SH)
}

func flock(f *os.File, dir string, how int) (io.Closer, error) {
	err := syscall.Flock(int(f.Fd()), how|syscall.LOCK_NB)
	if err == nil {
		return f, nil
	}
	f.Close()
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, fmt.Errorf("%s: %w", dir, ErrLocked)
	}
	return nil, fmt.Errorf("lock %s: %w", dir, err)
}
