package commitlog

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/headwater/headwater/broker/disk"
)

// countedFS is a file system whose process may have only so many files open. It
// notes files that are closed with bytes in them that were not synced.
type countedFS struct {
	disk.FS
	mu       sync.Mutex // guards all below
	open     int
	most     int
	limit    int // 0: none
	unsynced []string
	onSync   func(name string) error
}

func (c *countedFS) allow(limit int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.limit = limit
}

// take counts n more open files.
func (c *countedFS) take(n int) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.limit > 0 && n > 0 && c.open >= c.limit {
		return fmt.Errorf("%d files are open: %w", c.open, syscall.EMFILE)
	}
	c.open += n
	c.most = max(c.most, c.open)
	return nil
}

func (c *countedFS) OpenFile(name string, flag int, perm fs.FileMode) (disk.File, error) {
	if err := c.take(1); err != nil {
		return nil, err
	}
	f, err := c.FS.OpenFile(name, flag, perm)
	if err != nil {
		c.take(-1)
		return nil, err
	}
	return &countedFile{File: f, c: c, name: name}, nil
}

func (c *countedFS) SyncDir(name string) error {
	if err := c.take(1); err != nil {
		return err
	}
	defer c.take(-1)
	return c.FS.SyncDir(name)
}

func (c *countedFS) ReadDir(name string) ([]fs.DirEntry, error) {
	if err := c.take(1); err != nil {
		return nil, err
	}
	defer c.take(-1)
	return c.FS.ReadDir(name)
}

type countedFile struct {
	disk.File
	c     *countedFS
	name  string
	dirty bool // guarded by c.mu
}

func (f *countedFile) set(dirty bool) {
	f.c.mu.Lock()
	defer f.c.mu.Unlock()
	f.dirty = dirty
}

func (f *countedFile) WriteAt(p []byte, off int64) (int, error) {
	defer f.set(true)
	return f.File.WriteAt(p, off)
}

func (f *countedFile) Sync() error {
	if f.c.onSync != nil {
		if err := f.c.onSync(f.name); err != nil {
			return err
		}
	}
	f.set(false) // before: a write meanwhile counts
	return f.File.Sync()
}

func (f *countedFile) Close() error {
	f.c.mu.Lock()
	if _, ext, ok := parseSegmentName(lastPart(f.name)); f.dirty && ok && ext == logExt {
		f.c.unsynced = append(f.c.unsynced, f.name)
	}
	f.c.mu.Unlock()
	f.c.take(-1)
	return f.File.Close()
}

func lastPart(name string) string {
	for i := len(name) - 1; i >= 0; i-- {
		if os.IsPathSeparator(name[i]) {
			return name[i+1:]
		}
	}
	return name
}

// openMany opens n logs, named "t-0" and so on.
func openMany(t *testing.T, d *running, n int) []*watched {
	t.Helper()
	logs := make([]*watched, n)
	for i := range logs {
		logs[i] = d.mustOpen(t, fmt.Sprintf("t-%d", i), keepAll)
	}
	return logs
}

// An idle log has no file open: not after a start, and not once it was left alone
// for as long as Tidy takes to come again.
func TestIdleLogHasNoFileOpen(t *testing.T) {
	for _, policy := range []Policy{Sync, OS} {
		crash := disk.NewCrash(0)
		d := start(t, crash, Options{Policy: policy})
		for i, l := range openMany(t, d, 20) {
			l.mustAppend(t, newBatch(1, int64(i), 100, 'a'))
			if err := l.await(1); err != nil {
				t.Fatal(err)
			}
		}
		if err := d.stop(); err != nil {
			t.Fatal(err)
		}
		counted := &countedFS{FS: crash}
		d = start(t, counted, Options{Policy: policy})
		logs := openMany(t, d, 20)
		for _, l := range logs {
			if epoch, err := l.LastEpoch(); epoch != 1 || err != nil {
				t.Fatalf("last epoch %d, %v", epoch, err)
			}
		}
		if counted.open != 0 {
			t.Errorf("%v: %d files open after a start, want none", policy, counted.open)
		}
		for _, l := range logs {
			l.mustAppend(t, newBatch(1, 0, 100, 'b'))
			if err := l.await(2); err != nil {
				t.Fatal(err)
			}
		}
		if open, _ := d.files.count(); open != len(logs) || counted.open != open {
			t.Errorf("%v: %d files kept and %d open after an append to each of %d logs", policy, open, counted.open, len(logs))
		}
		d.syncAll() // as a checkpoint does where no policy does
		d.Tidy()
		everything(t, logs[3].Log)
		d.Tidy()
		if open, dirty := d.files.count(); open != 1 || dirty != 0 {
			t.Errorf("%v: %d files open, %d dirty, want the one that was read", policy, open, dirty)
		}
		d.Tidy()
		d.Tidy()
		if counted.open != 0 {
			t.Errorf("%v: %d files open in an idle directory, want none", policy, counted.open)
		}
	}
}

// However many logs are appended to, few files are open, and none is closed before
// what was written to it is synced: not under a policy that does not sync, either.
func TestFewFilesOpenAndNoneClosedUnsynced(t *testing.T) {
	for _, policy := range []Policy{Sync, Interval, OS} {
		t.Run(policy.String(), func(t *testing.T) {
			counted := &countedFS{FS: disk.NewCrash(0)}
			d := start(t, counted, Options{Policy: policy, Interval: time.Hour, OpenFiles: 16})
			logs := openMany(t, d, 100)
			var writers sync.WaitGroup
			for w := range 4 {
				writers.Go(func() {
					for i := range 400 {
						if _, err := logs[(i*7+w*25)%len(logs)].Append(newBatch(1, 0, 10, 'x'), 1); err != nil {
							t.Error(err)
						}
					}
				})
			}
			writers.Wait()
			for i, l := range logs {
				if l.EndOffset() != 16 || len(everything(t, l.Log)) == 0 {
					t.Errorf("log %d ends at %d", i, l.EndOffset())
				}
			}
			if err := d.stop(); err != nil {
				t.Fatal(err)
			}
			for _, l := range logs {
				if durable, _, err := l.told(); durable != 16 && policy != OS || err != nil {
					t.Errorf("told %d, %v", durable, err)
				}
			}
			// In use at a moment: four writers, eight syncers, each with a file and a
			// directory of their own.
			if counted.most > 16+2*(4+syncers) {
				t.Errorf("%d files were open at a time, with 16 to be kept", counted.most)
			}
			if len(counted.unsynced) > 0 {
				t.Errorf("closed before they were synced: %v", counted.unsynced)
			}
			if counted.open > 0 {
				t.Errorf("%d files open after Close", counted.open)
			}
		})
	}
}

// What was open beyond the bound because it was in use is closed when it is not.
func TestFilesAreClosedAfterUse(t *testing.T) {
	d := start(t, disk.NewCrash(0), Options{OpenFiles: 2})
	logs := openMany(t, d, 5)
	var used []*handle
	for _, l := range logs {
		used = append(used, must(d.files.acquire(l.view.Load().active(), logExt)))
	}
	for i, h := range used {
		d.files.release(h)
		if open, _ := d.files.count(); open > max(2, len(used)-1-i) {
			t.Errorf("%d files are open, with %d in use and 2 to be kept", open, len(used)-1-i)
		}
	}
}

// A write-back that fails while a file is synced to make room takes its log off
// line, and no other, though nobody waited for that sync.
func TestFailureOfASyncThatMakesRoom(t *testing.T) {
	counted := &countedFS{FS: disk.NewCrash(0), onSync: func(name string) error {
		if name == "data/t-2/00000000000000000000.log" {
			return syscall.EIO
		}
		return nil
	}}
	d := start(t, counted, Options{Policy: OS, OpenFiles: 8})
	logs := openMany(t, d, 30)
	for i, l := range logs {
		if _, err := l.Append(newBatch(1, 0, 10, 'x'), 1); err != nil {
			t.Errorf("append to log %d: %v", i, err)
		}
	}
	if err := logs[2].await(2); !errors.Is(err, ErrOffline) || !errors.Is(err, syscall.EIO) {
		t.Errorf("log 2 is told %v, want %v", err, ErrOffline)
	}
	for i, l := range logs {
		if _, err := l.Append(newBatch(1, 0, 10, 'x'), 1); errors.Is(err, ErrOffline) != (i == 2) {
			t.Errorf("append to log %d: %v", i, err)
		}
	}
	if n := testutil.ToFloat64(d.metrics.logsOffline); n != 1 {
		t.Errorf("%v logs offline, want 1", n)
	}
	if open, dirty := d.files.count(); open > 8 || dirty > d.files.maxDirty() {
		t.Errorf("%d files open, %d dirty", open, dirty)
	}
}

// When the process has no descriptor left, files that are only kept open go. When
// that is not enough, what needs one is refused, and no log goes off line: once
// others have closed theirs, all goes on.
func TestNoDescriptorLeft(t *testing.T) {
	counted := &countedFS{FS: disk.NewCrash(0)}
	d := start(t, counted, Options{Policy: Sync, OpenFiles: 100})
	logs := openMany(t, d, 50)
	appendAll := func() (refused int) {
		for i, l := range logs {
			end := l.EndOffset()
			_, err := l.Append(newBatch(1, 0, 10, 'x'), 1)
			switch {
			case errors.Is(err, ErrDescriptors):
				refused++
				continue
			case err != nil:
				t.Fatalf("append to log %d: %v", i, err)
			}
			if err := l.await(end + 1); err != nil {
				t.Fatalf("log %d: %v", i, err)
			}
		}
		return refused
	}
	appendAll()
	counted.allow(10)
	if n := appendAll(); n > 0 {
		t.Errorf("%d appends refused, though files could be closed", n)
	}
	d.files.shed()
	for open, _ := d.files.count(); open > 0; open, _ = d.files.count() {
		d.files.shed()
	}
	if err := counted.take(10); err != nil { // connections, say
		t.Fatal(err)
	}
	if n := appendAll(); n != len(logs) {
		t.Errorf("%d appends refused, want all %d", n, len(logs))
	}
	if _, err := logs[0].Read(0, logs[0].EndOffset(), 1000, true); !errors.Is(err, ErrDescriptors) {
		t.Errorf("read: %v, want %v", err, ErrDescriptors)
	}
	old := keepAll
	old.SegmentAge = time.Nanosecond
	logs[0].Configure(old) // the next append has to roll
	if _, err := logs[0].Append(newBatch(1, 0, 10, 'x'), 1); !errors.Is(err, ErrDescriptors) {
		t.Errorf("append that rolls: %v, want %v", err, ErrDescriptors)
	}
	if _, err := logs[0].Retain(logs[0].EndOffset()); !errors.Is(err, ErrDescriptors) {
		t.Errorf("roll for age: %v, want %v", err, ErrDescriptors)
	}
	counted.take(-10)
	if n := appendAll(); n > 0 {
		t.Errorf("%d appends refused when there were descriptors again", n)
	}
	if n := len(logs[0].view.Load().segments); n != 2 {
		t.Errorf("%d segments, want 2: the roll was not made up for", n)
	}
	if n := testutil.ToFloat64(d.metrics.logsOffline); n != 0 {
		t.Errorf("%v logs offline, want none", n)
	}
}
