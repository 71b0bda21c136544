package pull

import (
	"bytes"
	"context"
	"log/slog"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// Config bounds the API. A field that is 0 has its default.
type Config struct {
	Domain           string // of the API, beside the one without; "hw"
	Workers          int    // goroutines that answer; 2
	QueuedRequests   int    // that wait for a worker; 256
	QueuedBytes      int    // that those take together; 1 MiB
	MaxRequestBytes  int    // of one request with its headers; 64 KiB
	MaxResponseBytes int64  // of messages that one request may bring; 32 MiB
	SearchBytes      int64  // of the log that one request may read to find a subject's message; 32 MiB
	SearchRecords    int64  // likewise, records; 1,000,000

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
	def(&c.SearchBytes, 32<<20)
	def(&c.SearchRecords, 1_000_000)
	if c.Domain == "" {
		c.Domain = "hw"
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

func def[T int | int64](field *T, value T) {
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
	domain    []byte // "hw."

	queue   chan *call
	refused chan *call // that found no room in the queue

	mu       sync.Mutex // guards all below; nothing is waited for under it
	queued   int        // bytes of what is in queue
	stopping bool       // nothing more is taken
}

// New makes a Service. reg may be nil.
func New(cfg Config, reader Reader, positions Positions, wire Wire, log *slog.Logger, reg prometheus.Registerer) *Service {
	cfg = cfg.withDefaults()
	return &Service{
		cfg:       cfg,
		table:     routes(),
		reader:    reader,
		positions: positions,
		wire:      wire,
		log:       log,
		metrics:   newMetrics(reg),
		domain:    []byte(cfg.Domain + "."),
		queue:     make(chan *call, cfg.QueuedRequests),
		refused:   make(chan *call, cfg.QueuedRequests),
	}
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

// enqueue leaves a call to the workers, or refuses it.
func (s *Service) enqueue(c *call) {
	size := c.size()
	if size > s.cfg.MaxRequestBytes {
		c.headers, c.payload = nil, nil
		c.refusal = errRequestTooLarge
		size = c.size()
	}
	kept := c.clone(size)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.stopping:
		kept.refusal = errStopping
	case s.queued+size > s.cfg.QueuedBytes:
		kept.refusal = errBusy
	case kept.refusal == nil:
		select {
		case s.queue <- kept:
			s.queued += size
			return
		default:
			kept.refusal = errBusy
		}
	}
	kept.headers, kept.payload = nil, nil
	select {
	case s.refused <- kept:
	default:
		s.metrics.ignored.Inc() // whoever asks faster than can be refused waits for its timeout
	}
}

// Run answers until ctx is done. What waits then is refused.
func (s *Service) Run(ctx context.Context) error {
	var all sync.WaitGroup
	for range s.cfg.Workers {
		all.Go(func() { s.work(ctx) })
	}
	all.Go(func() { s.refuse(ctx) })
	<-ctx.Done()
	s.mu.Lock()
	s.stopping = true
	s.mu.Unlock()
	all.Wait()
	for { // what came meanwhile; Take adds no more to the queue
		select {
		case c := <-s.queue:
			s.fail(c, errStopping)
		case c := <-s.refused:
			s.fail(c, c.refusal)
		default:
			return nil
		}
	}
}

// work answers what is queued.
func (s *Service) work(ctx context.Context) {
	for ctx.Err() == nil {
		select {
		case c := <-s.queue:
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

// send publishes, unless that is not possible: whoever waits for the answer runs
// into its timeout then, as with any server that is gone.
func (s *Service) send(subject, headers, payload []byte) bool {
	if err := s.wire.PublishMsg(subject, nil, headers, payload); err != nil {
		s.metrics.lost.Inc()
		s.log.Debug("answer not sent", "err", err)
		return false
	}
	return true
}
