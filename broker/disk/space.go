package disk

import (
	"errors"
	"fmt"
)

// spacer is an FS that knows how much it can still take.
type spacer interface {
	Free(path string) (freeBytes int64, err error)
}

// sizer is an FS that knows how large it is.
type sizer interface {
	Capacity(path string) (bytes int64, err error)
}

// Free returns how many bytes a process like this one can still put onto the file
// system that holds path; errors.ErrUnsupported when it does not tell.
func Free(fsys FS, path string) (freeBytes int64, err error) {
	if s, ok := fsys.(spacer); ok {
		return s.Free(path)
	}
	return 0, fmt.Errorf("%T: %w", fsys, errors.ErrUnsupported)
}

// Capacity returns the size of the file system that holds path;
// errors.ErrUnsupported when it does not tell.
func Capacity(fsys FS, path string) (bytes int64, err error) {
	if s, ok := fsys.(sizer); ok {
		return s.Capacity(path)
	}
	return 0, fmt.Errorf("%T: %w", fsys, errors.ErrUnsupported)
}
