package disk

import (
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"slices"
	"time"
)

// node is a file or a directory of a Crash: what is there now, what of it is
// synced, and the changes between the two in the order in which they were made.
type node struct {
	entries       map[string]*node // nil for a file
	syncedEntries map[string]*node
	entryChanges  []entryChange

	data        []byte
	synced      []byte
	dataChanges []dataChange
	mtime       time.Time
}

func newDir() *node {
	return &node{entries: map[string]*node{}, syncedEntries: map[string]*node{}, mtime: time.Now()}
}

func (n *node) dir() bool { return n.entries != nil }

func (n *node) names() []string { return slices.Sorted(maps.Keys(n.entries)) }

// entryChange puts node under name, and takes gone away; either may be empty. A
// rename is one change that does both, since file systems do it as one.
type entryChange struct {
	name string
	node *node
	gone string
}

func (ch entryChange) do(entries map[string]*node) {
	if ch.gone != "" {
		delete(entries, ch.gone)
	}
	if ch.node != nil {
		entries[ch.name] = ch.node
	}
}

// dataChange writes data at a position, or, when data is nil, sets the size.
type dataChange struct {
	at   int64
	data []byte
	size int64
}

func (ch dataChange) do(file []byte) []byte {
	if ch.data == nil {
		return resize(file, ch.size)
	}
	if end := ch.at + int64(len(ch.data)); end > int64(len(file)) {
		file = resize(file, end)
	}
	copy(file[ch.at:], ch.data)
	return file
}

// resize cuts file, or lengthens it with zeros.
func resize(file []byte, size int64) []byte {
	if size <= int64(len(file)) {
		return file[:size]
	}
	old := len(file)
	file = slices.Grow(file, int(size)-old)[:size]
	clear(file[old:])
	return file
}

// survive returns what a power cut leaves of n and of all below it. seen keeps a
// node that survives under two names one node.
func (n *node) survive(rng *rand.Rand, seen map[*node]*node) *node {
	if left := seen[n]; left != nil {
		return left
	}
	left := &node{mtime: n.mtime}
	seen[n] = left
	if !n.dir() {
		left.data = n.surviveData(rng)
		left.synced = slices.Clone(left.data)
		return left
	}
	entries := maps.Clone(n.syncedEntries)
	for _, ch := range n.entryChanges {
		if rng.IntN(2) == 0 {
			ch.do(entries)
		}
	}
	left.entries, left.syncedEntries = map[string]*node{}, map[string]*node{}
	for _, name := range slices.Sorted(maps.Keys(entries)) {
		left.entries[name] = entries[name].survive(rng, seen)
		left.syncedEntries[name] = left.entries[name]
	}
	return left
}

func (n *node) surviveData(rng *rand.Rand) []byte {
	file := slices.Clone(n.synced)
	for _, ch := range n.dataChanges {
		switch rng.IntN(4) {
		case 0: // lost
		case 1:
			file = ch.do(file)
		case 2: // torn: its beginning
			if ch.data != nil {
				ch.data = ch.data[:rng.IntN(len(ch.data)+1)]
			}
			file = ch.do(file)
		case 3: // the length without the bytes
			if end := ch.at + int64(len(ch.data)); end > int64(len(file)) {
				file = resize(file, end)
			}
		}
	}
	return file
}

func (n *node) info(name string) fs.FileInfo {
	return nodeInfo{name: name, size: int64(len(n.data)), mtime: n.mtime, dir: n.dir()}
}

type nodeInfo struct {
	name  string
	size  int64
	mtime time.Time
	dir   bool
}

func (i nodeInfo) Name() string       { return i.name }
func (i nodeInfo) Size() int64        { return i.size }
func (i nodeInfo) ModTime() time.Time { return i.mtime }
func (i nodeInfo) IsDir() bool        { return i.dir }
func (i nodeInfo) Sys() any           { return nil }

func (i nodeInfo) Mode() fs.FileMode {
	if i.dir {
		return fs.ModeDir | 0o755
	}
	return 0o644
}

// crashFile is an open file of a Crash. Like a real one it goes on when its name
// is removed.
type crashFile struct {
	c        *Crash
	n        *node
	name     string
	writable bool
	closed   bool
}

func (f *crashFile) check(op string) error {
	if f.c.dead {
		return ErrCrashed
	}
	if f.closed {
		return pathError(op, f.name, fs.ErrClosed)
	}
	return nil
}

func (f *crashFile) ReadAt(p []byte, off int64) (int, error) {
	f.c.mu.Lock()
	defer f.c.mu.Unlock()
	if err := f.check("read"); err != nil {
		return 0, err
	}
	if off >= int64(len(f.n.data)) {
		return 0, io.EOF
	}
	n := copy(p, f.n.data[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f *crashFile) WriteAt(p []byte, off int64) (int, error) {
	f.c.mu.Lock()
	defer f.c.mu.Unlock()
	if err := f.alter(dataChange{at: off, data: append([]byte{}, p...)}); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (f *crashFile) Truncate(size int64) error {
	f.c.mu.Lock()
	defer f.c.mu.Unlock()
	return f.alter(dataChange{size: size})
}

// alter makes a change, which stays unsynced.
func (f *crashFile) alter(ch dataChange) error {
	if err := f.check("write"); err != nil {
		return err
	}
	if !f.writable {
		return pathError("write", f.name, fs.ErrPermission)
	}
	return f.c.change(
		func() { f.n.dataChanges = append(f.n.dataChanges, ch) },
		func() {
			f.n.data = ch.do(f.n.data)
			f.n.mtime = time.Now()
		})
}

func (f *crashFile) Sync() error {
	f.c.mu.Lock()
	defer f.c.mu.Unlock()
	if err := f.check("sync"); err != nil {
		return err
	}
	return f.c.change(func() {}, func() {
		for _, ch := range f.n.dataChanges {
			f.n.synced = ch.do(f.n.synced)
		}
		f.n.dataChanges = nil
	})
}

func (f *crashFile) Size() (int64, error) {
	f.c.mu.Lock()
	defer f.c.mu.Unlock()
	if err := f.check("stat"); err != nil {
		return 0, err
	}
	return int64(len(f.n.data)), nil
}

func (f *crashFile) Close() error {
	f.c.mu.Lock()
	defer f.c.mu.Unlock()
	if err := f.check("close"); err != nil {
		return err
	}
	f.closed = true
	return nil
}
