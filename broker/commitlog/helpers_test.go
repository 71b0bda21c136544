package commitlog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"sync"
	"testing"

	"github.com/headwater/headwater/broker/disk"
	"github.com/headwater/headwater/broker/record"
)

const (
	topicA = "AAAAAAAAQACAAAAAAAAAAA"
	topicB = "BAAAAAAAQACAAAAAAAAAAA"
)

var keepAll = Settings{SegmentBytes: 1 << 20, RetentionBytes: -1, Retention: -1}

// newBatch returns a batch of count records, the first at timestamp, each later
// one a millisecond after the one before, with values of valueBytes.
func newBatch(count int, timestamp int64, valueBytes int, mark byte) record.Batch {
	var bu record.Builder
	for i := range count {
		bu.Add(timestamp+int64(i), []byte("key"), bytes.Repeat([]byte{mark}, valueBytes), nil)
	}
	return bu.Batch()
}

// running is a data directory with its committer running.
type running struct {
	*Dir
	stop   func() error // stops the committer; then closes
	opened map[string]*watched
}

func start(t testing.TB, fsys disk.FS, o Options) *running {
	t.Helper()
	path := "data"
	if _, ok := fsys.(disk.OS); ok {
		path = filepath.Join(t.TempDir(), path)
	}
	d, err := run(fsys, path, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.stop() })
	return d
}

func run(fsys disk.FS, path string, o Options) (*running, error) {
	o.FS = fsys
	d, err := OpenDir(path, o)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx) }()
	return &running{Dir: d, opened: map[string]*watched{}, stop: sync.OnceValue(func() error {
		cancel()
		return errors.Join(<-ended, d.Close())
	})}, nil
}

// watched is a log with what its notify function was told.
type watched struct {
	*Log
	mu      sync.Mutex
	durable int64
	err     error
	cuts    int64 // truncations
	calls   int
	changed chan struct{}
}

func (d *running) open(name, topicID string, s Settings) (*watched, error) {
	l, err := d.OpenLog(name, topicID, s)
	if err != nil {
		return nil, err
	}
	w := &watched{Log: l, durable: l.DurableEnd(), changed: make(chan struct{}, 1)}
	l.Notify(func(durableEnd int64, err error) {
		w.mu.Lock()
		defer w.mu.Unlock()
		if durableEnd < w.durable && l.cuts.Load() == w.cuts || w.err != nil {
			panic(fmt.Sprintf("told %d, %v after %d, %v", durableEnd, err, w.durable, w.err))
		}
		w.durable, w.err, w.cuts = durableEnd, err, l.cuts.Load()
		w.calls++
		select {
		case w.changed <- struct{}{}:
		default:
		}
	})
	d.opened[name] = w
	return w, nil
}

func (d *running) mustOpen(t testing.TB, name string, s Settings) *watched {
	t.Helper()
	l, err := d.open(name, topicA, s)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// Truncate and Reset are those of the log, after which what was told before does not
// count.
func (w *watched) Truncate(endOffset int64) error {
	return w.renewed(w.Log.Truncate(endOffset))
}

func (w *watched) Reset(startOffset int64) error {
	return w.renewed(w.Log.Reset(startOffset))
}

func (w *watched) renewed(err error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.durable = min(w.durable, w.DurableEnd())
	return err
}

func (w *watched) told() (durable int64, calls int, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.durable, w.calls, w.err
}

// await waits until all before end is durable, or the log has failed. Under OS the
// append has made it so, and is told to others later.
func (w *watched) await(end int64) error {
	for {
		durable, _, err := w.told()
		if w.committer.policy == OS {
			durable = w.DurableEnd()
		}
		if err != nil || durable >= end {
			return err
		}
		<-w.changed
	}
}

func (w *watched) mustAppend(t testing.TB, b record.Batch) int64 {
	t.Helper()
	base, err := w.Append(b, 1)
	if err != nil {
		t.Fatal(err)
	}
	return base
}

// everything reads the log from its start to its end.
func everything(t testing.TB, l *Log) []byte {
	t.Helper()
	all, err := readAll(l)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// readAll reads the log from its start to its end, a segment's worth at a time, and
// past the offsets at its end that are lost.
func readAll(l *Log) (all []byte, err error) {
	for at := l.StartOffset(); at < l.EndOffset(); {
		got, err := l.Read(at, l.EndOffset(), 1<<20, true)
		if err != nil {
			return nil, fmt.Errorf("read from %d of %d to %d: %w", at, l.StartOffset(), l.EndOffset(), err)
		}
		if len(got) == 0 {
			break
		}
		for rest := got; len(rest) > 0; {
			b, after, err := record.Next(rest)
			if err != nil {
				return nil, fmt.Errorf("read from %d: %w", at, err)
			}
			at, rest = b.NextOffset(), after
		}
		all = append(all, got...)
	}
	return all, nil
}

// faulty lets a test meddle with the files of another file system. A nil function
// does not.
type faulty struct {
	disk.FS
	onOpen    func(name string) error
	onWrite   func(name string, p []byte) (cut int, err error) // cut bytes are written before err
	onSync    func(name string) error
	onCut     func(name string) error
	onSyncDir func(name string) error
}

func (f *faulty) OpenFile(name string, flag int, perm fs.FileMode) (disk.File, error) {
	if f.onOpen != nil {
		if err := f.onOpen(name); err != nil {
			return nil, err
		}
	}
	file, err := f.FS.OpenFile(name, flag, perm)
	return &faultyFile{file, f, name}, err
}

func (f *faulty) SyncDir(name string) error {
	if f.onSyncDir != nil {
		if err := f.onSyncDir(name); err != nil {
			return err
		}
	}
	return f.FS.SyncDir(name)
}

type faultyFile struct {
	disk.File
	f    *faulty
	name string
}

func (f *faultyFile) WriteAt(p []byte, off int64) (int, error) {
	if f.f.onWrite != nil {
		if n, err := f.f.onWrite(f.name, p); err != nil {
			f.File.WriteAt(p[:n], off)
			return n, err
		}
	}
	return f.File.WriteAt(p, off)
}

func (f *faultyFile) Sync() error {
	if f.f.onSync != nil {
		if err := f.f.onSync(f.name); err != nil {
			return err
		}
	}
	return f.File.Sync()
}

func (f *faultyFile) Truncate(size int64) error {
	if f.f.onCut != nil {
		if err := f.f.onCut(f.name); err != nil {
			return err
		}
	}
	return f.File.Truncate(size)
}

// put writes a file as it is, synced.
func put(t testing.TB, fsys disk.FS, path string, data []byte) {
	t.Helper()
	if err := disk.WriteFile(fsys, path, data); err != nil {
		t.Fatal(err)
	}
}

func get(t testing.TB, fsys disk.FS, path string) []byte {
	t.Helper()
	data, err := disk.ReadFile(fsys, path, 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
