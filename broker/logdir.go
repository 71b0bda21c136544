package broker

import (
	"path/filepath"

	"github.com/headwater/headwater/broker/commitlog"
)

// logDir is the data directory as administration clients see it.
type logDir struct{ *commitlog.Dir }

// Path implements api.LogDir. Where the working directory cannot be told, the path
// is as it was set.
func (d logDir) Path() string {
	path, err := filepath.Abs(d.Dir.Path())
	if err != nil {
		return d.Dir.Path()
	}
	return path
}
