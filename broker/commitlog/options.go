// Package commitlog owns the data directory: one log for each partition, in
// Kafka's file layout, and the committer that makes appended batches durable. It
// knows offsets, bytes and syncs; leaders, replicas and what a topic is belong to
// the rooms above.
//
// A Dir opens, deletes and commits Logs; Run holds all its goroutines, and there
// is none per log. A Cleaner compacts them, on its caller's goroutine. Every method
// of Dir and Log may be called from any goroutine.
// Reading takes no lock that is held across a write or a sync.
//
// Locks of a Log, in the order in which they are taken: retainMu, appendMu,
// syncMu, mu. With any of them held, the syncMu of another log may be tried, but is
// not waited for. Only mu is held for memory alone; appendMu is held across the
// batch's own write and, once in a segment, across the roll; syncMu across a sync.
// budget.mu, which is taken when there is no room, comes before all of them. A
// truncation and a reset hold the first three across all that they do; those who call
// them hold no lock that a notify function takes.
//
// Offsets are Kafka offsets: start offsets inclusive, end offsets exclusive.
// Sizes and positions are bytes; timestamps are Unix milliseconds.
package commitlog

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/headwater/headwater/broker/disk"
)

var (
	// ErrOffsetOutOfRange is returned for an offset before the log's start or
	// after its end.
	ErrOffsetOutOfRange = errors.New("offset out of range")
	// ErrOffline is wrapped by every error of a log after a write or a sync
	// failed. It is final for the log: what the disk holds is no longer known.
	ErrOffline = errors.New("log offline")
	// ErrFull is returned when there is no space. Nothing was appended, and an
	// append may succeed later.
	ErrFull = errors.New("no space left for the log")
	// ErrClosed is returned for a log that was closed or deleted, and by appends
	// once the committer stops.
	ErrClosed = errors.New("log closed")
	// ErrDescriptors is returned when no file could be opened, because the process
	// or the machine has too many open. Nothing was appended, and an append or a
	// read may succeed later.
	ErrDescriptors = errors.New("no file descriptor left for the log")
)

// Policy says when an appended batch counts as durable.
type Policy int

// The policies.
const (
	Sync     Policy = iota // once it is synced; a sync serves all that wait for it
	Interval               // at the sync that comes once an Interval
	OS                     // at once: the operating system writes when it likes, and a power cut takes what it has not
)

var policies = [...]string{Sync: "sync", Interval: "interval", OS: "os"}

// String returns the name that users write.
func (p Policy) String() string {
	if p < 0 || int(p) >= len(policies) {
		return fmt.Sprintf("policy(%d)", int(p))
	}
	return policies[p]
}

// ParsePolicy reads what String wrote.
func ParsePolicy(s string) (Policy, error) {
	for p, name := range policies {
		if s == name {
			return Policy(p), nil
		}
	}
	return 0, fmt.Errorf("durability %.40q is none of sync, interval, os", s)
}

// Options are the settings of a data directory.
type Options struct {
	FS         disk.FS    // nil is disk.OS
	Clock      disk.Clock // nil is the machine's
	Policy     Policy
	Interval   time.Duration         // between syncs under the Interval policy; a second when not positive
	BrokerID   int32                 // or AnyBroker
	Budget     int64                 // bytes of all logs together; BudgetAuto; 0 is no limit
	Reserve    int64                 // bytes kept for what must be written on a full disk; 0 keeps none
	IndexBytes int64                 // of memory, for the indexes of all active segments; 0 is 8 MiB
	OpenFiles  int                   // of segments, at the same time; 0 derives it from what the process may open
	Log        *slog.Logger          // nil discards
	Registerer prometheus.Registerer // nil keeps the metrics to ourselves
}

func (o Options) withDefaults() Options {
	if o.FS == nil {
		o.FS = disk.OS{}
	}
	if o.Clock == nil {
		o.Clock = disk.NewMachineClock()
	}
	if o.Interval <= 0 {
		o.Interval = time.Second
	}
	if o.IndexBytes <= 0 {
		o.IndexBytes = defaultIndexBytes
	}
	if o.OpenFiles <= 0 {
		o.OpenFiles = defaultOpenFiles(disk.MaxOpenFiles())
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return o
}

// Settings are one log's. They may change while it is open.
type Settings struct {
	SegmentBytes   int64         // a segment is sealed before it grows past this
	SegmentAge     time.Duration // and once its first append is this old; not positive: never
	RetentionBytes int64         // old segments go while the rest has at least this; -1 keeps all
	Retention      time.Duration // segments go this long after their last append; negative keeps all
	KeepWhenFull   bool          // no segment goes to make room for others' appends, or for this log's

	Compact          bool          // the Cleaner keeps the last record of each key
	MinDirtyRatio    float64       // it does once more than this share of the log is not compacted
	DeleteRetention  time.Duration // tombstones stay this long after they were first compacted
	MinCompactionLag time.Duration // records stay as they are this long
	MaxCompactionLag time.Duration // and are compacted when they are older, whatever the share; not positive: never for that
}

// bounded returns s with a segment size that the indexes' 32-bit positions can
// hold.
func (s Settings) bounded() *Settings {
	s.SegmentBytes = min(s.SegmentBytes, math.MaxInt32)
	return &s
}
