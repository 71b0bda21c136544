package ring

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// ErrNone is wrapped where there is no ring.
var ErrNone = errors.New("no log is kept here")

// Copy writes what the ring in dir holds, from the oldest line on, while another process
// may write to it.
func Copy(to io.Writer, dir string) error {
	files, err := openAll(dir)
	for _, f := range files {
		defer f.Close()
	}
	if err != nil {
		return err
	}
	if len(files) == 0 {
		return fmt.Errorf("%w: %s", ErrNone, dir)
	}
	for i := len(files) - 1; i >= 0; i-- {
		if _, err := io.Copy(to, io.LimitReader(files[i], FileBytes+beforeBytes)); err != nil {
			return fmt.Errorf("log: %w", err)
		}
	}
	return nil
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
