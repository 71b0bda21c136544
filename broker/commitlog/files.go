package commitlog

import (
	"container/list"
	"io/fs"
	"sync"

	"github.com/headwater/headwater/broker/disk"
)

// maxOpenFiles bounds the files that are kept open for reading. Those that logs
// append to are beside them.
const maxOpenFiles = 256

// files keeps files open for readers, those read last. A file that is in use
// stays open until it is released, also when it was pushed out or removed.
type files struct {
	fs disk.FS

	mu     sync.Mutex // guards all below, the handles, and every segment's gone
	open   map[fileKey]*handle
	recent *list.List // of *handle, the last used in front
}

type fileKey struct {
	seg *segment
	ext string
}

// handle is an open file of a segment, shared by its readers.
type handle struct {
	disk.File
	key  fileKey
	refs int
	at   *list.Element // nil once nobody new may have it; the last release closes
}

func newFiles(fsys disk.FS) *files {
	return &files{fs: fsys, open: map[fileKey]*handle{}, recent: list.New()}
}

// acquire opens a file of seg for reading; release must follow. It returns
// fs.ErrNotExist once seg is gone: by then the name may be another log's.
func (c *files) acquire(seg *segment, ext string) (*handle, error) {
	key := fileKey{seg, ext}
	if h, err := c.find(key); h != nil || err != nil {
		return h, err
	}
	f, err := seg.open(c.fs, ext)
	if err != nil {
		return nil, err
	}
	h, unused := c.insert(key, f)
	for _, f := range unused {
		f.Close() // was open for reading only: nothing to lose
	}
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
		h.refs++
		c.recent.MoveToFront(h.at)
	}
	return h, nil
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
		h.refs++
		return h, []disk.File{f}
	}
	h = &handle{File: f, key: key, refs: 1}
	h.at = c.recent.PushFront(h)
	c.open[key] = h
	for c.recent.Len() > maxOpenFiles {
		unused = c.evict(c.recent.Back().Value.(*handle), unused)
	}
	return h, unused
}

func (c *files) evict(h *handle, unused []disk.File) []disk.File {
	delete(c.open, h.key)
	c.recent.Remove(h.at)
	h.at = nil
	if h.refs == 0 {
		unused = append(unused, h.File)
	}
	return unused
}

func (c *files) release(h *handle) {
	c.mu.Lock()
	h.refs--
	last := h.refs == 0 && h.at == nil
	c.mu.Unlock()
	if last {
		h.Close()
	}
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
	for _, f := range unused {
		f.Close()
	}
}
