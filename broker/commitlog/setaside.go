package commitlog

import (
	"cmp"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/headwater/headwater/broker/disk"
)

// setAsideDir is where logs are kept that an operator may want, a directory for each:
// telemetry-3.<time>. Nothing reads them again.
const setAsideDir = "set-aside"

// maxSetAsideBytes bounds what is kept of them together. Beyond it the oldest go, but
// not the one that came last, whatever its size: it was within the budget until then.
const maxSetAsideBytes = 256 << 20

// SetAside puts a log that is not open where nothing reads it, and returns that place.
// It counts against no budget.
func (d *Dir) SetAside(name string) (path string, err error) {
	if err := checkName(name); err != nil {
		return "", err
	}
	if d.find(name) != nil {
		return "", fmt.Errorf("set log %s aside: it is open", name)
	}
	root := filepath.Join(d.path, setAsideDir)
	path = filepath.Join(root, fmt.Sprintf("%s.%d", name, time.Now().UnixNano()))
	if err = d.cleanPoints.drop(name); err == nil {
		err = d.fs.MkdirAll(root, 0o755)
	}
	if err == nil {
		err = d.setAside(name, path)
	}
	if err == nil {
		err = d.fs.SyncDir(root)
	}
	if err != nil {
		return "", fmt.Errorf("set log %s aside: %w", name, err)
	}
	if err := d.thinSetAside(filepath.Base(path)); err != nil {
		d.log.Warn("what was set aside earlier is not removed; it takes its room", "err", err)
	}
	return path, nil
}

// thinSetAside removes the oldest of what was set aside until it is within its bound.
func (d *Dir) thinSetAside(last string) error {
	d.thinning.Lock() // orders set logs aside side by side
	defer d.thinning.Unlock()
	all, err := listSetAside(d.fs, d.path)
	if err != nil {
		return err
	}
	total := int64(0)
	for _, s := range all {
		total += s.bytes
	}
	for _, s := range all {
		if total <= maxSetAsideBytes {
			break
		}
		if s.name == last {
			continue
		}
		if err := d.fs.RemoveAll(filepath.Join(d.path, setAsideDir, s.name)); err != nil {
			return err
		}
		total -= s.bytes
		d.metrics.setAsideDropped.Add(float64(s.bytes))
		d.log.Warn("records that were set aside are removed: there is no more room for them", "path", filepath.Join(d.path, setAsideDir, s.name), "bytes", s.bytes, "maxBytes", maxSetAsideBytes)
	}
	return nil
}

// asideLog is a log that was set aside.
type asideLog struct {
	name  string // of its directory
	at    int64  // Unix nanoseconds
	bytes int64
}

// listSetAside lists them, the oldest first. What has another name is not ours.
func listSetAside(fsys disk.FS, path string) (all []asideLog, err error) {
	root := filepath.Join(path, setAsideDir)
	entries, err := fsys.ReadDir(root)
	if removed(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		dot := strings.LastIndexByte(e.Name(), '.')
		if dot < 0 || !e.IsDir() || checkName(e.Name()[:dot]) != nil {
			continue
		}
		at, err := strconv.ParseInt(e.Name()[dot+1:], 10, 64)
		if err != nil {
			continue
		}
		bytes, err := bytesIn(fsys, filepath.Join(root, e.Name()))
		if err != nil {
			return nil, err
		}
		all = append(all, asideLog{e.Name(), at, bytes})
	}
	slices.SortFunc(all, func(a, b asideLog) int { return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.name, b.name)) })
	return all, nil
}

// bytesIn is what the files of a directory take.
func bytesIn(fsys disk.FS, path string) (total int64, err error) {
	files, err := fsys.ReadDir(path)
	if err != nil {
		return 0, err
	}
	for _, f := range files {
		info, err := f.Info()
		if err != nil && !removed(err) {
			return 0, err
		}
		if err == nil {
			total += info.Size()
		}
	}
	return total, nil
}

// noteSetAside reports what was set aside.
func noteSetAside(fsys disk.FS, path string, report func(FileReport)) error {
	all, err := listSetAside(fsys, path)
	for _, s := range all {
		report(FileReport{Name: filepath.Join(setAsideDir, s.name), Note: fmt.Sprintf("%d bytes of a topic that the region did not know, set aside; it may be removed", s.bytes)})
	}
	return err
}
