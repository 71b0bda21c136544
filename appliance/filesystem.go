package appliance

import (
	"fmt"
	"log/slog"

	"github.com/headwater/headwater/appliance/config"
	"github.com/headwater/headwater/broker/disk"
)

// checkFilesystem refuses a data directory in which nothing stays, unless the settings
// allow it, and says so of one that may not keep what is promised. Where the file system
// cannot be told, opening the directory says more than this could. of is disk's.
func checkFilesystem(data config.Data, of func(path string) (disk.Filesystem, error), log *slog.Logger) error {
	found, err := of(data.Dir)
	switch {
	case err != nil:
		return nil
	case found.Volatile != "" && !data.AllowVolatile:
		return config.Problems{{Key: "data.dir", Text: fmt.Sprintf(
			"%s lies on %s, which %s; allowed is a directory on a disk or a volume, or this one with data.allowVolatile",
			data.Dir, found.Name, found.Volatile)}}
	case found.Volatile != "":
		log.Warn("records do not stay here", "dataDir", data.Dir, "fileSystem", found.Name, "which", found.Volatile)
	case found.Doubt != "":
		log.Warn("what is acked may not be safe here", "dataDir", data.Dir, "fileSystem", found.Name, "which", found.Doubt)
	}
	return nil
}
