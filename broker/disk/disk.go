// Package disk is the few file operations whose order matters: what must be on
// stable storage before what; and what the machine below them says of its time. It
// knows nothing of records or logs.
//
// FS is what the rooms above write through. OS is the real file system; Crash is
// one in memory that loses power at a chosen operation; Dry shows what would be
// done to another and does none of it. All may be used from any goroutine. Sizes and positions are bytes.
//
// The package starts no goroutines, and imports golang.org/x/sys/unix beside the
// standard library.
package disk

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// FS is a file system. Names are paths as package os takes them. Creating,
// renaming and removing are certain to survive a power cut only after SyncDir of
// the directory that holds the name; bytes only after Sync of their file.
type FS interface {
	OpenFile(name string, flag int, perm fs.FileMode) (File, error)
	Rename(oldName, newName string) error
	Remove(name string) error
	RemoveAll(name string) error
	MkdirAll(name string, perm fs.FileMode) error
	ReadDir(name string) ([]fs.DirEntry, error)
	Stat(name string) (fs.FileInfo, error)
	SyncDir(name string) error
}

// File is an open file. There is no position: every read and write names its own.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Truncate(size int64) error
	// Sync returns once the bytes and the size are on stable storage. A failed
	// Sync is final: the kernel may have dropped the bytes, and would report the
	// next one as a success.
	Sync() error
	Size() (int64, error)
}

// ErrLocked is returned by Lock when another process has the directory.
var ErrLocked = errors.New("locked by another process")

// Unreadable reports whether err, of a read, is about the place that was read and
// not about the file: other places may be read.
func Unreadable(err error) bool {
	return slices.ContainsFunc(badBlock, func(bad error) bool { return errors.Is(err, bad) })
}

// WriteFile replaces path with data so that a power cut leaves the old file or
// the new one, never a part of either. It returns once the new file, and its
// name, are on stable storage.
func WriteFile(fsys FS, path string, data []byte) (err error) {
	tmp := path + ".tmp"
	defer func() {
		if err != nil {
			fsys.Remove(tmp) // what is left of it is written over next time
			err = fmt.Errorf("write %s: %w", path, err)
		}
	}()
	if err := writeAndSync(fsys, tmp, data); err != nil {
		return err
	}
	if err := fsys.Rename(tmp, path); err != nil {
		return err
	}
	return fsys.SyncDir(filepath.Dir(path))
}

func writeAndSync(fsys FS, path string, data []byte) error {
	f, err := fsys.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(data, 0)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// ReadFile returns what is in path, and an error when that is more than maxBytes.
func ReadFile(fsys FS, path string, maxBytes int64) ([]byte, error) {
	f, err := fsys.OpenFile(path, os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	if size > maxBytes {
		return nil, fmt.Errorf("read %s: %d bytes, at most %d were expected", path, size, maxBytes)
	}
	data := make([]byte, size)
	if n, err := f.ReadAt(data, 0); n < len(data) {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return data, nil
}
