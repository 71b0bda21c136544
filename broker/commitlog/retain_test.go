package commitlog

import (
	"errors"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/headwater/headwater/broker/disk"
)

func TestRetainBytes(t *testing.T) {
	for name, tc := range map[string]struct {
		retain    func(all, segment int64) int64
		highWater int64
		start     int64
	}{
		"keepAll":     {func(all, segment int64) int64 { return -1 }, 30, 0},
		"enough":      {func(all, segment int64) int64 { return all }, 30, 0},
		"almost":      {func(all, segment int64) int64 { return all - segment + 1 }, 30, 0},
		"one":         {func(all, segment int64) int64 { return all - segment }, 30, 6},
		"three":       {func(all, segment int64) int64 { return all - 3*segment }, 30, 18},
		"notActive":   {func(all, segment int64) int64 { return 0 }, 30, 24},
		"highWater":   {func(all, segment int64) int64 { return 0 }, 12, 12},
		"inSegment":   {func(all, segment int64) int64 { return 0 }, 17, 12},
		"nothingRead": {func(all, segment int64) int64 { return 0 }, 0, 0},
	} {
		l, batches := tenBatches(t)
		segment := int64(2 * len(batches[0]))
		all := l.Size()
		l.Configure(Settings{SegmentBytes: 700, RetentionBytes: tc.retain(all, segment), Retention: -1})
		removed, err := l.Retain(tc.highWater)
		if err != nil || l.StartOffset() != tc.start || removed != tc.start/6*segment || l.Size() != all-removed {
			t.Errorf("%s: starts at %d, %d bytes removed, %d left, %v; want %d", name, l.StartOffset(), removed, l.Size(), err, tc.start)
		}
		if _, err := l.Read(tc.start-1, 30, 100, true); !errors.Is(err, ErrOffsetOutOfRange) {
			t.Errorf("%s: what was removed: %v, want ErrOffsetOutOfRange", name, err)
		}
		everything(t, l.Log)
	}
}

// Age counts from the last append to a segment, by the time of the append.
func TestRetainAge(t *testing.T) {
	clock := newFakeClock()
	d := start(t, disk.NewCrash(0), Options{Policy: OS, Clock: clock})
	s := Settings{SegmentBytes: 300, RetentionBytes: -1, Retention: time.Hour}
	l := d.mustOpen(t, "t-0", s)
	for range 4 { // a segment each, ten minutes apart, with timestamps from long ago
		l.mustAppend(t, newBatch(1, 5, 250, 'x'))
		clock.pass(10 * time.Minute)
	}
	for _, tc := range []struct {
		wait  time.Duration
		start int64
	}{{20 * time.Minute, 0}, {time.Millisecond, 1}, {10 * time.Minute, 2}, {10 * time.Minute, 3}, {time.Hour, 4}, {time.Hour, 4}} {
		clock.pass(tc.wait)
		if _, err := l.Retain(l.EndOffset()); err != nil || l.StartOffset() != tc.start {
			t.Errorf("after %v more: starts at %d, %v, want %d", tc.wait, l.StartOffset(), err, tc.start)
		}
	}
	if l.Size() != 0 || l.EndOffset() != 4 {
		t.Errorf("%d bytes to offset %d are left of a log that aged out, want none to 4", l.Size(), l.EndOffset())
	}
	if base := l.mustAppend(t, newBatch(1, 5, 10, 'x')); base != 4 {
		t.Errorf("appended at %d, want 4", base)
	}
}

// A segment is sealed at SegmentAge, by an append or by Retain.
func TestSegmentAge(t *testing.T) {
	clock := newFakeClock()
	d := start(t, disk.NewCrash(0), Options{Clock: clock})
	l := d.mustOpen(t, "t-0", Settings{SegmentBytes: 1 << 20, SegmentAge: time.Hour, RetentionBytes: -1, Retention: -1})
	segments := func() int { return len(l.view.Load().segments) }
	retain := func() {
		if _, err := l.Retain(0); err != nil {
			t.Fatal(err)
		}
	}
	clock.pass(2 * time.Hour)
	retain()
	l.mustAppend(t, newBatch(1, 0, 10, 'x'))
	clock.pass(time.Hour - time.Second)
	l.mustAppend(t, newBatch(1, 0, 10, 'x'))
	retain()
	if segments() != 1 {
		t.Fatalf("%d segments before the age, want 1: an empty one has none", segments())
	}
	clock.pass(time.Second)
	l.mustAppend(t, newBatch(1, 0, 10, 'x'))
	if segments() != 2 {
		t.Errorf("%d segments after an append at the age, want 2", segments())
	}
	clock.pass(time.Hour)
	retain()
	retain()
	if segments() != 3 {
		t.Errorf("%d segments after Retain at the age, want 3", segments())
	}
}

// How old a segment is outlives the process, and is not what its file's time says.
func TestAgeAfterRestart(t *testing.T) {
	path, clock := filepath.Join(t.TempDir(), "data"), newFakeClock()
	s := Settings{SegmentBytes: 200, RetentionBytes: -1, Retention: time.Hour}
	d := must(run(disk.OS{}, path, Options{Clock: clock}))
	l := d.mustOpen(t, "t-0", s)
	for range 4 {
		l.mustAppend(t, newBatch(1, 0, 150, 'x'))
		clock.pass(20 * time.Minute)
	}
	if err := d.stop(); err != nil {
		t.Fatal(err)
	}
	for i, file := range must(filepath.Glob(filepath.Join(path, "t-0", "*.log"))) {
		wrong := time.Now().AddDate(10-20*(i%2), 0, 0)
		if err := os.Chtimes(file, wrong, wrong); err != nil {
			t.Fatal(err)
		}
	}
	d = must(run(disk.OS{}, path, Options{Clock: clock}))
	defer d.stop()
	l = d.mustOpen(t, "t-0", s)
	for start := int64(1); start <= 4; start++ { // the first is 80 minutes old, the next 60, which is not more than an hour
		if _, err := l.Retain(4); err != nil || l.StartOffset() != start {
			t.Errorf("starts at %d, %v, want %d", l.StartOffset(), err, start)
		}
		clock.pass(20 * time.Minute)
	}
}

// A disk that is too full to seal a segment needs retention all the more.
func TestRetainOnFullDisk(t *testing.T) {
	var full atomic.Bool
	fsys := &faulty{FS: disk.NewCrash(0), onWrite: func(string, []byte) (int, error) {
		if full.Load() {
			return 0, errNoSpace
		}
		return 0, nil
	}}
	clock := newFakeClock()
	l := start(t, fsys, Options{Clock: clock}).mustOpen(t, "t-0", Settings{SegmentBytes: 200, RetentionBytes: -1, Retention: 0})
	for range 3 {
		l.mustAppend(t, newBatch(1, 0, 150, 'x'))
	}
	full.Store(true)
	clock.pass(time.Hour)
	if _, err := l.Retain(3); !errors.Is(err, ErrFull) || l.StartOffset() != 2 {
		t.Errorf("starts at %d, %v; want 2 and ErrFull", l.StartOffset(), err)
	}
}

// Once the name of a removed segment may come back, nothing more is removed.
func TestRetainFailedSync(t *testing.T) {
	fsys := &faulty{FS: disk.NewCrash(0)}
	l := start(t, fsys, Options{Policy: OS}).mustOpen(t, "t-0", Settings{SegmentBytes: 200, RetentionBytes: 0, Retention: -1})
	for range 5 {
		l.mustAppend(t, newBatch(1, 0, 150, 'x'))
	}
	fsys.onSyncDir = failFor(logDir, syscall.EIO)
	for range 2 {
		if _, err := l.Retain(5); !errors.Is(err, ErrOffline) || l.StartOffset() != 1 {
			t.Errorf("starts at %d, %v; want 1 and ErrOffline", l.StartOffset(), err)
		}
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
