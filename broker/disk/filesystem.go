package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Filesystem is what a directory lies on, as far as it matters to who keeps records
// there.
type Filesystem struct {
	Name     string // as mount calls it; "" where that cannot be known
	Volatile string // why all of it goes one day, as half a sentence; "": it stays
	Doubt    string // what it may not keep of what is promised, likewise; "": nothing
}

// FilesystemOf returns what path lies on or, when it is not there yet, what it would
// be made on: what the nearest directory above it lies on. It writes nothing.
func FilesystemOf(path string) (Filesystem, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return Filesystem{}, err
	}
	for {
		name, err := filesystemName(path)
		if err == nil {
			return judge(name), nil
		}
		if above := filepath.Dir(path); errors.Is(err, fs.ErrNotExist) && above != path {
			path = above
			continue
		}
		return Filesystem{}, fmt.Errorf("file system of %s: %w", path, err)
	}
}

const (
	inMemory = "is in memory alone, and is empty after the machine has started again"
	ofOthers = "goes with the container or the session that it belongs to"
	remote   = "is kept by another machine: syncs and the lock are as good as that one"
	fromHost = "is shared by another system: syncs and the lock are as good as that one"
	noLog    = "has no journal: a power cut while a file is made or renamed may cost others"
)

// judge knows the file systems by name. One that it does not know is trusted.
func judge(name string) Filesystem {
	f := Filesystem{Name: name}
	switch name {
	case "tmpfs", "ramfs":
		f.Volatile = inMemory
	case "overlay", "aufs", "fuse.fuse-overlayfs":
		f.Volatile = ofOthers
	case "nfs", "cifs", "ceph":
		f.Doubt = remote
	case "9p", "virtiofs", "vboxsf", "fuse":
		f.Doubt = fromHost
	case "vfat", "exfat":
		f.Doubt = noLog
	default:
		if strings.HasPrefix(name, "fuse.") {
			f.Doubt = fromHost
		}
	}
	return f
}

// mountType finds in mountinfo, the text of /proc/self/mountinfo, the type of the
// mount that path, which has no links in it, lies on; "" when none is told. Of mounts
// on one place the last counts.
func mountType(mountinfo, path string) (name string) {
	longest := -1
	for line := range strings.Lines(mountinfo) {
		// id parent major:minor root place options [more…] - type source options
		before, after, ok := strings.Cut(line, " - ")
		fields, types := strings.Fields(before), strings.Fields(after)
		if !ok || len(fields) < 5 || len(types) < 1 {
			continue
		}
		place := unescape(fields[4])
		if len(place) >= longest && below(path, place) {
			longest, name = len(place), types[0]
		}
	}
	return name
}

func below(path, place string) bool {
	return place == "/" || path == place || strings.HasPrefix(path, place+"/")
}

// unescape undoes what the kernel does to four characters in names.
func unescape(name string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(name)
}

// mountTypeOf asks the kernel, "" when it does not say.
func mountTypeOf(path string) string {
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return ""
	}
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	return mountType(string(text), path)
}
