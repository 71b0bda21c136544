// Package ingest takes messages from devices, gathers them into record batches,
// appends those, and answers each message that asked for it once its record is
// as durable as the broker promises.
//
// It owns the memory between the devices and the log, and counts every message
// that it has to let go. It knows nothing of connections (a Publisher carries the
// answers) nor of logs (an Appender takes the batches).
//
// The ids of messages that are stored are in their records, in the log: what is
// remembered of them here is read from there after a start.
//
// Take and Idle may be called from any goroutine; neither waits for the disk, the
// network or a timer. Run owns five goroutines: the sender, which alone calls Append and
// so keeps each partition's order; the resolver, which alone asks for topics; the
// filler, which alone reads ids from logs; the watcher, which ends waits that take too
// long; and the acker, which answers. Sizes are in bytes,
// timestamps in Unix milliseconds, and every queue is bounded by BufferBytes or
// by a limit that stands beside it.
package ingest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/headwater/headwater/bridge/dedup"
	"github.com/headwater/headwater/bridge/subject"
	"github.com/headwater/headwater/broker/record"
	"github.com/headwater/headwater/broker/topic"
)

// Appender is where batches go.
type Appender interface {
	// Partitions returns the partitions of topic, creating it when it is unknown and
	// may be created, and this box's home in it when it has none.
	Partitions(ctx context.Context, topic string) (topic.Partitions, error)
	// Append puts batch at the end of the partition and calls done once, when it
	// is as durable as the data directory promises or has failed. done does not
	// block; it may run on the caller's goroutine.
	Append(topic string, partition int32, batch record.Batch, done func(baseOffset int64, err error))
}

// Publisher carries an answer to where a message asked for it. It copies what it
// is given. It may wait, but not for ever; an error means that the answer will
// not arrive.
type Publisher interface {
	Publish(subject, payload []byte) error
}

// Message is what a device sent. Its bytes are only valid during Take. One with
// neither Reply nor Answerer asks for no answer, and is kept as best can be done.
type Message struct {
	Rule    int // the rule whose subscription brought the message; AnyRule
	Subject []byte
	Reply   []byte // the subject where to answer
	Headers []byte // the NATS header block as it came; empty for none
	Payload []byte

	Answerer Answerer // answers in Reply's place; nil for none
	Token    uint64   // tells the Answerer which message it is
}

// AnyRule stands for the first rule that takes the message's subject, in a Message
// that no rule's subscription brought.
const AnyRule = -1

// Config bounds the gathering. A field that is 0 has its default.
type Config struct {
	BufferBytes   int64         // gathered and in flight, with what is kept to answer; 16 MiB
	AckTimeout    time.Duration // for a message that asks for an answer; 30 s
	BatchBytes    int           // a batch goes before it passes this size; 64 KiB
	BatchRecords  int           // a batch goes when it has this many records; 500
	Linger        time.Duration // a batch goes when it has a record this old, of a rule that says nothing else; 20 ms
	MaxBatchBytes int           // the largest batch that the broker takes; Kafka's 1 MiB + 12
	MaxTopics     int           // topics that are remembered; 1,024
	MaxPartitions int           // partitions that are remembered, of all topics; 8,192
	TopicTimeout  time.Duration // for the broker to find or create a topic; 10 s
	StopTimeout   time.Duration // for what was taken to become durable once Run ends; 10 s

	DedupWindow time.Duration // for how long a message id is remembered; 0 for not at all
	DedupBytes  int64         // for the ids of all partitions; 1 MiB

	// Store checks what messages ask before they are stored. Nil: nothing can be, and
	// there is no DedupWindow. Its Offsets must not wait for the disk: it is asked
	// while messages are taken.
	Store Store

	// NextOffset tells an error of Store's AppendAt that says that the partition ends
	// elsewhere, and where. Nil: none does.
	NextOffset func(error) (offset int64, ok bool)

	// Synchronized reports whether the time of day is known to be right; it is asked
	// with every message, and does not wait. Records of a time when it is not are
	// marked. Nil: it always is.
	Synchronized func() bool

	// Permanent tells an error of the Appender that the same message would meet
	// again, however often it is sent, from one that may pass. Nil: none is.
	Permanent func(error) bool

	// Full tells an error that says that there is no room to store anything. Nil:
	// none does.
	Full func(error) bool

	// Crowded tells an error that says that devices may cause no more topics. Nil:
	// none does.
	Crowded func(error) bool
}

func (c Config) withDefaults() Config {
	def(&c.BufferBytes, 16<<20)
	def(&c.AckTimeout, 30*time.Second)
	def(&c.BatchBytes, 64<<10)
	def(&c.BatchRecords, 500)
	def(&c.Linger, subject.DefaultLinger)
	def(&c.MaxBatchBytes, 1<<20+12)
	def(&c.MaxTopics, 1024)
	def(&c.MaxPartitions, 8192)
	def(&c.TopicTimeout, 10*time.Second)
	def(&c.StopTimeout, 10*time.Second)
	def(&c.DedupBytes, 1<<20)
	if c.Store == nil {
		c.DedupWindow = 0
	}
	if c.NextOffset == nil {
		c.NextOffset = func(error) (int64, bool) { return 0, false }
	}
	if c.Synchronized == nil {
		c.Synchronized = func() bool { return true }
	}
	if c.Permanent == nil {
		c.Permanent = func(error) bool { return false }
	}
	if c.Full == nil {
		c.Full = func(error) bool { return false }
	}
	if c.Crowded == nil {
		c.Crowded = func(error) bool { return false }
	}
	return c
}

func def[T int | int64 | time.Duration](field *T, value T) {
	if *field <= 0 {
		*field = value
	}
}

// ErrUnconfirmed is wrapped by Run's error when it ended before all that was
// taken was confirmed.
var ErrUnconfirmed = errors.New("not confirmed")

// Ingest gathers messages. New makes one.
type Ingest struct {
	cfg      Config
	table    *subject.Table
	rules    []ruleSettings // by number
	compress *compressor
	appender Appender
	log      *slog.Logger
	metrics  *metrics
	batches  sync.Pool // of *batch
	acker    *acker

	wakeSender   chan struct{} // holds a token when ready, the first open batch or stopping changed
	wakeResolver chan struct{} // holds a token when unresolved has grown
	wakeFiller   chan struct{} // holds a token when unfilled has grown
	tailBounds   dedup.Bounds
	wakeWatcher  chan struct{} // holds a token when watched was set

	mu         sync.Mutex // guards all below; never held across a call of Appender or Publisher
	stopping   bool
	scratch    scratch
	topics     map[string]*topicState
	gathers    int // of all topics
	unresolved []*topicState
	unfilled   []*gather // whose ids are to be read
	ids        ids
	crowded    bool                // topics were refused for their number, and that was logged
	hurry      []*gather           // have messages that wait for an answer, since the last Idle
	open       openHeap            // open batches, the one that has to go first in front
	ready      list[*gather]       // have batches that are sealed and not yet handed to the Appender
	blocked    list[*gather]       // do, too, and have to wait for batches to complete
	live       map[*batch]struct{} // sealed, not yet completed
	core       list[droppable]     // has best-effort messages that may be let go, the oldest in front
	buffered   int64               // bytes
	lingering  int64               // of them, those in open batches
	sentBytes  int64               // of them, those that the Appender has
	largest    *holder             // of buffered; see mostBy
	watched    bool                // there is somebody to watch for
}

// New makes an Ingest that routes by table. Metrics count rules by rules' names,
// one for each of table's. reg may be nil.
func New(cfg Config, table *subject.Table, ruleNames []string, appender Appender, answers Publisher, log *slog.Logger, reg prometheus.Registerer) *Ingest {
	in := &Ingest{
		cfg:          cfg.withDefaults(),
		table:        table,
		appender:     appender,
		log:          log,
		wakeSender:   make(chan struct{}, 1),
		wakeResolver: make(chan struct{}, 1),
		wakeFiller:   make(chan struct{}, 1),
		wakeWatcher:  make(chan struct{}, 1),
		topics:       map[string]*topicState{},
		live:         map[*batch]struct{}{},
	}
	in.rules = settingsOf(table, len(ruleNames), in.cfg)
	in.compress = newCompressor(in.rules, reg)
	in.tailBounds = tailBounds(in.cfg)
	in.ids = ids{window: dedup.New(int(in.cfg.DedupBytes/dedup.EntryBytes), in.cfg.DedupWindow), claims: map[dedup.ID]claim{}}
	in.metrics = newMetrics(reg, ruleNames, in.bufferedBytes, in.remembered)
	in.acker = newAcker(in, answers)
	in.batches.New = func() any { return in.newBatch() }
	return in
}

func (in *Ingest) bufferedBytes() float64 {
	in.mu.Lock()
	defer in.mu.Unlock()
	return float64(in.buffered)
}

// remembered is how many message ids are remembered, and how many were forgotten
// before their time.
func (in *Ingest) remembered() (now int, evicted int64) {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.ids.window.Len(), in.ids.window.Evicted()
}

// Take takes a message, or lets it go: a best-effort one is counted as dropped,
// one that asked for an answer is refused with the reason. A message that reached
// the reader by another rule than the first that matches is somebody else's copy
// and is passed over.
func (in *Ingest) Take(m *Message) {
	in.mu.Lock()
	defer in.mu.Unlock()
	now := in.receive()
	size, why, err := in.prepare(m, now)
	if !in.ours(m) {
		return
	}
	in.metrics.took(in.scratch.route.Rule, m)
	if why == taken {
		why, err = in.admit(m, now, size)
	}
	if why != taken {
		in.turnAway(in.scratch.route.Rule, m, why, err)
	}
}

// ours reports whether m, whose route is in scratch, is to be taken. One that no
// rule's subscription brought has nobody else to tell that no rule takes it.
func (in *Ingest) ours(m *Message) bool {
	rule := in.scratch.route.Rule
	if m.Rule != AnyRule {
		return rule == m.Rule
	}
	if rule < 0 {
		in.metrics.unmatched.Inc()
		if m.asks() {
			in.acker.refuse(m, noRule, subject.ErrNoRule)
		}
	}
	return rule >= 0
}

// admit puts a prepared message where it belongs, if there is room.
func (in *Ingest) admit(m *Message, now receipt, size int) (reason, error) {
	if in.stopping {
		return stopped, nil
	}
	t, why := in.topic(in.scratch.route.Topic, now.at)
	switch {
	case why != taken:
		return why, nil
	case t.state == refused:
		return topicRefused, t.err
	case t.state == unknown:
		return in.keepWaiting(&t.waiting, m, now, size), nil
	}
	return in.place(t, m, now, size)
}

// place adds a prepared message to its partition's batch.
func (in *Ingest) place(t *topicState, m *Message, received receipt, size int) (reason, error) {
	index, ok := in.scratch.route.Partition(t.partitions)
	if !ok {
		return noPartition, nil
	}
	g := in.gather(t, index)
	if g == nil {
		return noRoom, nil
	}
	wants := &in.scratch.wants
	if wants.any() {
		if place, why, err := in.screen(g, m, received, size); !place {
			return why, err
		}
	}
	if !in.makeRoom(&g.holder, charge(m, size)+batchOverhead+wants.cost()) {
		return bufferFull, nil
	}
	if g.batch != nil && (g.batch.builder.Len()+size > in.cfg.BatchBytes || wants.offset != anyOffset) {
		in.seal(g)
	}
	rule := &in.rules[in.scratch.route.Rule]
	if g.batch == nil {
		in.openBatch(g, rule.codec)
	}
	in.chargeMore(g.batch, g.batch.add(m, received.at, &in.scratch, size))
	in.lingerAtMost(g, received.at, rule.linger)
	in.claim(g.batch, !m.asks())
	if !m.asks() {
		in.mayDrop(g.batch, &g.batch.drops, &g.holder)
	} else {
		in.hurryUp(g)
		in.watchOver()
	}
	if wants.offset != anyOffset { // alone, since it may be refused
		g.batch.at, g.batch.byID = wants.offset, len(wants.lastID) > 0
		in.seal(g)
	} else if g.batch.builder.Count() >= in.cfg.BatchRecords || g.batch.builder.Len() >= in.cfg.BatchBytes {
		in.seal(g)
	}
	in.sealExcess()
	return taken, nil
}

// hurryUp has g's batch go at the next Idle, if nothing is in flight.
func (in *Ingest) hurryUp(g *gather) {
	if !g.hurrying {
		g.hurrying = true
		in.hurry = append(in.hurry, g)
	}
}

// Idle tells that all input that has arrived was taken. What waits for an answer
// goes now, unless its partition has a batch in flight: then it goes when that
// one completes, and takes along what arrives until then.
func (in *Ingest) Idle() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.sendHurried()
}

func (in *Ingest) sendHurried() {
	for i, g := range in.hurry {
		in.hurry[i] = nil
		g.hurrying = false
		in.sealIfAwaited(g)
	}
	in.hurry = in.hurry[:0]
}

// turnAway lets a message go, and never silently.
func (in *Ingest) turnAway(rule int, m *Message, why reason, err error) {
	if why == topicRefused && in.cfg.Crowded(err) {
		why = topicLimit
	}
	if !m.asks() {
		in.metrics.dropped[rule][why].Inc()
		return
	}
	in.metrics.refused[rule][why].Inc()
	if why == topicRefused && in.cfg.Permanent(err) {
		why = neverStored
	}
	in.acker.refuse(m, why, err)
}

// Run gathers, appends and answers until ctx is done. It then sends off what was
// taken, waits for it at most StopTimeout, answers it, and returns. Messages that
// come later are refused. It returns an error that wraps ErrUnconfirmed when the
// time was too short; those messages were answered with an error, though the
// broker may still store them.
func (in *Ingest) Run(ctx context.Context) error {
	work, stop := context.WithCancel(context.WithoutCancel(ctx))
	var all sync.WaitGroup
	defer all.Wait()
	defer stop()
	all.Go(func() { in.send(work) })
	all.Go(func() { in.resolve(work) })
	all.Go(func() { in.fillAll(work) })
	all.Go(func() { in.watch(work) })
	all.Go(func() { in.acker.run(work) })

	<-ctx.Done()
	in.stop()
	timeout := time.NewTimer(in.cfg.StopTimeout)
	defer timeout.Stop()
	select {
	case <-in.acker.drained:
		return nil
	case <-timeout.C:
		return fmt.Errorf("%d messages: %w before the end", in.abandon(), ErrUnconfirmed)
	}
}

// stop takes nothing more, and lets everything that was taken go.
func (in *Ingest) stop() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.stopping = true
	in.sealAll()
	in.acker.poke()
}

// abandon gives up waiting: whoever still waits is told so. It returns how many
// messages were not confirmed.
func (in *Ingest) abandon() int {
	in.mu.Lock()
	defer in.mu.Unlock()
	messages := 0
	for _, t := range in.topics {
		messages += t.waiting.messages.len
		in.refuseWaiting(t, unconfirmed, nil)
		for _, g := range t.gathers {
			if g.guard != nil {
				messages += g.guard.waiting.messages.len
				in.refuseUnfilled(g.guard, unconfirmed, nil)
			}
		}
	}
	for b := range in.live {
		b.queued.leave() // nobody sends it any more
		b.drops.leave()
		if in.acker.abandon(b) {
			messages += b.count
		}
	}
	return messages
}

// empty reports whether nothing that was taken is left.
func (in *Ingest) empty() bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.stopping && in.buffered == 0
}

func wake(token chan struct{}) {
	select {
	case token <- struct{}{}:
	default:
	}
}
