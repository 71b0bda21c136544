package ring

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
)

// ErrNone is wrapped where there is no ring.
var ErrNone = errors.New("no log is kept here")

// log is the files of a ring, read from the oldest line on.
type log struct {
	io.Reader
	files []*os.File
}

// Close implements io.Closer.
func (l *log) Close() error {
	var errs []error
	for _, f := range l.files {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}

// Open returns what the ring in dir holds, from the oldest line on, while another process
// may write to it. The caller closes it.
func Open(dir string) (io.ReadCloser, error) {
	l := &log{}
	var err error
	if l.files, err = openAll(dir); err == nil && len(l.files) == 0 {
		err = fmt.Errorf("%w: %s", ErrNone, dir)
	}
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	var parts []io.Reader
	for _, f := range slices.Backward(l.files) {
		parts = append(parts, io.LimitReader(f, FileBytes+beforeBytes))
	}
	l.Reader = io.MultiReader(parts...)
	return l, nil
}

// openAll opens the files, the newest first: one that gets older meanwhile is met twice,
// and none is missed.
func openAll(dir string) (files []*os.File, err error) {
	r := Ring{dir: dir}
	var last os.FileInfo
	for age := range Files {
		f, err := os.Open(r.name(age))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return files, fmt.Errorf("log: %w", err)
		}
		info, err := f.Stat()
		if err != nil || last != nil && os.SameFile(last, info) {
			f.Close()
			continue
		}
		files, last = append(files, f), info
	}
	return files, nil
}
