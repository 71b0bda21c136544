//go:build !linux

package disk

import "errors"

// WrittenBytes is not known here.
func WrittenBytes() (int64, error) { return 0, errors.ErrUnsupported }
