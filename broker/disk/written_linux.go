package disk

import (
	"bytes"
	"errors"
	"os"
	"strconv"
)

// WrittenBytes is how many bytes this process has had file systems write to their
// devices since it started: of pages that it made dirty, in whole pages. A page
// that is written again before it has gone out counts once, what was thrown away
// before it went out counts all the same, and a file system's own journal does not.
func WrittenBytes() (int64, error) {
	data, err := os.ReadFile("/proc/self/io")
	if err != nil {
		return 0, err
	}
	for line := range bytes.Lines(data) {
		if value, ok := bytes.CutPrefix(line, []byte("write_bytes: ")); ok {
			return strconv.ParseInt(string(bytes.TrimSpace(value)), 10, 64)
		}
	}
	return 0, errors.New("/proc/self/io tells no write_bytes")
}
