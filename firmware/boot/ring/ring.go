// Package ring keeps the last few MiB of a box's log in files that take turns. It
// keeps no more than it was told to, and what cannot be written is counted and let go:
// a log is never a reason to stop. Write may be called from any goroutine.
package ring

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// Sizes of a ring.
const (
	FileBytes   = 1 << 20
	Files       = 4
	beforeBytes = 64 << 10 // what is kept until the ring has a directory
	syncEvery   = 10 * time.Second
)

// Ring is a log. The zero value keeps what is written in memory until Open.
type Ring struct {
	mu     sync.Mutex // guards all below; held across the disk, which only writers of logs wait for
	dir    string
	file   *os.File
	size   int64
	before []byte // written before Open
	lost   int    // writes since the last one that worked
	dirty  bool
}

// name is the file that is written, 0, or an older one.
func (r *Ring) name(age int) string {
	if age == 0 {
		return filepath.Join(r.dir, "headwater.log")
	}
	return filepath.Join(r.dir, fmt.Sprintf("headwater.log.%d", age))
}

// Open goes on with the files in dir, which is made if need be, and writes there what
// was kept until now.
func (r *Ring) Open(dir string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("log: %w", err)
	}
	r.dir = dir
	if err := r.open(); err != nil {
		return fmt.Errorf("log: %w", err)
	}
	before := r.before
	r.before = nil
	r.put(before)
	return nil
}

func (r *Ring) open() error {
	f, err := os.OpenFile(r.name(0), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	end, err := f.Seek(0, 2)
	if err != nil {
		f.Close()
		return err
	}
	r.file, r.size = f, end
	return nil
}

// Write takes whole lines. It never fails: who logs has nobody to tell.
func (r *Ring) Write(lines []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.file == nil && r.dir == "" {
		r.before = append(r.before, lines...)
		if over := len(r.before) - beforeBytes; over > 0 {
			r.before = append(r.before[:0], r.before[over:]...)
		}
		return len(lines), nil
	}
	r.put(lines)
	return len(lines), nil
}

// put writes to the file, or counts what it could not. mu is held.
func (r *Ring) put(lines []byte) {
	if err := r.turn(int64(len(lines))); err != nil {
		r.lost++
		return
	}
	if r.lost > 0 {
		lines = append(fmt.Appendf(nil, "log: %d writes lost\n", r.lost), lines...)
	}
	n, err := r.file.Write(lines)
	r.size += int64(n)
	r.dirty = true
	if err != nil {
		r.lost++
		return
	}
	r.lost = 0
}

// turn sees to it that there is a file with room for more bytes: the oldest goes.
func (r *Ring) turn(more int64) error {
	if r.file != nil && (r.size == 0 || r.size+more <= FileBytes) {
		return nil
	}
	if r.file != nil {
		r.file.Close()
		r.file = nil
		for age := Files - 1; age > 0; age-- {
			if err := os.Rename(r.name(age-1), r.name(age)); err != nil && !errors.Is(err, os.ErrNotExist) {
				return err
			}
		}
	}
	return r.open()
}

// Sync puts what was written on stable storage, if anything was.
func (r *Ring) Sync() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.dirty && r.file != nil {
		r.dirty = false
		r.file.Sync() // what fails here fails for those that must not
	}
}

// Close ends it; what is written from then on is let go.
func (r *Ring) Close() {
	r.Sync()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.file != nil {
		r.file.Close()
		r.file = nil
	}
	r.dir, r.before = "", nil
}

// Keep syncs now and then until done is closed.
func (r *Ring) Keep(done <-chan struct{}) {
	ticker := time.NewTicker(syncEvery)
	defer ticker.Stop()
	for {
		select {
		case <-done:
			return
		case <-ticker.C:
			r.Sync()
		}
	}
}
