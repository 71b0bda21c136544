package clock

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/headwater/headwater/broker/disk"
)

// SaveEvery is how often the time is saved: what a box without a clock chip may think
// it is too early by, beside what it was off.
const SaveEvery = 5 * time.Minute

// savedFile is the file of the last time known: Unix seconds, in decimal, and a line's end.
const savedFile = "clock"

// latest is after any time that is believed to have been saved: a file that says more
// is damaged, and would keep the box in the future for ever.
var latest = time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)

// Saved reads the last time known from the directory. Without one it is zero.
func Saved(dir string) (time.Time, error) {
	data, err := os.ReadFile(filepath.Join(dir, savedFile))
	if errors.Is(err, fs.ErrNotExist) {
		return time.Time{}, nil
	}
	if err != nil {
		return time.Time{}, fmt.Errorf("last time known: %w", err)
	}
	text, whole := strings.CutSuffix(string(data), "\n")
	seconds, err := strconv.ParseInt(text, 10, 64)
	if !whole || err != nil || seconds < 0 || seconds > latest.Unix() {
		return time.Time{}, fmt.Errorf("last time known: %s is damaged: %.40q", savedFile, data)
	}
	return time.Unix(seconds, 0), nil
}

// Save keeps the time in the directory, so that a power cut leaves this one or the
// last.
func Save(dir string, now time.Time) error {
	if now.After(latest) {
		return nil // a clock that is wrong by that much is not worth keeping
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return disk.WriteFile(disk.OS{}, filepath.Join(dir, savedFile), fmt.Appendf(nil, "%d\n", now.Unix()))
}
