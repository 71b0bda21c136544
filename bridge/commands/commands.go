// Package commands carries records the other way: from topics to devices.
//
// A rule names a topic and a subject. What any Kafka client writes into the topic is
// published on the subject, in the order of each partition, and how far that has come
// is kept as a committed offset of the group named Group. Records that came from a
// device themselves are passed over, or they would go round for ever. It reaches the
// broker through pull's interfaces, and devices through a Sink.
//
// Run does all of it on its own goroutine, with a bounded read of one partition at a
// time. Delivery is at least once: after a crash what was published since the last
// commit is published again.
package commands

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/headwater/headwater/bridge/pull"
	"github.com/headwater/headwater/bridge/subject"
	"github.com/headwater/headwater/broker/record"
)

// Group is the consumer group whose offsets tell how far commands have come.
const Group = "headwater-commands"

// Sink takes commands to devices. It copies what it is given, and may wait, but not
// for ever. headers is a whole NATS header block or nil. An error means that the
// command has not gone out: it is tried again.
type Sink interface {
	Command(subject string, headers, payload []byte) error
}

// Config says what is carried. A field that is 0 has its default.
type Config struct {
	Rules       []subject.Command
	ReadBytes   int           // of one read of a partition, about; 64 KiB
	LookEvery   time.Duration // for topics that have come or grown; 1 s
	CommitEvery time.Duration // of how far it has come; 1 s
}

func (c Config) withDefaults() Config {
	if c.ReadBytes <= 0 {
		c.ReadBytes = 64 << 10
	}
	if c.LookEvery <= 0 {
		c.LookEvery = time.Second
	}
	if c.CommitEvery <= 0 {
		c.CommitEvery = time.Second
	}
	return c
}

// Carrier carries commands.
type Carrier struct {
	cfg       Config
	reader    pull.Reader
	positions pull.Positions
	sink      Sink
	log       *slog.Logger
	published prometheus.Counter
	skipped   prometheus.Counter

	wake   chan struct{} // holds a token when a partition may have more
	places map[place]*position
	rules  map[string]subject.Command // by topic
	looked bool                       // what was there at the first look is known
	blind  time.Time                  // since when positions cannot be read; zero while they can
	told   bool                       // that nothing is carried
}

type place struct {
	topic     string
	partition int32
}

// position is how far a partition's commands have come.
type position struct {
	next       int64 // offset that is read next
	committed  int64 // that was asked to be kept; -1 for none
	committing atomic.Bool
	failed     atomic.Bool // the last commit
	stop       func()      // of the watch
	rule       subject.Command
	failing    bool // the last read or publish was an error, and that was logged
}

// New makes a Carrier. reg may be nil.
func New(cfg Config, reader pull.Reader, positions pull.Positions, sink Sink, log *slog.Logger, reg prometheus.Registerer) *Carrier {
	c := &Carrier{
		cfg: cfg.withDefaults(), reader: reader, positions: positions, sink: sink, log: log,
		wake: make(chan struct{}, 1), places: map[place]*position{}, rules: map[string]subject.Command{},
		published: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "headwater_commands_published_total", Help: "Records of command topics that were published to devices.",
		}),
		skipped: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "headwater_commands_skipped_total", Help: "Records of command topics that make no subject, or that are tombstones.",
		}),
	}
	for _, r := range cfg.Rules {
		c.rules[r.Topic] = r
	}
	if reg != nil {
		reg.MustRegister(c.published, c.skipped)
	}
	return c
}

// Run carries commands until ctx is done, and then commits how far it has come.
func (c *Carrier) Run(ctx context.Context) error {
	if len(c.rules) == 0 {
		<-ctx.Done()
		return nil
	}
	defer c.end()
	look, commit := time.NewTicker(c.cfg.LookEvery), time.NewTicker(c.cfg.CommitEvery)
	defer look.Stop()
	defer commit.Stop()
	c.look()
	for {
		more := c.carry(ctx)
		if more {
			wake(c.wake)
		}
		select {
		case <-c.wake:
		case <-look.C:
			c.look()
		case <-commit.C:
			c.commit()
		case <-ctx.Done():
			return nil
		}
	}
}

// look finds the partitions of the rules' topics that are new, and forgets those that
// are gone.
func (c *Carrier) look() {
	there := map[place]bool{}
	c.reader.EachPartition(func(topic string, partition int32) bool {
		if _, ok := c.rules[topic]; ok {
			there[place{topic, partition}] = true
		}
		return true
	})
	for p, pos := range c.places {
		if !there[p] {
			pos.stop()
			delete(c.places, p)
		}
	}
	known, err := c.known()
	if err != nil {
		c.wait(err)
		return // at the next look
	}
	c.blind = time.Time{}
	for p := range there {
		if c.places[p] == nil {
			c.begin(p, known)
		}
	}
	c.looked = true
}

// tellAfter is for how long positions may be read in vain before that is told: a broker
// that starts loads its groups, or hears first which of them are its own.
const tellAfter = 30 * time.Second

// wait notes that positions cannot be read. Where another broker coordinates the group
// that lasts, and who configured commands has to know: it is told once.
func (c *Carrier) wait(err error) {
	c.log.Debug("positions of commands not read yet", "err", err)
	now := time.Now()
	if c.blind.IsZero() {
		c.blind = now
	}
	if c.told || len(c.places) > 0 || now.Sub(c.blind) < tellAfter {
		return
	}
	c.told = true
	c.log.Warn("this broker carries no commands of bridge.commands to devices, as long as it cannot read how far they have come", "group", Group, "err", err)
}

// known are the positions that were committed.
func (c *Carrier) known() (map[place]int64, error) {
	known := map[place]int64{}
	err := c.positions.Positions(Group, func(topic string, partition int32, offset int64, _ string) {
		known[place{topic, partition}] = offset
	})
	return known, err
}

// begin starts to carry a partition's commands: where it stopped, if that is known. A
// topic that was there before anybody asked for its commands starts at its end, since
// what is old must not happen now; one that came later at its beginning.
func (c *Carrier) begin(p place, known map[place]int64) {
	start, end, _, err := c.reader.Offsets(p.topic, p.partition)
	if err != nil {
		return // at the next look
	}
	stop, err := c.reader.WatchPartition(p.topic, p.partition, c.wake)
	if err != nil {
		return
	}
	pos := &position{stop: stop, rule: c.rules[p.topic], committed: -1}
	offset, ok := known[p]
	switch {
	case ok:
		pos.next, pos.committed = min(max(offset, start), end), offset
	case c.looked:
		pos.next = start
	default:
		pos.next = end
	}
	c.places[p] = pos
	wake(c.wake)
	c.log.Info("carrying commands", "topic", p.topic, "partition", p.partition, "fromOffset", pos.next)
}

// carry publishes a bit of each partition, and reports whether one has more.
func (c *Carrier) carry(ctx context.Context) (more bool) {
	for p, pos := range c.places {
		if ctx.Err() != nil {
			return false
		}
		before := pos.next
		err := c.carryOne(p, pos)
		if failing := err != nil; failing != pos.failing {
			pos.failing = failing
			if failing {
				c.log.Warn("commands not carried; tried again", "topic", p.topic, "partition", p.partition, "err", err)
			} else {
				c.log.Info("commands are carried again", "topic", p.topic, "partition", p.partition)
			}
		}
		more = more || err == nil && pos.next > before
	}
	return more
}

func (c *Carrier) carryOne(p place, pos *position) error {
	start, end, _, err := c.reader.Offsets(p.topic, p.partition)
	if err != nil {
		return err
	}
	if pos.next < start {
		c.log.Warn("commands are gone before they were carried", "topic", p.topic, "partition", p.partition, "fromOffset", pos.next, "toOffset", start)
		pos.next = start
	}
	if pos.next >= end {
		return nil
	}
	var failed error
	next, err := c.reader.ReadRecords(p.topic, p.partition, pos.next, c.cfg.ReadBytes, func(offset, _ int64, r record.Record) bool {
		if failed = c.publish(pos.rule, &r); failed != nil {
			return false
		}
		pos.next = offset + 1
		return true
	})
	if failed != nil {
		return failed
	}
	if err == nil {
		pos.next = max(pos.next, next)
	}
	return err
}

func (c *Carrier) publish(rule subject.Command, r *record.Record) error {
	if pull.FromDevice(r) {
		return nil
	}
	to, ok := rule.SubjectOf(r.Key)
	if !ok || r.Value == nil {
		c.skipped.Inc()
		return nil
	}
	if err := c.sink.Command(to, pull.Headers(r), r.Value); err != nil {
		return fmt.Errorf("publish on %s: %w", to, err)
	}
	c.published.Inc()
	return nil
}

// commit keeps how far each partition has come, where that is news and nothing is
// under way.
func (c *Carrier) commit() {
	for p, pos := range c.places {
		if pos.failed.Swap(false) {
			pos.committed = -1
		}
		if pos.next == pos.committed || !pos.committing.CompareAndSwap(false, true) {
			continue
		}
		pos.committed = pos.next
		c.positions.CommitPosition(Group, p.topic, p.partition, pos.next, "", func(err error) {
			pos.failed.Store(err != nil)
			pos.committing.Store(false)
		})
	}
}

// end commits a last time. The broker makes it durable as it stops, after us.
func (c *Carrier) end() {
	c.commit()
	for _, pos := range c.places {
		pos.stop()
	}
}

func wake(token chan struct{}) {
	select {
	case token <- struct{}{}:
	default:
	}
}
