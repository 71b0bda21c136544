package commitlog

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/headwater/headwater/broker/record"
)

// CleanerOptions are what compaction may take of the box, and how it looks into
// batches.
type CleanerOptions struct {
	BufferBytes    int64 // memory for keys, held while a log is compacted
	BytesPerSecond int64 // read and written; not positive is no limit
	MaxBatchBytes  int64 // what a batch may be decompressed; a larger one stays as it is

	Decompress func(c record.Codec, src []byte, maxBytes int64) ([]byte, error)
	Compress   func(c record.Codec, src []byte) ([]byte, error)
}

// Cleaner compacts logs: of each key it keeps the last record. It works on one log
// at a time and is used by one goroutine. Its memory is BufferBytes and a few times
// the largest batch, and nothing when there is nothing to do.
type Cleaner struct {
	o        CleanerOptions
	dir      *Dir
	throttle throttle
	keys     *offsetMap           // nil while idle
	resting  map[string]time.Time // until when a log is left alone whose compaction failed
}

// restAfterFailure is for how long a log is left alone whose compaction failed.
const restAfterFailure = 10 * time.Minute

// NewCleaner returns a cleaner of d's logs.
func NewCleaner(d *Dir, o CleanerOptions) *Cleaner {
	return &Cleaner{o: o, dir: d, throttle: throttle{perSecond: o.BytesPerSecond}, resting: map[string]time.Time{}}
}

// Compactable is a log that may be compacted, if its settings say so.
type Compactable struct {
	Log           *Log
	HighWatermark int64 // only what lies before it is touched
	// Producers returns the last offset of each producer that is remembered. The
	// batch that ends there stays, though it be without records.
	Producers func() map[int64]int64
}

// CleanDirtiest compacts the log that has most to gain, if one has enough. It
// reports whether it is worth looking again at once. What goes wrong with a log is
// logged, and it is left alone for a while.
func (c *Cleaner) CleanDirtiest(ctx context.Context, logs []Compactable) (more bool) {
	dirtiest, from, found := c.pick(logs)
	if !found {
		c.keys = nil
		return false
	}
	if c.keys == nil {
		c.keys = newOffsetMap(c.o.BufferBytes)
	}
	clear(c.keys.slots)
	c.keys.used = 0
	l, start := dirtiest.Log, time.Now()
	r := newRound(ctx, c, dirtiest, from)
	err := r.run()
	c.dir.metrics.cleaned(r.stats, c.keys.filled(), time.Since(start))
	switch {
	case err == nil:
		c.dir.log.Info("log compacted", "log", l.name, "fromOffset", from, "toOffset", r.end, "readBytes", r.stats.readBytes,
			"writtenBytes", r.stats.writtenBytes, "recordsRemoved", r.stats.recordsRemoved, "freedBytes", r.stats.freedBytes, "took", time.Since(start))
	case ctx.Err() != nil || errors.Is(err, ErrClosed):
	case errors.Is(err, errChanged): // by retention, a repair or a truncation: the next look starts over
	default:
		c.resting[l.name] = time.Now().Add(restAfterFailure)
		c.dir.metrics.uncleanableLogs.Set(float64(len(c.resting)))
		c.dir.log.Error("log not compacted", "log", l.name, "restsFor", restAfterFailure, "err", err)
	}
	return ctx.Err() == nil && err == nil
}

// pick returns the log that is compacted next, and the offset before which it is.
func (c *Cleaner) pick(logs []Compactable) (dirtiest Compactable, from int64, found bool) {
	now, highest, best := c.dir.clock.now(), 0.0, -1.0
	resting := map[string]time.Time{}
	for _, l := range logs {
		if !l.Log.settings.Load().Compact || l.Log.usable() != nil {
			continue
		}
		d := l.Log.dirt(c.dir.cleanPoints.get(l.Log.name), l.HighWatermark, now)
		highest = max(highest, d.ratio())
		if until, ok := c.resting[l.Log.name]; ok && time.Now().Before(until) {
			resting[l.Log.name] = until
			continue
		}
		if d.due(l.Log.settings.Load()) && d.ratio() > best {
			dirtiest, from, found, best = l, d.from, true, d.ratio()
		}
	}
	c.resting = resting // those that are deleted, or not to be compacted any more, are forgotten
	c.dir.metrics.uncleanableLogs.Set(float64(len(resting)))
	c.dir.metrics.dirtiest.Set(100 * highest)
	return dirtiest, from, found
}

// dirt is how much of a log is compacted and how much could be.
type dirt struct {
	from       int64 // offset: what is before it was compacted
	cleanBytes int64
	dirtyBytes int64 // that may be compacted now
	overdue    bool  // a record has waited for as long as one may
}

func (d dirt) ratio() float64 {
	if d.dirtyBytes == 0 {
		return 0
	}
	return float64(d.dirtyBytes) / float64(d.cleanBytes+d.dirtyBytes)
}

// due reports whether the log is to be compacted.
func (d dirt) due(s *Settings) bool {
	return d.dirtyBytes > 0 && (d.overdue || d.ratio() > s.MinDirtyRatio)
}

// dirt says what there is to compact in l, which was compacted before the offset
// cleanEnd.
func (l *Log) dirt(cleanEnd, highWatermark int64, now time.Duration) dirt {
	v, s := l.view.Load(), l.settings.Load()
	d := dirt{from: cleanStart(v, cleanEnd)}
	until := l.cleanableEnd(v, d.from, highWatermark, now)
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, seg := range v.segments[:len(v.segments)-1] {
		switch {
		case v.endOf(i) <= d.from:
			d.cleanBytes += seg.size.Load()
		case seg.baseOffset < until:
			if d.dirtyBytes == 0 && s.MaxCompactionLag > 0 && seg.firstAppend > 0 {
				d.overdue = l.dir.clock.ago(seg.firstAppend, now) > s.MaxCompactionLag
			}
			d.dirtyBytes += seg.size.Load()
		}
	}
	return d
}

// cleanStart is where compaction goes on. A checkpoint that is not of this log as
// it stands is of no use.
func cleanStart(v *view, cleanEnd int64) int64 {
	if cleanEnd > v.active().baseOffset {
		return v.startOffset()
	}
	return max(cleanEnd, v.startOffset())
}

// cleanableEnd returns the offset up to which l may be compacted: whole sealed
// segments, below the high watermark, that have not been appended to for as long
// as the settings say.
func (l *Log) cleanableEnd(v *view, from, highWatermark int64, now time.Duration) int64 {
	lag := l.settings.Load().MinCompactionLag
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, s := range v.segments[:len(v.segments)-1] {
		young := lag > 0 && l.dir.clock.ago(s.lastAppend, now) < lag
		if v.endOf(i) > from && (young || v.endOf(i) > highWatermark) {
			return s.baseOffset
		}
	}
	return v.active().baseOffset
}

// throttle bounds what the cleaner reads and writes in a second.
type throttle struct {
	perSecond int64
	free      time.Time // when all that was counted is allowed
}

// minPause is the shortest that it is worth to wait.
const minPause = 20 * time.Millisecond

// count waits until n bytes more are allowed.
func (t *throttle) count(ctx context.Context, n int64) error {
	if t.perSecond <= 0 {
		return ctx.Err()
	}
	now := time.Now()
	if t.free.Before(now) {
		t.free = now
	}
	t.free = t.free.Add(time.Duration(float64(n) / float64(t.perSecond) * float64(time.Second)))
	pause := t.free.Sub(now)
	if pause < minPause {
		return ctx.Err()
	}
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// errChanged ends a round over a log whose segments are others by now.
var errChanged = errors.New("segments were removed, replaced or truncated meanwhile")

// cleanFailure says where compaction failed.
func cleanFailure(s *segment, err error) error {
	if removed(err) {
		return errChanged
	}
	return fmt.Errorf("segment %d: %w", s.baseOffset, err)
}
