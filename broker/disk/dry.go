package disk

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Dry is a file system that changes nothing: what is done to it shows through it
// and nowhere else. It lets one see what a program would do to a directory.
//
// Of a file only what differs from the one below is kept in memory. A directory
// that is renamed is empty under its new name.
type Dry struct {
	below    FS
	maxBytes int64

	mu      sync.Mutex          // guards all below
	files   map[string]*dryNode // that were changed or made; nil: removed
	made    map[string]bool     // directories
	gone    map[string]bool     // directories that were removed, with all below
	removed map[string]bool     // names of the file system below that were removed, ever
	blank   func(name string) bool
	kept    int64 // bytes in memory
}

// NewDry returns a Dry over below that keeps at most maxBytes of what is written
// to it, and is full then. Of files that blank names only the size is kept: they
// are never read back.
func NewDry(below FS, maxBytes int64, blank func(name string) bool) *Dry {
	return &Dry{
		below: below, maxBytes: maxBytes, blank: blank,
		files: map[string]*dryNode{}, made: map[string]bool{}, gone: map[string]bool{}, removed: map[string]bool{},
	}
}

// Removed returns the names that are on the file system below and are gone here,
// in order; not those within a directory that is among them.
func (d *Dry) Removed() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	var names []string
	for name := range d.removed {
		if d.files[name] == nil && !d.made[name] && !d.within(filepath.Dir(name)) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// Forget drops what is kept of the files below dir: it reads as zeros from now on.
// It is for files that nobody will read again.
func (d *Dry) Forget(dir string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for name, n := range d.files {
		if n == nil || !strings.HasPrefix(name, dir+string(filepath.Separator)) {
			continue
		}
		d.keep(n, nil)
	}
}

// keep makes pieces all that n has, and counts what they take. mu is held.
func (d *Dry) keep(n *dryNode, pieces []piece) {
	for _, p := range n.pieces {
		d.kept -= int64(len(p.data))
	}
	for _, p := range pieces {
		d.kept += int64(len(p.data))
	}
	n.pieces = pieces
}

// replace makes n what a name stands for; nil is none. mu is held.
func (d *Dry) replace(name string, n *dryNode) {
	if old := d.files[name]; old != nil && old != n {
		d.keep(old, nil)
	}
	d.files[name] = n
}

// within reports whether a directory or one above it was removed. mu is held.
func (d *Dry) within(dir string) bool {
	for ; ; dir = filepath.Dir(dir) {
		if d.made[dir] {
			return false
		}
		if d.gone[dir] {
			return true
		}
		if dir == filepath.Dir(dir) {
			return false
		}
	}
}

// OpenFile implements FS.
func (d *Dry) OpenFile(name string, flag int, _ fs.FileMode) (File, error) {
	name = filepath.Clean(name)
	d.mu.Lock()
	defer d.mu.Unlock()
	n, err := d.find(name)
	missing := errors.Is(err, fs.ErrNotExist)
	switch {
	case err != nil && (!missing || flag&os.O_CREATE == 0):
		return nil, err
	case err == nil && flag&os.O_CREATE != 0 && flag&os.O_EXCL != 0:
		return nil, pathError("open", name, fs.ErrExist)
	case missing:
		if err := d.checkParent(name); err != nil {
			return nil, err
		}
		n = &dryNode{mtime: time.Now()}
	}
	writable := flag&(os.O_WRONLY|os.O_RDWR) != 0
	if writable {
		d.files[name] = n
	}
	f := &dryFile{d: d, n: n, name: name, writable: writable, blank: d.blank(name), open: map[string]File{}}
	if writable && flag&os.O_TRUNC != 0 {
		f.resize(0)
	}
	return f, nil
}

// find returns the node of a file; of one that was not changed it is a new one.
// mu is held.
func (d *Dry) find(name string) (*dryNode, error) {
	if n, changed := d.files[name]; changed && n != nil {
		return n, nil
	} else if changed || d.within(filepath.Dir(name)) {
		return nil, pathError("open", name, fs.ErrNotExist)
	}
	info, err := d.below.Stat(name)
	switch {
	case err != nil:
		return nil, err
	case info.IsDir():
		return nil, pathError("open", name, errors.New("is a directory"))
	}
	n := &dryNode{size: info.Size(), mtime: info.ModTime()}
	n.pieces = []piece{{to: n.size, path: name}}
	return n, nil
}

func (d *Dry) checkParent(name string) error {
	dir := filepath.Dir(name)
	if d.made[dir] {
		return nil
	}
	if d.within(dir) {
		return pathError("open", name, fs.ErrNotExist)
	}
	_, err := d.below.Stat(dir)
	return err
}

// Rename implements FS.
func (d *Dry) Rename(oldName, newName string) error {
	oldName, newName = filepath.Clean(oldName), filepath.Clean(newName)
	d.mu.Lock()
	defer d.mu.Unlock()
	info, err := d.stat(oldName)
	if err != nil {
		return err
	}
	if info.IsDir() {
		d.made[newName] = true
		d.dropBelow(oldName)
		return nil
	}
	n, err := d.find(oldName)
	if err != nil {
		return err
	}
	d.files[oldName] = nil // n lives on
	d.note(oldName)
	d.replace(newName, n)
	return nil
}

// drop makes a file one that is not there.
func (d *Dry) drop(name string) {
	d.replace(name, nil)
	d.note(name)
}

func (d *Dry) dropBelow(dir string) {
	for name := range d.files {
		if strings.HasPrefix(name, dir+string(filepath.Separator)) {
			d.replace(name, nil)
			delete(d.files, name)
		}
	}
	delete(d.made, dir)
	d.gone[dir] = true
	d.note(dir)
}

// note remembers a name that goes, if it was there before.
func (d *Dry) note(name string) {
	if _, err := d.below.Stat(name); err == nil {
		d.removed[name] = true
	}
}

// Remove implements FS.
func (d *Dry) Remove(name string) error {
	name = filepath.Clean(name)
	d.mu.Lock()
	defer d.mu.Unlock()
	info, err := d.stat(name)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		d.drop(name)
		return nil
	}
	if left, err := d.readDir(name); err != nil || len(left) > 0 {
		return pathError("remove", name, errors.Join(err, syscall.ENOTEMPTY))
	}
	d.dropBelow(name)
	return nil
}

// RemoveAll implements FS.
func (d *Dry) RemoveAll(name string) error {
	name = filepath.Clean(name)
	d.mu.Lock()
	defer d.mu.Unlock()
	info, err := d.stat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.IsDir():
		d.dropBelow(name)
	default:
		d.drop(name)
	}
	return nil
}

// MkdirAll implements FS.
func (d *Dry) MkdirAll(name string, _ fs.FileMode) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for dir := filepath.Clean(name); ; dir = filepath.Dir(dir) {
		if info, err := d.stat(dir); err == nil {
			if !info.IsDir() {
				return pathError("mkdir", dir, syscall.ENOTDIR)
			}
			return nil
		}
		d.made[dir] = true
		if dir == filepath.Dir(dir) {
			return nil
		}
	}
}

// ReadDir implements FS.
func (d *Dry) ReadDir(name string) ([]fs.DirEntry, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.readDir(filepath.Clean(name))
}

func (d *Dry) readDir(dir string) ([]fs.DirEntry, error) {
	var all []fs.DirEntry
	if !d.within(dir) {
		entries, err := d.below.ReadDir(dir)
		if err != nil && !d.made[dir] {
			return nil, err
		}
		for _, e := range entries {
			path := filepath.Join(dir, e.Name())
			if _, changed := d.files[path]; !changed && !d.gone[path] && !d.made[path] {
				all = append(all, e)
			}
		}
	} else if !d.made[dir] {
		return nil, pathError("open", dir, fs.ErrNotExist)
	}
	for path, n := range d.files {
		if n != nil && filepath.Dir(path) == dir {
			all = append(all, fs.FileInfoToDirEntry(n.info(filepath.Base(path))))
		}
	}
	for path := range d.made {
		if path != dir && filepath.Dir(path) == dir {
			all = append(all, fs.FileInfoToDirEntry(nodeInfo{name: filepath.Base(path), dir: true}))
		}
	}
	slices.SortFunc(all, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return all, nil
}

// Stat implements FS.
func (d *Dry) Stat(name string) (fs.FileInfo, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.stat(filepath.Clean(name))
}

func (d *Dry) stat(name string) (fs.FileInfo, error) {
	if n, changed := d.files[name]; changed && n != nil {
		return n.info(filepath.Base(name)), nil
	} else if d.made[name] {
		return nodeInfo{name: filepath.Base(name), dir: true}, nil
	} else if changed || d.within(name) {
		return nil, pathError("stat", name, fs.ErrNotExist)
	}
	return d.below.Stat(name)
}

// SyncDir implements FS.
func (d *Dry) SyncDir(name string) error {
	_, err := d.Stat(name)
	return err
}

// dryNode is what a file holds: pieces, of which a later one lies over those
// before it, and zeros where there is none.
type dryNode struct {
	size   int64
	pieces []piece
	mtime  time.Time
}

func (n *dryNode) info(name string) fs.FileInfo {
	return nodeInfo{name: name, size: n.size, mtime: n.mtime}
}

// piece is the bytes of a file from at up to to: data, or those of the file path
// below from off on, or zeros.
type piece struct {
	at, to int64
	data   []byte
	path   string
	off    int64
}

// clip returns what of p lies in a range, moved by shift.
func (p piece) clip(from, to, shift int64) (piece, bool) {
	from, to = max(p.at, from), min(p.to, to)
	if from >= to {
		return piece{}, false
	}
	skip := from - p.at
	if p.data != nil {
		p.data = p.data[skip : skip+to-from]
	}
	return piece{from + shift, to + shift, p.data, p.path, p.off + skip}, true
}

// dryFile is an open file of a Dry.
type dryFile struct {
	d        *Dry
	n        *dryNode
	name     string
	writable bool
	blank    bool

	mu   sync.Mutex      // guards open
	open map[string]File // of the file system below; nil once closed
}

// ReadAt implements File.
func (f *dryFile) ReadAt(p []byte, off int64) (int, error) {
	f.mu.Lock()
	closed := f.open == nil
	f.mu.Unlock()
	if closed {
		return 0, pathError("read", f.name, fs.ErrClosed)
	}
	f.d.mu.Lock()
	size, pieces := f.n.size, slices.Clone(f.n.pieces)
	f.d.mu.Unlock()
	if off >= size {
		return 0, io.EOF
	}
	n := int(min(int64(len(p)), size-off))
	if len(pieces) != 1 || pieces[0].path == "" || pieces[0].at > off || pieces[0].to < off+int64(n) {
		clear(p[:n])
	}
	for _, piece := range pieces {
		part, ok := piece.clip(off, off+int64(n), -off)
		switch {
		case !ok:
		case part.data != nil:
			copy(p[part.at:part.to], part.data)
		case part.path == "":
			clear(p[part.at:part.to])
		default:
			below, err := f.below(part.path)
			if err != nil {
				return 0, err
			}
			if m, err := below.ReadAt(p[part.at:part.to], part.off); int64(m) < part.to-part.at {
				return 0, err
			}
		}
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f *dryFile) below(path string) (File, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if file := f.open[path]; file != nil {
		return file, nil
	}
	file, err := f.d.below.OpenFile(path, os.O_RDONLY, 0)
	if err == nil && f.open == nil { // closed meanwhile
		return nil, errors.Join(pathError("read", f.name, fs.ErrClosed), file.Close())
	} else if err == nil {
		f.open[path] = file
	}
	return file, err
}

// WriteAt implements File.
func (f *dryFile) WriteAt(p []byte, off int64) (int, error) {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if !f.writable {
		return 0, pathError("write", f.name, fs.ErrPermission)
	}
	if !f.blank {
		if f.d.kept+int64(len(p)) > f.d.maxBytes {
			return 0, pathError("write", f.name, fmt.Errorf("%w: more than %d bytes would be kept in memory", syscall.ENOSPC, f.d.maxBytes))
		}
		f.add(piece{at: off, to: off + int64(len(p)), data: slices.Clone(p)})
	}
	f.grow(off + int64(len(p)))
	return len(p), nil
}

// CopyRange puts the bytes of r from from to to at at, without reading them, if r
// is a file of the same Dry; else it returns errors.ErrUnsupported.
func (f *dryFile) CopyRange(at int64, r io.ReaderAt, from, to int64) error {
	src, ok := r.(*dryFile)
	if !ok || src.d != f.d || !f.writable || f.blank {
		return errors.ErrUnsupported
	}
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if at < f.n.size {
		f.add(piece{at: at, to: at + to - from}) // for what has no piece in src
	}
	for _, p := range src.n.pieces {
		if part, ok := p.clip(from, to, at-from); ok {
			f.add(part)
		}
	}
	f.grow(at + to - from)
	return nil
}

func (f *dryFile) add(p piece) {
	f.d.kept += int64(len(p.data))
	f.n.pieces = append(f.n.pieces, p)
}

func (f *dryFile) grow(size int64) { f.n.size, f.n.mtime = max(f.n.size, size), time.Now() }

// Truncate implements File.
func (f *dryFile) Truncate(size int64) error {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if !f.writable {
		return pathError("truncate", f.name, fs.ErrPermission)
	}
	f.resize(size)
	return nil
}

func (f *dryFile) resize(size int64) {
	var left []piece
	for _, p := range f.n.pieces {
		if part, ok := p.clip(0, size, 0); ok {
			left = append(left, part)
		}
	}
	f.d.keep(f.n, left)
	f.n.size, f.n.mtime = size, time.Now()
}

// Sync implements File.
func (f *dryFile) Sync() error { return nil }

// Size implements File.
func (f *dryFile) Size() (int64, error) {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	return f.n.size, nil
}

// Close implements File.
func (f *dryFile) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	var errs []error
	for _, file := range f.open {
		errs = append(errs, file.Close())
	}
	f.open = nil
	return errors.Join(errs...)
}
