package certs

import (
	"errors"
	"fmt"
	"io"
	"os"
)

// maxFileBytes is far more than the longest useful chain.
const maxFileBytes = 1 << 20

func readFile(field, path string) ([]byte, error) {
	wrong := func(err error) error {
		if pathErr := (*os.PathError)(nil); errors.As(err, &pathErr) {
			err = pathErr.Err
		}
		return &FileError{field, fmt.Errorf("%s cannot be read: %w", path, err)}
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, wrong(err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFileBytes+1))
	if err != nil {
		return nil, wrong(err)
	}
	if len(data) > maxFileBytes {
		return nil, wrong(fmt.Errorf("it is larger than %d bytes", maxFileBytes))
	}
	return data, nil
}

// fingerprint tells whether files have changed without reading them: it differs then.
type fingerprint [3]mark

// mark is of one file, wherever links lead to; the zero mark is of none.
type mark struct {
	size    int64
	changed int64 // nanoseconds
	inode   uint64
}

func (f Files) fingerprint() (now fingerprint) {
	for i, path := range []string{f.Cert, f.Key, f.ClientCA} {
		if path == "" {
			continue
		}
		info, err := os.Stat(path)
		if err != nil {
			continue // reading it will say why
		}
		now[i] = mark{info.Size(), info.ModTime().UnixNano(), inode(info)}
	}
	return now
}
