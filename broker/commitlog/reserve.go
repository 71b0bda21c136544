package commitlog

import (
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/headwater/headwater/broker/disk"
)

// reserveFile is where the reserve lies in the data directory.
const reserveFile = ".reserve"

// maxReserveBytes bounds the reserve, which is written while its lock is held.
const maxReserveBytes = 64 << 20

// reservePiece is how much of the reserve is in memory at one time while it is written.
const reservePiece = 64 << 10

// reserveFS is a file system with a reserve: a file of no meaning, really
// allocated, that is removed when there is no space for what must be written also
// on a full disk. That is everything but batches: checkpoints, indexes, the list
// of topics, names. (What is compacted is batches, too.) What failed for want of space is then done again. Batches must
// not take what the reserve has left: none is appended until there is one again.
type reserveFS struct {
	disk.FS
	path string
	size int64 // 0: there is no reserve
	log  *slog.Logger

	given atomic.Bool // and not made again

	mu sync.Mutex // held while the reserve is made or given away
}

func newReserveFS(fsys disk.FS, dir string, size int64, log *slog.Logger) *reserveFS {
	return &reserveFS{FS: fsys, path: filepath.Join(dir, reserveFile), size: min(size, maxReserveBytes), log: log}
}

// Free passes the question on.
func (r *reserveFS) Free(path string) (int64, error) { return disk.Free(r.FS, path) }

// Capacity passes the question on.
func (r *reserveFS) Capacity(path string) (int64, error) { return disk.Capacity(r.FS, path) }

// spend does what must be done, and gives the reserve for it if it has to.
func (r *reserveFS) spend(do func() error) error {
	err := do()
	if noSpace(err) && r.give(err) {
		err = do()
	}
	return err
}

// give removes the reserve and reports whether there was one.
func (r *reserveFS) give(cause error) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.FS.Remove(r.path) != nil {
		return false
	}
	r.given.Store(true)
	r.log.Warn("disk is full; reserve given", "bytes", r.size, "for", cause)
	// File systems with a journal give the blocks back with its next entry.
	return r.FS.SyncDir(filepath.Dir(r.path)) == nil
}

// keep makes the reserve, if there is none and there is room for it and a quarter
// more: a reserve that took the last bytes would be gone with the next index. It
// reports whether nothing is missing.
func (r *reserveFS) keep() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.size <= 0 || r.whole() {
		return true
	}
	if missing, err := r.missing(); err == nil && missing > 0 {
		return false
	}
	if err := r.write(); err != nil {
		if removeErr := r.FS.Remove(r.path); !noSpace(err) || removeErr != nil && !removed(removeErr) {
			r.log.Warn("reserve not made", "err", errors.Join(err, removeErr))
		}
		return false
	}
	if r.given.Swap(false) {
		r.log.Info("reserve made again", "bytes", r.size)
	}
	return true
}

// missing is how many bytes are to be freed before the reserve can be made.
func (r *reserveFS) missing() (int64, error) {
	free, err := disk.Free(r.FS, filepath.Dir(r.path))
	return r.size + r.size/4 - free, err
}

func (r *reserveFS) whole() bool {
	info, err := r.FS.Stat(r.path)
	return err == nil && info.Size() == r.size
}

// write fills the reserve with what no file system can make smaller.
func (r *reserveFS) write() error {
	f, err := r.FS.OpenFile(r.path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	noise, source := make([]byte, min(r.size, reservePiece)), rand.NewChaCha8([32]byte{})
	for at := int64(0); at < r.size && err == nil; at += int64(len(noise)) {
		noise = noise[:min(r.size-at, reservePiece)]
		source.Read(noise)
		_, err = f.WriteAt(noise, at)
	}
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// OpenFile implements disk.FS.
func (r *reserveFS) OpenFile(name string, flag int, perm fs.FileMode) (f disk.File, err error) {
	err = r.spend(func() error {
		f, err = r.FS.OpenFile(name, flag, perm)
		return err
	})
	if err == nil && flag&(os.O_WRONLY|os.O_RDWR) != 0 && !strings.HasSuffix(name, logExt) && !strings.HasSuffix(name, cleanedExt) {
		f = reservedFile{f, r}
	}
	return f, err
}

// Rename implements disk.FS.
func (r *reserveFS) Rename(oldName, newName string) error {
	return r.spend(func() error { return r.FS.Rename(oldName, newName) })
}

// MkdirAll implements disk.FS.
func (r *reserveFS) MkdirAll(name string, perm fs.FileMode) error {
	return r.spend(func() error { return r.FS.MkdirAll(name, perm) })
}

// reservedFile is a file whose bytes may have the reserve.
type reservedFile struct {
	disk.File
	r *reserveFS
}

// WriteAt implements disk.File.
func (f reservedFile) WriteAt(p []byte, off int64) (n int, err error) {
	err = f.r.spend(func() error {
		n, err = f.File.WriteAt(p, off)
		return err
	})
	return n, err
}

// CopyRange passes the question on to a file that may know the answer.
func (f reservedFile) CopyRange(at int64, r io.ReaderAt, from, to int64) error {
	if c, ok := f.File.(rangeCopier); ok {
		return c.CopyRange(at, r, from, to)
	}
	return errors.ErrUnsupported
}
