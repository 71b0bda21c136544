package commitlog

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/headwater/headwater/broker/disk"
)

// deleted ends the name of a log's directory that is set aside for removal, as
// Kafka's do.
const deleted = "-delete"

// Dir is a data directory: its lock, its identity, its logs and their committer.
type Dir struct {
	path       string
	fs         disk.FS
	log        *slog.Logger
	registerer prometheus.Registerer
	lock       io.Closer
	identity   identity
	files      *files
	indexes    *indexMemory
	committer  *committer
	metrics    *metrics
	budget     *budget
	clock      *ageClock
	autoBudget bool
	reserve    *reserveFS

	cleanPoints *cleanPoints

	// admin is held across the disk operations that open, delete or close a log:
	// shared by logs that are opened.
	admin sync.RWMutex

	thinning sync.Mutex // one at a time removes what was set aside

	cleanStart  bool // the process before stopped cleanly
	failedClose bool // guarded by admin
	closed      bool // guarded by admin

	appended     atomic.Int64    // bytes, since the last checkpoint began
	checkpointMu sync.Mutex      // one checkpoint at a time; guards listed
	listed       map[string]bool // logs that a checkpoint in Kafka's format names

	mu    sync.Mutex      // guards all below
	logs  map[string]*Log // nil while one is opened
	marks map[string]mark // of logs that are not open

	closedWell     map[string]bool  // logs that are as their marks say
	startOffsets   map[string]int64 // of Kafka's checkpoint, when ours cannot be used
	highWatermarks map[string]int64 // of Kafka's checkpoint, as it was found
}

// OpenDir opens the data directory at path, and makes it when it is missing. It
// opens no log. Nothing becomes durable until Run runs.
func OpenDir(path string, o Options) (_ *Dir, err error) {
	o = o.withDefaults()
	_, onDisk := o.FS.(disk.OS)
	open := newFiles(o.OpenFiles)
	reserve := newReserveFS(sheddingFS{o.FS, open}, path, o.Reserve, o.Log)
	o.FS, open.fs = reserve, reserve
	d := &Dir{
		path: path, fs: o.FS, log: o.Log, registerer: o.Registerer, logs: map[string]*Log{}, closedWell: map[string]bool{}, listed: map[string]bool{}, reserve: reserve,
		files: open, indexes: newIndexMemory(o.IndexBytes), committer: newCommitter(o), metrics: newMetrics(),
	}
	d.clock = newAgeClock(o.FS, path, o.Clock, o.Log)
	d.metrics.watchClock(d.clock)
	d.metrics.watchDir(d.committer, d.files, d.indexes)
	d.budget, d.autoBudget = newBudget(o.Budget, reserve, d.openLogs, d.metrics, o.Log), o.Budget == BudgetAuto
	d.cleanPoints = newCleanPoints(d)
	defer func() {
		if err != nil {
			d.unlock()
			err = fmt.Errorf("data directory %s: %w", path, err)
		}
	}()
	if err := mkdirDurably(d.fs, path); err != nil {
		return nil, err
	}
	if onDisk {
		if d.lock, err = disk.Lock(path); err != nil {
			return nil, err
		}
	}
	if d.identity, err = loadIdentity(d.fs, filepath.Join(path, metaProperties), o.BrokerID, d.log); err != nil {
		return nil, err
	}
	if err := d.loadCheckpoint(); err != nil {
		return nil, err
	}
	if err := d.removeDeleted(); err != nil {
		return nil, err
	}
	if err := d.restoreClock(); err != nil {
		return nil, err
	}
	return d, d.metrics.register(o.Registerer)
}

// mkdirDurably makes path and what is missing above it, and makes the names of
// what it made durable; that of path itself always, since a process that was
// killed may have made it and got no further.
func mkdirDurably(fsys disk.FS, path string) error {
	made := []string{filepath.Dir(path)}
	for dir := filepath.Dir(path); ; dir = filepath.Dir(dir) {
		if _, err := fsys.Stat(dir); !removed(err) || dir == filepath.Dir(dir) {
			break
		}
		made = append(made, filepath.Dir(dir))
	}
	if err := fsys.MkdirAll(path, 0o755); err != nil {
		return err
	}
	for _, dir := range made {
		if err := fsys.SyncDir(dir); err != nil && !errors.Is(err, fs.ErrPermission) { // a parent that is not ours to read
			return err
		}
	}
	return nil
}

// removeDeleted finishes deletions that were interrupted.
func (d *Dir) removeDeleted() error {
	entries, err := d.fs.ReadDir(d.path)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() && strings.HasSuffix(e.Name(), deleted) {
			if err := d.fs.RemoveAll(filepath.Join(d.path, e.Name())); err != nil {
				return err
			}
		}
	}
	return d.fs.SyncDir(d.path) // names that a killed process left in memory, too
}

// Close seals and closes all logs and lets go of the directory. Run must have
// returned.
func (d *Dir) Close() error {
	d.admin.Lock()
	defer d.admin.Unlock()
	d.committer.stopping.Store(true)
	var errs []error
	deadline := time.Now().Add(agesAtStop)
	for _, l := range d.openLogs() {
		d.saveAgesBefore(deadline, l)
		err := l.close(true)
		well := err == nil && l.failure() == nil
		d.failedClose = d.failedClose || !well
		d.forget(l, l.mark(), well)
		errs = append(errs, err)
	}
	if !d.closed {
		d.closed = true
		err := errors.Join(d.checkpoint(true), d.clock.save())
		if err == nil && !d.failedClose {
			err = d.finishClean()
		}
		if err != nil && !noSpace(err) { // the next start reads more: no reason to fail
			errs = append(errs, err)
		}
	}
	d.metrics.unregister(d.registerer)
	d.registerer = nil
	errs = append(errs, d.unlock())
	return errors.Join(errs...)
}

func (d *Dir) unlock() error {
	if d.lock == nil {
		return nil
	}
	err := d.lock.Close()
	d.lock = nil
	return err
}

// Path is where the directory is.
func (d *Dir) Path() string { return d.path }

// FS is the file system that the directory is on. What is written through it may
// have the reserve.
func (d *Dir) FS() disk.FS { return d.fs }

// Volume tells the size of the file system that the directory is on, and what is
// free there, in bytes; -1 is not known.
func (d *Dir) Volume() (capacity, free int64) {
	var err error
	if capacity, err = disk.Capacity(d.fs, d.path); err != nil {
		capacity = -1
	}
	if free, err = disk.Free(d.fs, d.path); err != nil {
		free = -1
	}
	return capacity, free
}

// ClusterID is the cluster that the data belongs to.
func (d *Dir) ClusterID() string { return d.who().clusterID }

// WallTrusted reports whether the machine's time of day was known to be right when
// it was last looked at.
func (d *Dir) WallTrusted() bool { return d.clock.trusted() != untrusted }

// WallSynchronized reports whether the kernel said, when the machine's time of day was
// last looked at, that it is kept right: at the start, and every 10 s while Run runs. It
// takes no lock.
func (d *Dir) WallSynchronized() bool { return d.clock.synchronized.Load() }

// BrokerID is the broker that the data belongs to.
func (d *Dir) BrokerID() int32 { return d.who().brokerID }

func (d *Dir) who() identity {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.identity
}

// Names returns the logs on disk, open or not, by name. A directory whose creation
// was cut short, before anything could be appended, is not among them.
func (d *Dir) Names() ([]string, error) {
	entries, err := d.fs.ReadDir(d.path)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if !e.IsDir() || checkName(e.Name()) != nil {
			continue
		}
		begun, err := d.begun(e.Name())
		if err != nil {
			return nil, err
		}
		if begun {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// begun reports whether a log's directory got as far as to say whose it is, or
// holds a segment, as one of an older Kafka without topic ids does.
func (d *Dir) begun(name string) (bool, error) {
	if _, err := d.fs.Stat(filepath.Join(d.path, name, partitionMetadata)); err == nil {
		return true, nil
	}
	entries, err := d.fs.ReadDir(filepath.Join(d.path, name))
	return slices.ContainsFunc(entries, func(e fs.DirEntry) bool {
		return e.Name() == partitionMetadata || strings.HasSuffix(e.Name(), logExt)
	}), err
}

// TopicID returns the topic id that the log on disk was made with. Where its own
// file is damaged or gone, the checkpoint may know.
func (d *Dir) TopicID(name string) (string, error) {
	if err := checkName(name); err != nil {
		return "", err
	}
	topicID, err := readTopicID(d.fs, filepath.Join(d.path, name, partitionMetadata))
	if errors.Is(err, errMetadata) || removed(err) {
		d.mu.Lock()
		defer d.mu.Unlock()
		if m, known := d.marks[name]; known && validTopicID(m.topicID) {
			return m.topicID, nil
		}
	}
	return topicID, err
}

// OpenLog opens the log of a partition, named as its directory ("telemetry-3"),
// and makes it when it is missing. It reads what was not synced when the process
// before wrote its last checkpoint, cuts a torn tail, and leaves all that it found
// durable. A log can be open once; several can be opened at the same time.
func (d *Dir) OpenLog(name, topicID string, s Settings) (*Log, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	if !validTopicID(topicID) {
		return nil, fmt.Errorf("open log %s: topic id %.40q", name, topicID)
	}
	d.admin.RLock()
	defer d.admin.RUnlock()
	if !d.begin(name) {
		return nil, fmt.Errorf("open log %s: it is open", name)
	}
	l := &Log{
		name: name, path: filepath.Join(d.path, name), fs: d.fs, files: d.files,
		committer: d.committer, metrics: d.metrics, budget: d.budget, log: d.log,
		topicID: topicID, dir: d, highWatermark: -1,
		quarantine: quarantine{d.fs, filepath.Join(d.path, quarantineDir), name},
	}
	l.settings.Store(s.bounded())
	l.epochs.current.Store(-1)
	l.epochs.next.Store(-1)
	if err := d.makeAndLoad(l, topicID); err != nil {
		d.mu.Lock()
		defer d.mu.Unlock()
		delete(d.logs, name)
		return nil, fmt.Errorf("open log %s: %w", name, err)
	}
	d.budget.used.Add(l.Size())
	d.indexes.join(l.view.Load().active().index.Load())
	d.mu.Lock()
	defer d.mu.Unlock()
	d.logs[name] = l
	delete(d.marks, name)
	delete(d.closedWell, name)
	return l, nil
}

// begin keeps the name for a log that is opened, and reports whether it was free.
func (d *Dir) begin(name string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, taken := d.logs[name]; taken {
		return false
	}
	d.logs[name] = nil
	return true
}

// makeAndLoad makes what is missing of the log, from the outside in: wherever it
// is cut short, it goes on from there the next time.
func (d *Dir) makeAndLoad(l *Log, topicID string) error {
	begun, err := d.begun(l.name)
	if err != nil && !removed(err) {
		return err
	}
	if !begun {
		if err := d.unlist(l.name); err != nil {
			return err
		}
		if err := d.cleanPoints.drop(l.name); err != nil {
			return err
		}
		if err := d.fs.MkdirAll(l.path, 0o755); err != nil {
			return err
		}
		if err := d.fs.SyncDir(d.path); err != nil {
			return err
		}
	}
	if err := l.checkIdentity(topicID); err != nil {
		return err
	}
	d.mu.Lock()
	m, known := d.marks[l.name]
	startOffset := d.startOffsets[l.name]
	d.mu.Unlock()
	if known = known && m.topicID == topicID; !known {
		m = mark{segment: -1}
	}
	m.startOffset = max(m.startOffset, startOffset)
	if m, err = l.finishReset(m); err != nil {
		return err
	}
	return l.load(m)
}

// DeleteLog closes the log, if it is open, and removes it from disk. Once its
// directory has another name the log is gone, whatever happens next; what is left
// of it then is removed by the next OpenDir.
func (d *Dir) DeleteLog(name string) error {
	if err := checkName(name); err != nil {
		return err
	}
	if err := d.cleanPoints.drop(name); err != nil {
		return fmt.Errorf("delete log %s: %w", name, err)
	}
	grave := filepath.Join(d.path, graveName(name))
	if err := d.setAside(name, grave); err != nil {
		return fmt.Errorf("delete log %s: %w", name, err)
	}
	if err := d.fs.RemoveAll(grave); err != nil {
		d.log.Warn("deleted log not removed yet", "log", name, "err", err)
	}
	return nil
}

func (d *Dir) setAside(name, grave string) error {
	d.admin.Lock()
	defer d.admin.Unlock()
	if l := d.find(name); l != nil {
		l.close(false) // nothing that it could fail to keep is wanted
		_ = l.endWith(fmt.Errorf("%s: deleted: %w", name, ErrClosed))
		d.budget.forget(l)
	}
	d.mu.Lock()
	delete(d.logs, name)
	delete(d.marks, name)
	delete(d.highWatermarks, name)
	delete(d.closedWell, name)
	d.mu.Unlock()
	if err := d.fs.Rename(filepath.Join(d.path, name), grave); err != nil {
		return err
	}
	return d.fs.SyncDir(d.path)
}

// graveName returns a name for the directory of a deleted log: telemetry-3 becomes
// telemetry-3.<random>-delete. A long one is cut, to stay below what file systems
// can hold.
func graveName(name string) string {
	return name[:min(len(name), 200)] + "." + rand.Text() + deleted
}

func (d *Dir) find(name string) *Log {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.logs[name]
}

// forget takes a log off the open ones, and keeps its mark and whether that says
// all of it.
func (d *Dir) forget(l *Log, m mark, closedWell bool) {
	d.budget.forget(l)
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.logs, l.name)
	d.marks[l.name], d.closedWell[l.name] = m, closedWell
}

func (d *Dir) wasClosedWell(name string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.closedWell[name]
}

// openLogs returns the logs by name.
func (d *Dir) openLogs() []*Log {
	d.mu.Lock()
	defer d.mu.Unlock()
	logs := slices.Collect(maps.Values(d.logs))
	logs = slices.DeleteFunc(logs, func(l *Log) bool { return l == nil })
	slices.SortFunc(logs, func(a, b *Log) int { return strings.Compare(a.name, b.name) })
	return logs
}

// checkName reports what keeps name from being a partition's directory: a topic,
// a dash and a number, all in one element of a path.
func checkName(name string) error {
	i := strings.LastIndexByte(name, '-')
	if i > 0 && filepath.Base(name) == name {
		if _, err := strconv.ParseUint(name[i+1:], 10, 31); err == nil {
			return nil
		}
	}
	return fmt.Errorf("log name %.80q is not of a topic and a partition", name)
}
