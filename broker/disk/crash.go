package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// ErrCrashed is returned by a Crash from the operation at which its power went,
// and by every operation after that.
var ErrCrashed = errors.New("the power is out")

// Crash is a file system in memory, for tests, that can lose its power. What was
// synced is there after Restart; of what was not, a random part.
//
// It is stricter than most real ones: bytes do not make their file's name
// durable, nor the other way round, and changes survive in no order.
type Crash struct {
	mu   sync.Mutex // guards all below, and every node
	root *node
	seed uint64
	left int // changes until the power goes; negative: never
	ops  int
	dead bool
	// interrupted finishes the change during which the power went: if it was only
	// the process that ended, the system call went on to its end.
	interrupted func()
}

// NewCrash returns an empty file system, whose root is there, with its power on.
// What survives each of its restarts follows from seed and the restart's own.
func NewCrash(seed uint64) *Crash { return newCrash(newDir(), seed) }

func newCrash(root *node, seed uint64) *Crash { return &Crash{root: root, seed: seed, left: -1} }

// CrashAt makes the power go during the k-th change from now, counted from 0. A
// change is anything but reading: opening with a flag that creates or truncates,
// WriteAt, Truncate, Sync, SyncDir, Rename, Remove, a MkdirAll that makes
// something, and each file of a RemoveAll. (Between two changes the disk holds
// the same, so that reads need no number.)
func (c *Crash) CrashAt(k int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.left = k
}

// Ops returns how many changes there were.
func (c *Crash) Ops() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ops
}

// Crashed reports whether the power has gone.
func (c *Crash) Crashed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.dead
}

// Restart cuts the power, if it is still on, and returns the file system that is
// found afterwards: all that was synced and, of each change that was not, whether
// it is there or not, decided by seed. Of a write there may also be only its
// beginning, or only the length that it gave the file.
func (c *Crash) Restart(seed uint64) *Crash {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dead = true
	rng := rand.New(rand.NewPCG(c.seed, seed))
	return newCrash(c.root.survive(rng, map[*node]*node{}), c.seed)
}

// Kill ends the process and leaves the machine running: what was written is all
// there, and what was not synced is still not. It returns the file system for the
// next process.
func (c *Crash) Kill() *Crash {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dead = true
	if c.interrupted != nil {
		c.interrupted()
	}
	return newCrash(c.root, c.seed)
}

// change counts one change, which do makes visible, unless the power goes in the
// middle of it. note is called either way: the change may turn out to have
// happened.
func (c *Crash) change(note, do func()) error {
	if c.dead {
		return ErrCrashed
	}
	note()
	if c.left == 0 {
		c.dead, c.interrupted = true, do
		return ErrCrashed
	}
	c.left--
	c.ops++
	do()
	return nil
}

// alterDir makes a change to the entries of dir, which stays unsynced.
func (c *Crash) alterDir(dir *node, ch entryChange) error {
	return c.change(
		func() { dir.entryChanges = append(dir.entryChanges, ch) },
		func() { ch.do(dir.entries) })
}

// OpenFile knows O_RDONLY, O_WRONLY, O_RDWR, O_CREATE, O_EXCL and O_TRUNC.
func (c *Crash) OpenFile(name string, flag int, perm fs.FileMode) (File, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dead {
		return nil, ErrCrashed
	}
	dir, base, err := c.parent("open", name)
	if err != nil {
		return nil, err
	}
	n := dir.entries[base]
	switch {
	case n == nil && flag&os.O_CREATE == 0:
		return nil, pathError("open", name, fs.ErrNotExist)
	case n != nil && flag&os.O_EXCL != 0:
		return nil, pathError("open", name, fs.ErrExist)
	case n != nil && n.dir():
		return nil, pathError("open", name, errors.New("is a directory"))
	}
	if n == nil {
		n = &node{mtime: time.Now()}
		if err := c.alterDir(dir, entryChange{name: base, node: n}); err != nil {
			return nil, err
		}
	}
	f := &crashFile{c: c, n: n, name: name, writable: flag&(os.O_WRONLY|os.O_RDWR) != 0}
	if flag&os.O_TRUNC != 0 && len(n.data) > 0 {
		return f, f.alter(dataChange{at: 0, size: 0})
	}
	return f, nil
}

// Rename replaces newName; both must be in one directory.
func (c *Crash) Rename(oldName, newName string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if filepath.Dir(oldName) != filepath.Dir(newName) {
		return pathError("rename", oldName, errors.New("into another directory: not supported"))
	}
	dir, base, err := c.parent("rename", oldName)
	if err != nil {
		return err
	}
	n := dir.entries[base]
	if n == nil {
		return pathError("rename", oldName, fs.ErrNotExist)
	}
	return c.alterDir(dir, entryChange{name: filepath.Base(newName), node: n, gone: base})
}

// Remove removes a file or an empty directory.
func (c *Crash) Remove(name string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.remove(name)
}

func (c *Crash) remove(name string) error {
	dir, base, err := c.parent("remove", name)
	if err != nil {
		return err
	}
	n := dir.entries[base]
	switch {
	case n == nil:
		return pathError("remove", name, fs.ErrNotExist)
	case len(n.entries) > 0:
		return pathError("remove", name, errors.New("directory not empty"))
	}
	return c.alterDir(dir, entryChange{gone: base})
}

// RemoveAll removes what is below name one by one, then name.
func (c *Crash) RemoveAll(name string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.removeAll(name)
}

func (c *Crash) removeAll(name string) error {
	n, err := c.find("remove", name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, child := range n.names() {
		if err := c.removeAll(filepath.Join(name, child)); err != nil {
			return err
		}
	}
	return c.remove(name)
}

// MkdirAll makes name and what is missing above it.
func (c *Crash) MkdirAll(name string, perm fs.FileMode) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dead {
		return ErrCrashed
	}
	n := c.root
	for _, part := range split(name) {
		if !n.dir() {
			return pathError("mkdir", name, errors.New("not a directory"))
		}
		if n.entries[part] == nil {
			if err := c.alterDir(n, entryChange{name: part, node: newDir()}); err != nil {
				return err
			}
		}
		n = n.entries[part]
	}
	return nil
}

// ReadDir returns the entries of a directory by name.
func (c *Crash) ReadDir(name string) ([]fs.DirEntry, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n, err := c.find("open", name)
	if err != nil {
		return nil, err
	}
	var all []fs.DirEntry
	for _, child := range n.names() {
		all = append(all, fs.FileInfoToDirEntry(n.entries[child].info(child)))
	}
	return all, nil
}

// Stat describes a file or directory.
func (c *Crash) Stat(name string) (fs.FileInfo, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n, err := c.find("stat", name)
	if err != nil {
		return nil, err
	}
	return n.info(filepath.Base(name)), nil
}

// SyncDir makes the names in a directory durable.
func (c *Crash) SyncDir(name string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	n, err := c.find("open", name)
	if err != nil {
		return err
	}
	return c.change(func() {}, func() {
		for _, ch := range n.entryChanges {
			ch.do(n.syncedEntries)
		}
		n.entryChanges = nil
	})
}

// find returns the node of a path.
func (c *Crash) find(op, name string) (*node, error) {
	if c.dead {
		return nil, ErrCrashed
	}
	n := c.root
	for _, part := range split(name) {
		if n = n.entries[part]; n == nil {
			return nil, pathError(op, name, fs.ErrNotExist)
		}
	}
	return n, nil
}

// parent returns the directory that holds, or would hold, the name.
func (c *Crash) parent(op, name string) (dir *node, base string, err error) {
	dir, err = c.find(op, filepath.Dir(name))
	if err == nil && !dir.dir() {
		err = pathError(op, name, errors.New("not a directory"))
	}
	return dir, filepath.Base(name), err
}

func split(name string) []string {
	return slices.DeleteFunc(strings.Split(filepath.ToSlash(filepath.Clean(name)), "/"), func(part string) bool {
		return part == "" || part == "."
	})
}

func pathError(op, name string, err error) error {
	return fmt.Errorf("%s %s: %w", op, name, err)
}
