package commitlog

import (
	"cmp"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/headwater/headwater/broker/disk"
)

// BudgetAuto is the Budget of a directory that may fill most of what its file
// system had free, and it held itself, when Run began.
const BudgetAuto int64 = -1

// autoShare is how much of that BudgetAuto takes. The rest is for what is not
// counted: indexes, names, the file system's own tables, other programs.
const autoShare = 0.9

// autoBudget is the budget over a file system that has freeBytes left beside the
// heldBytes of our own.
func autoBudget(freeBytes, heldBytes int64) int64 {
	return int64(autoShare * (float64(freeBytes) + float64(heldBytes)))
}

// why a segment went, as the metrics name it.
type dropReason int

const (
	byRetention  dropReason = iota // it was what the topic's settings no longer keep
	byBudget                       // the box's budget needed its room
	byFullDisk                     // the file system was full before the budget was
	byDelete                       // someone asked for it (DeleteRecords)
	byTruncation                   // the leader's log has others, or begins later
	dropReasons
)

var dropLabels = [dropReasons]string{byRetention: "retention", byBudget: "budget", byFullDisk: "disk_full", byDelete: "delete_records", byTruncation: "truncation"}

// refusalHolds is for how long the answer that there is no room stands, so that
// those who try again at once do not each have all segments looked through.
const refusalHolds = 100 * time.Millisecond

// budget bounds what all logs of a directory hold together. An append asks before
// it writes; while there is room that costs one atomic addition, and no lock.
// Lock order: mu comes before every lock of a Log.
type budget struct {
	limit   atomic.Int64 // bytes; math.MaxInt64 is no limit
	reserve *reserveFS
	used    atomic.Int64 // bytes of the open logs' batches, and of appends under way
	freed   atomic.Int64 // bytes of segments that were removed, since the start
	logs    func() []*Log
	metrics *metrics
	log     *slog.Logger

	mu          sync.Mutex // one at a time looks for room; guards all below
	refusedAt   time.Time  // when there was none
	refusedNeed int64      // of how many bytes
	refusals    burst      // of appends
	drops       burst      // of segments
}

func newBudget(limit int64, reserve *reserveFS, logs func() []*Log, m *metrics, log *slog.Logger) *budget {
	b := &budget{reserve: reserve, logs: logs, metrics: m, log: log}
	if limit <= 0 {
		limit = math.MaxInt64
	}
	b.limit.Store(limit)
	m.watch(b)
	return b
}

// errReserved is for a batch while what is free is what the reserve was.
var errReserved = fmt.Errorf("%w: the disk is full, and what is free is kept for the box itself (data.reserve)", ErrFull)

// admit takes n bytes of the budget, for which old segments go when they must. It
// returns an error that wraps ErrFull, and takes nothing, when too few may.
func (b *budget) admit(n int64) error {
	if used := b.used.Add(n); used <= b.limit.Load() && !b.reserve.given.Load() {
		return nil
	}
	err := b.makeRoom(n, byBudget, func() int64 { return b.used.Load() - b.limit.Load() })
	if err == nil && b.reserve.given.Load() && !b.regain(n) {
		b.used.Add(-n)
		return errReserved
	}
	if err != nil {
		b.used.Add(-n)
		err = fmt.Errorf("%w: the budget of %d bytes for all topics (data.budget) is used up, and too little of it may be dropped (headwater.full)", ErrFull, b.limit.Load())
	}
	return err
}

// relieve drops the oldest segments when the file system was too full for n bytes,
// though the budget was not, and makes a reserve again that was given meanwhile. It
// reports whether it is worth trying again.
func (b *budget) relieve(n int64) bool {
	before := b.freed.Load()
	return b.makeRoom(n, byFullDisk, func() int64 { return n - (b.freed.Load() - before) }) == nil && (!b.reserve.given.Load() || b.regain(n))
}

// regain makes the reserve that was given again, for which old segments go when
// they must, and reports whether it is there.
func (b *budget) regain(n int64) bool {
	if b.reserve.keep() {
		return true
	}
	before := b.freed.Load()
	return b.makeRoom(n, byFullDisk, func() int64 {
		if missing, err := b.reserve.missing(); err == nil {
			return missing
		}
		return n + b.reserve.size - (b.freed.Load() - before)
	}) == nil && b.reserve.keep()
}

// makeRoom drops the oldest segments, of whatever log, until need says 0 or less.
// It drops none when all that may go would not be enough for an append of n bytes.
func (b *budget) makeRoom(n int64, why dropReason, need func() int64) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for range maxRoomRounds { // what is chosen may be gone, or written to, when its turn comes
		missing := need()
		if missing <= 0 {
			return nil
		}
		if n > b.limit.Load() || missing >= b.refusedNeed && time.Since(b.refusedAt) < refusalHolds {
			break
		}
		victims := oldestToFit(b.candidates(why), missing)
		if victims == nil {
			b.refusedAt, b.refusedNeed = time.Now(), missing
			break
		}
		for _, v := range victims {
			b.drop(v, why)
		}
	}
	if need() <= 0 {
		return nil
	}
	b.metrics.refusedAppends.Inc()
	if b.refusals.add(0, 0) {
		b.log.Error("no room left; appends are refused", "reason", dropLabels[why], "usedBytes", b.used.Load(), "budgetBytes", b.limit.Load())
	}
	return ErrFull
}

// maxRoomRounds bounds how often makeRoom chooses anew: writers go on meanwhile.
const maxRoomRounds = 64

// candidate is a segment that may go for want of room.
type candidate struct {
	log        *Log
	seg        *segment
	bytes      int64
	lastAppend time.Duration // by the age clock
}

// candidates lists what may go, each log's segments in their order. None counts as
// older than one before it in its log, whatever is known of its age: it cannot go
// first, and to choose it would make no room. On a full file system that is sealed
// segments only: to seal one takes room.
func (b *budget) candidates(why dropReason) []candidate {
	var all []candidate
	for _, l := range b.logs() {
		if l.settings.Load().KeepWhenFull || l.usable() != nil {
			continue
		}
		segments := l.view.Load().segments
		if why == byFullDisk {
			segments = segments[:len(segments)-1]
		}
		youngest := time.Duration(0)
		l.mu.Lock()
		for _, s := range segments {
			if bytes := s.size.Load(); bytes > 0 {
				youngest = max(youngest, s.lastAppend)
				all = append(all, candidate{l, s, bytes, youngest})
			}
		}
		l.mu.Unlock()
	}
	return all
}

// oldestToFit returns the candidates that must go to free so many bytes, the
// longest not appended to first, or nil when all are not enough.
func oldestToFit(all []candidate, bytes int64) []candidate {
	slices.SortStableFunc(all, func(a, b candidate) int { return cmp.Compare(a.lastAppend, b.lastAppend) })
	for i, c := range all {
		if bytes -= c.bytes; bytes <= 0 {
			return all[:i+1]
		}
	}
	return nil
}

// drop removes a candidate, if it may still go. An error of the disk has taken its
// log off line, or is logged here: room that was not made is found missing.
func (b *budget) drop(c candidate, why dropReason) {
	bytes, records, err := c.log.dropFirst(c.seg, why)
	if err != nil {
		b.log.Warn("segment not dropped", "log", c.log.name, "segment", c.seg.baseOffset, "err", err)
	}
	if bytes > 0 && b.drops.add(bytes, records) {
		b.log.Warn("no room left; oldest segments are dropped", "reason", dropLabels[why],
			"log", c.log.name, "segment", c.seg.baseOffset, "usedBytes", b.used.Load(), "budgetBytes", b.limit.Load())
	}
}

// burst is a run of events with no long pause between two.
type burst struct {
	last, told             time.Time
	events, bytes, records int64
}

const (
	burstPause = time.Minute      // without events ends a burst
	burstLine  = 10 * time.Minute // between two lines about one burst
)

// add counts an event and reports whether it begins a burst.
func (b *burst) add(bytes, records int64) (first bool) {
	first = b.last.IsZero()
	b.last = time.Now()
	if first {
		b.told = b.last
	}
	b.events, b.bytes, b.records = b.events+1, b.bytes+bytes, b.records+records
	return first
}

// due reports whether there is something to tell: the burst is over, or has gone
// on for long.
func (b *burst) due() (over, due bool) {
	if b.last.IsZero() {
		return false, false
	}
	over = time.Since(b.last) >= burstPause
	return over, over || b.events > 0 && time.Since(b.told) >= burstLine
}

// reset begins to count anew, and ends the burst when it is over.
func (b *burst) reset(over bool) {
	last := b.last
	*b = burst{told: time.Now()}
	if !over {
		b.last = last
	}
}

// tell logs what bursts have come to. It is called now and then.
func (b *budget) tell() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if over, due := b.drops.due(); due {
		b.log.Warn("segments were dropped for want of room", "segments", b.drops.events, "bytes", b.drops.bytes, "records", b.drops.records, "over", over)
		b.drops.reset(over)
	}
	if over, due := b.refusals.due(); due {
		b.log.Warn("appends were refused for want of room", "appends", b.refusals.events, "over", over)
		b.refusals.reset(over)
	}
}

// dropFirst removes s, if it is still the log's first segment, though it be the
// active one: that is sealed before, and so all of it is durable. What is not
// durable never goes: someone waits for it.
func (l *Log) dropFirst(s *segment, why dropReason) (bytes, records int64, err error) {
	l.retainMu.Lock()
	defer l.retainMu.Unlock()
	if l.view.Load().segments[0] != s || l.closed.Load() {
		return 0, 0, nil
	}
	if len(l.view.Load().segments) == 1 {
		if err := l.rollForDrop(); err != nil {
			return 0, 0, err
		}
	}
	v := l.view.Load()
	if v.segments[0] != s || len(v.segments) == 1 {
		return 0, 0, nil
	}
	if v.segments[1].baseOffset > l.durable.Load() { // the roll synced it, and nobody has said so yet
		l.syncAppended()
	}
	if v.segments[1].baseOffset > l.durable.Load() {
		return 0, 0, nil
	}
	return s.size.Load(), l.readableIn(s, v.segments[1]), l.remove(s, why)
}

// rollForDrop seals the active segment.
func (l *Log) rollForDrop() error {
	l.appendMu.Lock()
	defer l.appendMu.Unlock()
	if err := l.usable(); err != nil || l.view.Load().active().size.Load() == 0 {
		return err
	}
	return l.roll()
}

// removed gives back what a segment held.
func (b *budget) removed(n int64) {
	b.used.Add(-n)
	b.freed.Add(n)
}

// forget gives back what a log that is closed or deleted held.
func (b *budget) forget(l *Log) { b.used.Add(-l.Size()) }

// Tidy does what is due now and then, and never at once: it is called every half
// minute or so, by one goroutine.
func (d *Dir) Tidy() {
	d.reserve.keep()
	d.saveAges()
	d.budget.tell()
	d.files.closeIdle()
}

// startBudget settles BudgetAuto, once the logs are open.
func (d *Dir) startBudget() {
	if d.autoBudget {
		free, err := disk.Free(d.fs, d.path)
		if err != nil {
			d.log.Warn("free space is not known; there is no budget", "err", err)
		} else {
			d.budget.limit.Store(max(1, autoBudget(free, d.budget.used.Load())))
		}
	}
	if limit := d.budget.limit.Load(); limit != math.MaxInt64 {
		d.log.Info("budget for all topics", "bytes", limit, "usedBytes", d.budget.used.Load())
	}
}
