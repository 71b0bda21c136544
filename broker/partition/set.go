package partition

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/headwater/headwater/broker/commitlog"
	"github.com/headwater/headwater/broker/replica"
	"github.com/headwater/headwater/broker/topic"
)

// key names a partition.
type key struct {
	topic string
	index int32
}

func (k key) String() string { return k.topic + "-" + strconv.Itoa(int(k.index)) }

// parseKey reads what String wrote.
func parseKey(name string) (key, bool) {
	dash := strings.LastIndexByte(name, '-')
	if dash < 0 {
		return key{}, false
	}
	index, err := strconv.ParseInt(name[dash+1:], 10, 32)
	if err != nil || index < 0 || topic.ValidateName(name[:dash]) != nil {
		return key{}, false
	}
	k := key{name[:dash], int32(index)}
	return k, k.String() == name // "-01" and "-+1" are not ours
}

// Set is the partitions that this broker hosts.
type Set struct {
	dir         *commitlog.Dir
	ackOnAppend bool
	limits      ProducerLimits
	dropped     droppedProducers
	decompress  sync.Mutex // held while a batch is looked into before it is appended
	log         *slog.Logger

	maxLag      time.Duration                    // replica.lag.time.max.ms
	live        atomic.Pointer[func(int32) bool] // nil: all are
	wanted      chan struct{}                    // there may be changes of ISRs to propose
	lost        atomic.Int64                     // records that were acknowledged and truncated
	startWanted chan struct{}                    // a follower's log starts too early, and had no turn
	startMoved  atomic.Int64                     // when a follower's log was last told to start later, Unix nanoseconds

	savingHighWatermarks sync.Mutex // guards savedHighWatermarks
	savedHighWatermarks  map[string]int64

	mu         sync.RWMutex // guards all below
	partitions map[key]*Partition
	unopened   map[key]error // those that should be here and could not be opened
}

// NewSet returns an empty set over dir. With ackOnAppend an append is
// acknowledged when it is written, before it is durable.
func NewSet(dir *commitlog.Dir, ackOnAppend bool, log *slog.Logger) *Set {
	return &Set{
		dir: dir, ackOnAppend: ackOnAppend, limits: DefaultProducerLimits(), log: log,
		maxLag: replica.DefaultMaxLag, wanted: make(chan struct{}, 1), startWanted: make(chan struct{}, 1),
		partitions: map[key]*Partition{}, unopened: map[key]error{},
	}
}

// Get finds a partition. One that could not be opened returns why.
func (s *Set) Get(name string, index int32) (*Partition, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	k := key{name, index}
	if p, ok := s.partitions[k]; ok {
		return p, nil
	}
	if err, ok := s.unopened[k]; ok {
		return nil, fmt.Errorf("%s: %w: %w", k, commitlog.ErrOffline, err)
	}
	return nil, fmt.Errorf("%.60s-%d: %w", name, index, ErrUnknown)
}

// All returns the partitions in the order of their topics and indexes.
func (s *Set) All() []*Partition {
	s.mu.RLock()
	all := slices.Collect(maps.Values(s.partitions))
	s.mu.RUnlock()
	slices.SortFunc(all, func(a, b *Partition) int {
		return cmp.Or(strings.Compare(a.topic, b.topic), cmp.Compare(a.index, b.index))
	})
	return all
}

// Offline is a partition that does not serve, and why.
type Offline struct {
	Name string
	Err  error
}

// Offline returns the partitions that do not serve, by name.
func (s *Set) Offline() []Offline {
	var all []Offline
	s.mu.RLock()
	for k, err := range s.unopened {
		all = append(all, Offline{k.String(), err})
	}
	s.mu.RUnlock()
	for _, p := range s.All() {
		if err := p.Err(); err != nil {
			all = append(all, Offline{p.name, err})
		}
	}
	slices.SortFunc(all, func(a, b Offline) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// Open makes the partition's log ready, creating it when it is not there. The
// partition takes no records before Lead or Apply. It returns the leader epoch of the last
// batch, -1 when there is none.
func (s *Set) Open(name string, index int32, id topic.ID, settings topic.Settings) (lastEpoch int32, err error) {
	k := key{name, index}
	log, err := s.dir.OpenLog(k.String(), id.String(), logSettings(settings))
	if err == nil {
		lastEpoch, err = log.LastEpoch()
	}
	producers := s.producersOf(k, log)
	producers.compacted.Store(settings.Cleanup.Compacts())
	if err == nil {
		err = producers.recover()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.unopened[k] = err
		return -1, err
	}
	delete(s.unopened, k)
	p := newPartition(s, k, id, log, producers)
	p.configure(settings)
	s.partitions[k] = p
	return lastEpoch, nil
}

// logSettings is what a topic's settings say to its logs. A topic that is compacted
// only lets no segment go, whatever the rest says: it promises the last record of
// each key.
func logSettings(s topic.Settings) commitlog.Settings {
	out := commitlog.Settings{
		SegmentBytes:   s.SegmentBytes,
		SegmentAge:     s.SegmentAge,
		RetentionBytes: s.RetentionBytes,
		Retention:      s.Retention,
		KeepWhenFull:   s.Full == topic.Reject,

		Compact:          s.Cleanup.Compacts(),
		MinDirtyRatio:    s.MinDirtyRatio,
		DeleteRetention:  s.DeleteRetention,
		MinCompactionLag: s.MinCompactionLag,
		MaxCompactionLag: s.MaxCompactionLag,
	}
	if !s.Cleanup.Deletes() {
		out.RetentionBytes, out.Retention, out.KeepWhenFull = -1, topic.Forever, true
	}
	if lag := s.MaxCompactionLag; s.Cleanup.Compacts() && lag > 0 { // only what is sealed can be compacted
		out.SegmentAge = min(out.SegmentAge, lag)
	}
	return out
}

// Delete ends the partition's role and removes its records. One that is not here
// is no error.
func (s *Set) Delete(name string, index int32) error {
	k := key{name, index}
	s.mu.Lock()
	p := s.partitions[k]
	delete(s.partitions, k)
	delete(s.unopened, k)
	s.mu.Unlock()
	if p != nil {
		p.close(ErrUnknown)
	}
	return s.dir.DeleteLog(k.String())
}

// SetAside puts the records of a partition that is not open where nothing reads them, and
// says where.
func (s *Set) SetAside(name string, index int32) (path string, err error) {
	return s.dir.SetAside(key{name, index}.String())
}

// OnDisk is a partition found in the data directory.
type OnDisk struct {
	Topic string
	Index int32
	ID    topic.ID
}

// OnDisk lists the partitions in the data directory, those of no topic included.
// What cannot be one is logged and left alone.
func (s *Set) OnDisk() ([]OnDisk, error) {
	names, err := s.dir.Names()
	if err != nil {
		return nil, err
	}
	all := make([]*OnDisk, len(names))
	var readers sync.WaitGroup
	for first := range readersAtATime {
		readers.Go(func() {
			for i := first; i < len(names); i += readersAtATime {
				all[i] = s.onDisk(names[i])
			}
		})
	}
	readers.Wait()
	var found []OnDisk
	for _, p := range all {
		if p != nil {
			found = append(found, *p)
		}
	}
	return found, nil
}

// readersAtATime is how many directories are looked into at the same time: each
// takes a few small reads of the disk, one after the other.
const readersAtATime = 16

// onDisk is the partition in a directory, nil when it is none.
func (s *Set) onDisk(name string) *OnDisk {
	k, ok := parseKey(name)
	if !ok {
		return nil
	}
	id, err := s.topicID(name)
	if err != nil {
		s.log.Warn("directory looks like a partition and has no readable id; left alone", "directory", name, "err", err)
		return nil
	}
	return &OnDisk{k.topic, k.index, id}
}

func (s *Set) topicID(name string) (topic.ID, error) {
	text, err := s.dir.TopicID(name)
	if err != nil {
		return topic.ID{}, err
	}
	return topic.ParseID(text)
}

// RunRetention removes what the topics' settings no longer keep, now and then
// every interval, until ctx is done.
func (s *Set) RunRetention(ctx context.Context, every time.Duration) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		for _, p := range s.All() {
			p.retain(s.log)
		}
		s.dir.Tidy()
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// retain applies the topic's retention. What goes wrong is logged: the
// next round tries again, and nobody waits for this one.
func (p *Partition) retain(log *slog.Logger) {
	_, highWatermark := p.Offsets()
	removed, err := p.log.Retain(highWatermark)
	if err == nil {
		err = p.followStart()
	}
	if err != nil && !errors.Is(err, commitlog.ErrClosed) && !errors.Is(err, commitlog.ErrOffline) {
		log.Error("old segments not removed", "partition", p.name, "err", err)
	}
	if removed > 0 {
		log.Info("old segments removed", "partition", p.name, "bytes", removed, "logStartOffset", p.log.StartOffset())
	}
}
