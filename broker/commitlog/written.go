package commitlog

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"

	"github.com/headwater/headwater/broker/disk"
)

// What follows is how a log uses the cache of files for the segment that it
// appends to: the cache must know what was written and what is synced.

// acquireToWrite is acquire for the log that appends to seg; wrote must follow. It
// has another log's file synced first when too many are dirty.
func (c *files) acquireToWrite(seg *segment, l *Log) (*handle, error) {
	for _, other := range c.tooDirty(seg) {
		if other.syncIdle() {
			break
		}
	}
	h, err := c.acquire(seg, logExt)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	h.log = l
	c.mu.Unlock()
	return h, nil
}

// maxToSync is how many logs are asked whether they can be synced to make room:
// more than are synced, for that or another reason, at a time.
const maxToSync = 64

// tooDirty returns logs one of which is to be synced, the one that was not used for
// longest first, when there are as many dirty files as there may be and seg's would
// be one more.
func (c *files) tooDirty(seg *segment) (logs []*Log) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if h := c.open[fileKey{seg, logExt}]; c.dirty < c.maxDirty() || h != nil && h.dirty() {
		return nil
	}
	for e := c.recent.Back(); e != nil && len(logs) < maxToSync; e = e.Prev() {
		if h := e.Value.(*handle); h.refs == 0 && h.dirty() {
			logs = append(logs, h.log)
		}
	}
	return logs
}

// wrote releases a file after a write to it, however that ended. It comes before
// the committer is told: its sync must find the file dirty.
func (c *files) wrote(h *handle) {
	c.mu.Lock()
	c.mark(h, h.written+1, h.synced)
	last := c.drop(h)
	unused := c.trim(c.limit)
	c.mu.Unlock()
	if last {
		h.Close()
	}
	closeAll(unused)
}

// acquireToSync is acquire for a sync of the file that the log appends to. synced
// must follow, with the writes that the sync covers at least.
func (c *files) acquireToSync(seg *segment) (h *handle, writes int, err error) {
	if h, err = c.acquire(seg, logExt); err != nil {
		return nil, 0, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return h, h.written, nil
}

// synced releases a file after a sync of it. After one that failed, too: what the
// file holds is not believed any more, so nothing would be lost with it.
func (c *files) synced(h *handle, writes int) {
	c.mu.Lock()
	c.mark(h, h.written, max(h.synced, writes))
	last := c.drop(h)
	unused := c.trim(c.limit)
	c.mu.Unlock()
	if last {
		h.Close()
	}
	closeAll(unused)
}

// abandon lets go of a file whose log has failed.
func (c *files) abandon(seg *segment) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if h := c.open[fileKey{seg, logExt}]; h != nil {
		c.mark(h, h.written, h.written)
	}
}

// mark sets the counts of h. c.mu is held.
func (c *files) mark(h *handle, written, synced int) {
	before := h.dirty()
	h.written, h.synced = written, synced
	switch {
	case h.at == nil || before == h.dirty(): // pushed out ones are not counted
	case before:
		c.dirty--
	default:
		c.dirty++
	}
}

// syncIdle syncs l to let its file be closed, and reports whether it did so: not
// while another sync of it runs. It is called for another log, whose locks may be
// held.
func (l *Log) syncIdle() bool {
	if !l.syncMu.TryLock() {
		return false
	}
	defer l.syncMu.Unlock()
	l.syncDirty()
	return true
}

// syncDirty syncs what was appended, if that is not on stable storage, and reports
// whether it is there now. It does not say so to those who wait: the committer
// does, and of a failure, too. syncMu is held.
func (l *Log) syncDirty() bool {
	if l.failure() != nil { // an append may have been under way when it failed
		l.files.abandon(l.view.Load().active())
		return false
	}
	l.mu.Lock()
	tail, synced := l.tail, l.synced
	l.mu.Unlock()
	switch {
	case l.closed.Load():
		return false
	case tail == synced && !l.files.isDirty(l.view.Load().active()):
		return true
	}
	if err := l.timedSync(); err != nil {
		_ = l.fail("sync", err)
		return false
	}
	l.setSynced(tail)
	return true
}

func (c *files) isDirty(seg *segment) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	h := c.open[fileKey{seg, logExt}]
	return h != nil && h.dirty()
}

// noDescriptor reports whether err says that a file was not opened for want of a
// descriptor or of the kernel's memory: that is no fault of the disk, and passes.
func noDescriptor(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) || errors.Is(err, syscall.ENOMEM)
}

// sheddingFS closes files that are kept open when there is no descriptor left for
// another one, and tries again. What fails all the same wraps ErrDescriptors.
type sheddingFS struct {
	disk.FS
	files *files
}

func (s sheddingFS) try(do func() error) error {
	err := do()
	for noDescriptor(err) && s.files.shed() {
		err = do()
	}
	if noDescriptor(err) {
		return fmt.Errorf("%w: %w", ErrDescriptors, err)
	}
	return err
}

// Free and Capacity pass the question on.
func (s sheddingFS) Free(path string) (int64, error)     { return disk.Free(s.FS, path) }
func (s sheddingFS) Capacity(path string) (int64, error) { return disk.Capacity(s.FS, path) }

// OpenFile implements disk.FS.
func (s sheddingFS) OpenFile(name string, flag int, perm fs.FileMode) (f disk.File, err error) {
	err = s.try(func() error {
		f, err = s.FS.OpenFile(name, flag, perm)
		return err
	})
	return f, err
}

// ReadDir implements disk.FS.
func (s sheddingFS) ReadDir(name string) (entries []fs.DirEntry, err error) {
	err = s.try(func() error {
		entries, err = s.FS.ReadDir(name)
		return err
	})
	return entries, err
}

// SyncDir implements disk.FS.
func (s sheddingFS) SyncDir(name string) error {
	return s.try(func() error { return s.FS.SyncDir(name) })
}

// RemoveAll implements disk.FS.
func (s sheddingFS) RemoveAll(name string) error {
	return s.try(func() error { return s.FS.RemoveAll(name) })
}
