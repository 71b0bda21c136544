package commitlog

import (
	"container/list"
	"io/fs"
	"os"
	"sync"

	"github.com/headwater/headwater/broker/disk"
)

// The bounds of Options.OpenFiles when it is derived: a quarter of what the
// process may open leaves the rest to connections.
const (
	minOpenFiles  = 32
	maxOpenFiles  = 2048
	openFilesPart = 4
)

// defaultOpenFiles is how many files of segments may be open in a process that may
// open limit files, 0 when that is not known.
func defaultOpenFiles(limit int) int {
	if limit <= 0 {
		limit = 1024
	}
	return min(max(limit/openFilesPart, minOpenFiles), maxOpenFiles)
}

// files keeps the files of segments open, those used last, for readers and for the
// logs that append to them. What is open beyond limit is in use at this moment: a
// file that is in use stays open until it is released, also when it was pushed out
// or removed.
//
// A file with bytes in it that were not synced is not closed: the kernel tells a
// failed write-back to those who have the file open, and to nobody if nobody has.
// So that such files do not take all the room, a log that is about to make one
// more syncs the one that was not used for longest, once they are as many as
// maxDirty says.
type files struct {
	fs    disk.FS
	limit int

	mu     sync.Mutex // guards all below, the handles, and every segment's gone
	open   map[fileKey]*handle
	recent *list.List // of *handle, the last used in front
	dirty  int        // handles that are
	round  int        // counts closeIdle
}

type fileKey struct {
	seg *segment
	ext string
}

// handle is an open file of a segment, shared by its readers and its log.
type handle struct {
	disk.File
	key   fileKey
	refs  int
	at    *list.Element // nil once nobody new may have it; the last release closes
	round int           // in which it was used last

	log     *Log // that wrote it; nil when none did
	written int  // counts writes
	synced  int  // of those, how many are on stable storage
}

func (h *handle) dirty() bool { return h.written != h.synced }

// newFiles returns an empty cache; fs is to be set before it is used.
func newFiles(limit int) *files {
	return &files{limit: limit, open: map[fileKey]*handle{}, recent: list.New()}
}

// maxDirty is how many files may have unsynced bytes; the rest is for readers.
func (c *files) maxDirty() int { return c.limit - c.limit/8 }

// acquire opens a file of seg; release must follow. The file that a log appends to
// is open for writing, too. It returns fs.ErrNotExist once seg is gone: by then
// the name may be another log's.
func (c *files) acquire(seg *segment, ext string) (*handle, error) {
	key := fileKey{seg, ext}
	if h, err := c.find(key); h != nil || err != nil {
		return h, err
	}
	flag := os.O_RDONLY
	if ext == logExt && seg.index.Load() != nil {
		flag = os.O_RDWR
	}
	f, err := seg.open(c.fs, ext, flag)
	if err != nil {
		return nil, err
	}
	h, unused := c.insert(key, f)
	closeAll(unused)
	if h == nil {
		return nil, fs.ErrNotExist
	}
	return h, nil
}

func (c *files) find(key fileKey) (*handle, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if key.seg.gone {
		return nil, fs.ErrNotExist
	}
	h := c.open[key]
	if h != nil {
		c.use(h)
	}
	return h, nil
}

func (c *files) use(h *handle) {
	h.refs++
	h.round = c.round
	c.recent.MoveToFront(h.at)
}

// insert makes f the handle of key, unless there is one by now or the segment is
// gone, and returns the files that are to be closed.
func (c *files) insert(key fileKey, f disk.File) (h *handle, unused []disk.File) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if key.seg.gone {
		return nil, []disk.File{f}
	}
	if h := c.open[key]; h != nil {
		c.use(h)
		return h, []disk.File{f}
	}
	h = &handle{File: f, key: key, refs: 1, round: c.round}
	h.at = c.recent.PushFront(h)
	c.open[key] = h
	return h, c.trim(c.limit)
}

// adopt takes over a file that was just made, as if it had been acquired and
// released.
func (c *files) adopt(seg *segment, ext string, f disk.File) {
	h, unused := c.insert(fileKey{seg, ext}, f)
	closeAll(unused)
	if h != nil {
		c.release(h)
	}
}

// trim pushes out what was not used for longest, until no more than limit are
// open. Files in use, and files that are dirty, stay.
func (c *files) trim(limit int) (unused []disk.File) {
	for e := c.recent.Back(); e != nil && c.recent.Len() > limit; {
		h := e.Value.(*handle)
		e = e.Prev()
		if h.refs == 0 && !h.dirty() {
			unused = c.evict(h, unused)
		}
	}
	return unused
}

func (c *files) evict(h *handle, unused []disk.File) []disk.File {
	delete(c.open, h.key)
	c.recent.Remove(h.at)
	h.at = nil
	if h.dirty() {
		c.dirty--
	}
	if h.refs == 0 {
		unused = append(unused, h.File)
	}
	return unused
}

func (c *files) release(h *handle) {
	c.mu.Lock()
	last := c.drop(h)
	unused := c.trim(c.limit) // it may have been open only because it was in use
	c.mu.Unlock()
	if last {
		h.Close()
	}
	closeAll(unused)
}

// drop gives up one use of h and reports whether it is to be closed.
func (c *files) drop(h *handle) (last bool) {
	h.refs--
	return h.refs == 0 && h.at == nil
}

// forget closes what is open of seg, because its files are new ones, or, when
// gone, because they belong to seg no longer.
func (c *files) forget(seg *segment, gone bool) {
	c.mu.Lock()
	seg.gone = seg.gone || gone
	var unused []disk.File
	for _, ext := range []string{logExt, indexExt, timeIndexExt} {
		if h := c.open[fileKey{seg, ext}]; h != nil {
			unused = c.evict(h, unused)
		}
	}
	c.mu.Unlock()
	closeAll(unused)
}

// shed closes half of what nobody needs at this moment, and reports whether that
// was anything.
func (c *files) shed() bool {
	c.mu.Lock()
	unused := c.trim(c.recent.Len() / 2)
	c.mu.Unlock()
	closeAll(unused)
	return len(unused) > 0
}

// closeIdle closes what was not used since it was called last, so that an idle
// partition has no file open.
func (c *files) closeIdle() {
	c.mu.Lock()
	var unused []disk.File
	for e := c.recent.Back(); e != nil; {
		h := e.Value.(*handle)
		if h.round >= c.round {
			break // as are all that were used later
		}
		e = e.Prev()
		if h.refs == 0 && !h.dirty() {
			unused = c.evict(h, unused)
		}
	}
	c.round++
	c.mu.Unlock()
	closeAll(unused)
}

// count returns how many files are open, and how many of those are dirty.
func (c *files) count() (open, dirty int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.recent.Len(), c.dirty
}

// closeAll closes files that have nothing to lose: they were not written, or are
// synced, or gone.
func closeAll(unused []disk.File) {
	for _, f := range unused {
		f.Close()
	}
}
