package natsd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Handler takes what a Conn reads. Both methods are called from one goroutine and
// do not block for long: a reader that waits is thrown out by the server.
type Handler interface {
	// Take takes a message, whose bytes are only valid until it returns.
	Take(m *Message)
	// Idle tells that everything that has arrived whole was taken.
	Idle()
}

// ConnConfig says how a Conn connects.
type ConnConfig struct {
	Dial       func() (net.Conn, error)
	Subjects   []string // a subscription each; Message.Rule is the place in this list
	MaxPayload int      // of a message with its headers, in bytes
	MaxPending int64    // bytes that the server keeps for us before it throws us out

	// Pending tells how many bytes the server keeps for a client. Nil: no message
	// is ever late.
	Pending func(client uint64) int64
	// Sent tells how many messages the server had for a client that it has thrown
	// out. Nil: what was lost is not counted.
	Sent func(client uint64) (messages int64, ok bool)

	Handler    Handler
	Log        *slog.Logger
	Registerer prometheus.Registerer // may be nil
}

// Conn is the bridge's own connection to the embedded server. It speaks just
// enough of the client protocol: a full client queues without bound, or drops,
// what its handler leaves.
//
// A connection that is lost while Conn runs is made again, counted and logged: nats-server throws out a client that falls too far behind, and failing
// as a whole would take Kafka's clients down for the sake of what is lost anyway.
// Only when the server itself is gone does Run end.
type Conn struct {
	cfg        ConnConfig
	reconnects prometheus.Counter
	lost       prometheus.Counter

	mu           sync.Mutex // guards all below
	current      *session   // nil while not subscribed
	unsubscribed bool
	up           chan struct{} // closed when first subscribed
}

// NewConn makes a Conn, which connects when it runs.
func NewConn(cfg ConnConfig) *Conn {
	c := &Conn{
		cfg: cfg,
		up:  make(chan struct{}),
		reconnects: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "headwater_bridge_reconnects_total",
			Help: "Times that the bridge lost its connection to the embedded nats-server, and with it the messages on their way.",
		}),
		lost: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "headwater_bridge_lost_total",
			Help: "Messages that were on their way to the bridge when it lost its connection to the embedded nats-server.",
		}),
	}
	if cfg.Registerer != nil {
		cfg.Registerer.MustRegister(c.reconnects, c.lost)
	}
	return c
}

const (
	firstRetry = time.Millisecond
	lastRetry  = time.Second
)

// Run reads until ctx is done, and then returns nil, or until the server is gone.
func (c *Conn) Run(ctx context.Context) error {
	retry := firstRetry
	var counting sync.WaitGroup
	defer counting.Wait()
	for {
		lost, err := c.runOnce(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if errors.Is(err, errNoServer) {
			return err
		}
		if lost != nil {
			retry = firstRetry
			c.reconnects.Inc()
			counting.Go(func() { c.countLost(ctx, lost) })
			c.cfg.Log.Error("connection to the embedded nats-server lost", "err", err)
		} else {
			c.cfg.Log.Warn("embedded nats-server not reached", "err", err, "retry", retry)
		}
		select {
		case <-time.After(retry):
		case <-ctx.Done():
			return nil
		}
		retry = min(2*retry, lastRetry)
	}
}

// errNoServer is wrapped by errors about a server that has ended.
var errNoServer = errors.New("embedded nats-server is gone")

// runOnce runs one connection to its end. It returns the session that was lost if
// that got so far as to subscribe.
func (c *Conn) runOnce(ctx context.Context) (lost *session, err error) {
	conn, err := c.cfg.Dial()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errNoServer, err)
	}
	defer conn.Close()
	s := newSession(conn, c.cfg)
	defer c.set(nil)
	err = s.run(ctx, c.subjects(), func() {
		lost = s
		c.set(s)
	})
	return lost, err
}

// The server writes a connection's last figures down a moment after it has cut it.
const (
	countTries = 100
	countPause = 10 * time.Millisecond
)

// countLost counts what the server had for a connection that has ended, and that
// never came.
func (c *Conn) countLost(ctx context.Context, s *session) {
	if c.cfg.Sent == nil {
		return
	}
	for range countTries {
		if sent, ok := c.cfg.Sent(s.client); ok {
			if lost := sent - s.taken; lost > 0 {
				c.lost.Add(float64(lost))
				c.cfg.Log.Error("messages lost with the connection to the embedded nats-server", "messages", lost)
			}
			return
		}
		select {
		case <-time.After(countPause):
		case <-ctx.Done():
			return
		}
	}
	c.cfg.Log.Error("messages lost with the connection to the embedded nats-server; how many is not known")
}

func (c *Conn) subjects() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.unsubscribed {
		return nil
	}
	return c.cfg.Subjects
}

func (c *Conn) set(s *session) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.current = s
	select {
	case <-c.up:
	default:
		if s != nil {
			close(c.up)
		}
	}
}

// Up is closed once all subscriptions stood for the first time.
func (c *Conn) Up() <-chan struct{} { return c.up }

func (c *Conn) session() (*session, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.current == nil {
		return nil, ErrNotConnected
	}
	return c.current, nil
}

// Ready returns nil while the subscriptions stand.
func (c *Conn) Ready() error {
	_, err := c.session()
	return err
}

// Publish sends a message, from any goroutine. It copies what it is given, and
// waits while too much is on its way already, at most as long as one write may
// take. An error says that the message was not sent; nil does not say that it
// arrived.
func (c *Conn) Publish(subject, payload []byte) error {
	s, err := c.session()
	if err != nil {
		return err
	}
	return s.out.publish(subject, payload)
}

// Flush waits until the server has worked off all that was published before.
func (c *Conn) Flush(ctx context.Context) error {
	s, err := c.session()
	if err != nil {
		return err
	}
	return s.flush(ctx)
}

// Unsubscribe ends all subscriptions. When it returns without an error, the
// handler has seen the last message, and devices that ask are told that nobody
// listens.
func (c *Conn) Unsubscribe(ctx context.Context) error {
	c.mu.Lock()
	c.unsubscribed = true
	c.mu.Unlock()
	s, err := c.session()
	if err != nil {
		return err
	}
	if err := s.unsubscribe(len(c.cfg.Subjects)); err != nil {
		return err
	}
	return s.flush(ctx)
}
