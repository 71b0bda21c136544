package pull

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Config bounds the API. A field that is 0 has its default.
type Config struct {
	Domain           string // of the API, beside the one without; DefaultDomain
	Workers          int    // goroutines that answer, beside the one for slow requests; 2
	QueuedRequests   int    // that wait for a worker; 256
	QueuedBytes      int    // that those take together; 1 MiB
	MaxRequestBytes  int    // of one request with its headers; 64 KiB
	MaxResponseBytes int64  // of messages that one request may bring; 32 MiB
	MaxPayload       int    // of one message with its headers, as nats-server takes it; 1 MiB
	SearchBytes      int64  // of records that one request may look at to find its messages; 64 MiB
	SearchRecords    int64  // likewise, records; 250,000

	Consumers        int           // that there may be; 1,024
	ConsumerWorkers  int           // goroutines that serve consumers; 2
	AckPending       int           // messages that one consumer may wait for acknowledgements of; 16,384
	PendingAcks      int           // likewise all consumers together, up to 160 bytes each; 65,536
	WaitingPulls     int           // pull requests that may wait, of all consumers; 4,096
	MetadataBytes    int           // of a commit, as the broker takes it; 4,096
	CommitInterval   time.Duration // in which a durable consumer is committed again; 5 s
	RefreshPositions time.Duration // likewise when nothing changed, so that its offset does not expire; 6 h
	StopTimeout      time.Duration // for the last commits; 5 s
	// NoDurable is why there are no durable consumers. Empty: there are.
	NoDurable string
	// Interest tells whether anybody listens on an inbox. Nil: somebody always does.
	Interest func(inbox string) bool

	// DuplicateWindow is how long a message id is remembered, as clients are told. 0:
	// ids are not looked at.
	DuplicateWindow time.Duration
	// Unknown tells an error that says that there is no such partition, OutOfRange
	// one that says that an offset is outside the log. Nil: none does.
	Unknown, OutOfRange func(error) bool
	// Subjects returns the subjects that devices publish on to reach a topic. Nil:
	// they reach none.
	Subjects func(topic string) []string
	// Stored tells a subject whose messages are stored. Nothing is answered there: an
	// answer would be stored as if a device had sent it. It is called by Take's
	// goroutine. Nil: none is.
	Stored func(subject []byte) bool
}

func (c Config) withDefaults() Config {
	def(&c.Workers, 2)
	def(&c.QueuedRequests, 256)
	def(&c.QueuedBytes, 1<<20)
	def(&c.MaxRequestBytes, 64<<10)
	def(&c.MaxResponseBytes, 32<<20)
	def(&c.MaxPayload, 1<<20)
	def(&c.SearchBytes, 64<<20)
	def(&c.SearchRecords, 250_000)
	def(&c.Consumers, 1024)
	def(&c.ConsumerWorkers, 2)
	def(&c.AckPending, 16_384)
	def(&c.PendingAcks, 65_536)
	def(&c.WaitingPulls, 4096)
	def(&c.MetadataBytes, 4096)
	def(&c.CommitInterval, 5*time.Second)
	def(&c.RefreshPositions, 6*time.Hour)
	def(&c.StopTimeout, 5*time.Second)
	if c.Domain == "" {
		c.Domain = DefaultDomain
	}
	if c.Unknown == nil {
		c.Unknown = func(error) bool { return false }
	}
	if c.OutOfRange == nil {
		c.OutOfRange = func(error) bool { return false }
	}
	if c.Subjects == nil {
		c.Subjects = func(string) []string { return nil }
	}
	if c.Stored == nil {
		c.Stored = func([]byte) bool { return false }
	}
	return c
}

func def[T int | int64 | time.Duration](field *T, value T) {
	if *field <= 0 {
		*field = value
	}
}

// Service answers the JetStream API. New makes one.
type Service struct {
	cfg       Config
	table     []route
	reader    Reader
	positions Positions
	wire      Wire
	log       *slog.Logger
	metrics   *metrics
	domain    []byte           // "hw."
	consumers func(stream) int // counts a stream's
	pulling   *consumers

	queue   chan *call
	slow    chan *call // requests that may read much; one is answered at a time
	refused chan *call // that found no room in the queue

	mu       sync.Mutex // guards all below; nothing is waited for under it
	queued   int        // bytes of what is in queue and slow
	stopping bool       // nothing more is taken
}

// New makes a Service. reg may be nil.
func New(cfg Config, reader Reader, positions Positions, wire Wire, log *slog.Logger, reg prometheus.Registerer) *Service {
	cfg = cfg.withDefaults()
	s := &Service{
		cfg:       cfg,
		table:     routes(),
		reader:    reader,
		positions: positions,
		wire:      wire,
		log:       log,
		metrics:   newMetrics(reg),
		domain:    []byte(cfg.Domain + "."),
		queue:     make(chan *call, cfg.QueuedRequests),
		slow:      make(chan *call, cfg.QueuedRequests),
		refused:   make(chan *call, cfg.QueuedRequests),
	}
	s.pulling = newConsumers(s, reg)
	s.consumers = s.pulling.of
	return s
}

// DefaultDomain is the API's, for those who come over a leafnode.
const DefaultDomain = "hw"

// Subjects are those whose messages are a Service's to take.
func Subjects(domain string) []string {
	return []string{"$JS.API.>", "$JS." + domain + ".API.>", "$JS.ACK.>"}
}

var apiPrefix = []byte("$JS.")

// Take takes a request. It is answered later, if it asks for an answer and somebody
// may hear that.
func (s *Service) Take(m *Request) {
	subject, ours := bytes.CutPrefix(m.Subject, apiPrefix)
	if !ours {
		return
	}
	subject = bytes.TrimPrefix(subject, s.domain)
	if len(m.Reply) > 0 && s.cfg.Stored(m.Reply) {
		s.metrics.ignored.Inc()
		return
	}
	c := call{tokens: tokens{subject}, reply: m.Reply, headers: m.Headers, payload: m.Payload}
	if c.route, c.tokens = find(s.table, subject); c.route == nil {
		c.route, c.tokens = &unknownRoute, tokens{subject}
	}
	if c.route.where == onReader {
		c.route.handle(s, &c)
		return
	}
	if len(m.Reply) == 0 {
		s.metrics.ignored.Inc()
		return
	}
	s.enqueue(&c)
}

// Idle tells that everything that has arrived whole was taken.
func (s *Service) Idle() {}

// enqueue leaves a request to the workers, or refuses it.
func (s *Service) enqueue(c *call) {
	size := c.size()
	if size > s.cfg.MaxRequestBytes {
		c.headers, c.payload = nil, nil
		c.refusal = errRequestTooLarge
		size = c.size()
	}
	kept := c.clone(size)
	if kept.refusal == nil {
		kept.refusal = s.put(s.queue, kept)
	}
	if kept.refusal == nil {
		return
	}
	kept.headers, kept.payload = nil, nil
	select {
	case s.refused <- kept:
	default:
		s.metrics.ignored.Inc() // whoever asks faster than can be refused waits for its timeout
	}
}

// put puts a call in a queue, or says why it may not.
func (s *Service) put(queue chan *call, c *call) *apiError {
	size := c.size()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopping {
		return errStopping
	}
	if s.queued+size > s.cfg.QueuedBytes {
		return errBusy
	}
	select {
	case queue <- c:
		s.queued += size
		return nil
	default:
		return errBusy
	}
}

// slowDown has a call handled among the slow requests.
func (s *Service) slowDown(c *call) {
	c.slow = true
	if refusal := s.put(s.slow, c); refusal != nil {
		s.fail(c, refusal)
	}
}

// Run answers until ctx is done. What waits then is refused.
func (s *Service) Run(ctx context.Context) error {
	var all sync.WaitGroup
	for range s.cfg.Workers {
		all.Go(func() { s.work(ctx, s.queue) })
	}
	all.Go(func() { s.work(ctx, s.slow) })
	all.Go(func() { s.refuse(ctx) })
	all.Go(func() { s.pulling.run(ctx) })
	<-ctx.Done()
	s.mu.Lock()
	s.stopping = true
	s.mu.Unlock()
	all.Wait()
	for { // nothing is put into a queue any more
		select {
		case c := <-s.queue:
			s.fail(c, errStopping)
		case c := <-s.slow:
			s.fail(c, errStopping)
		case c := <-s.refused:
			s.fail(c, c.refusal)
		default:
			return nil
		}
	}
}

// work answers what is queued.
func (s *Service) work(ctx context.Context, queue chan *call) {
	for ctx.Err() == nil {
		select {
		case c := <-queue:
			s.mu.Lock()
			s.queued -= c.size()
			s.mu.Unlock()
			c.ctx = ctx
			c.route.handle(s, c)
		case <-ctx.Done():
		}
	}
}

// refuse answers what found no room.
func (s *Service) refuse(ctx context.Context) {
	for ctx.Err() == nil {
		select {
		case c := <-s.refused:
			s.fail(c, c.refusal)
		case <-ctx.Done():
		}
	}
}

// send publishes an answer. One that nats-server would not take, and would close the
// connection for, is errTooLarge.
func (s *Service) send(reply, headers, payload []byte) error {
	if size := len(headers) + len(payload); size > s.cfg.MaxPayload {
		return errTooLarge.with(fmt.Sprintf("%d bytes, and this server's messages have at most %d", size, s.cfg.MaxPayload))
	}
	if err := s.wire.PublishMsg(reply, nil, headers, payload); err != nil {
		s.metrics.lost.Inc()
		return fmt.Errorf("%w: %w", errNotSent, err)
	}
	return nil
}

// errNotSent is wrapped by errors about an answer that will not arrive.
var errNotSent = errors.New("answer not sent")
