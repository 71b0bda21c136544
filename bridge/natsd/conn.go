package natsd

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Handler takes what a Conn reads. Both methods are called from one goroutine and
// do not block for long: the server lets go what comes meanwhile, beyond what it keeps
// for a reader.
type Handler interface {
	// Take takes a message, whose bytes are only valid until it returns.
	Take(m *Message)
	// Idle tells that everything that has arrived whole was taken.
	Idle()
}

// ConnConfig says how a Conn connects.
type ConnConfig struct {
	Name     string // of the connection, in logs and metrics; empty is "ingest"
	Dial     func() (net.Conn, error)
	Subjects []string // a subscription each; Message.Rule is the place in this list
	// MaxSubscriptions bounds what Subscribe adds to Subjects.
	MaxSubscriptions int
	MaxPayload       int // of a message with its headers, in bytes
	// Delivered tells what the server had for a client, also for a while after the
	// connection has ended. Nil: what is lost is not counted.
	Delivered  func(client uint64) (Delivered, bool)
	Handler    Handler // nil takes nothing, and subscribes to nothing
	Log        *slog.Logger
	Registerer prometheus.Registerer // may be nil
}

// Conn is a connection of the bridge's own to the embedded server. It speaks just
// enough of the client protocol: a full client queues without bound, or drops,
// what its handler leaves. There may be more than one, so that one flow of messages
// does not hold up another.
//
// What comes faster than it is taken, the server lets go, and Conn counts. A
// connection that is lost while Conn runs is made again, counted and logged: failing
// as a whole would take Kafka's clients down for the sake of what is lost anyway.
// Only when the server itself is gone does Run end.
type Conn struct {
	cfg        ConnConfig
	reconnects prometheus.Counter
	lost       []prometheus.Counter // by fixed subscription; the last is of all others

	mu            sync.Mutex     // guards all below
	subscriptions *subscriptions // its limit never changes
	greeted       *session       // has been told of subscriptions, and is told of changes; may be ending
	current       *session       // nil while not subscribed
	up            chan struct{}  // closed when first subscribed
}

const reconnectsHelp = "Times that the bridge lost a connection to the embedded nats-server, and with it the messages on their way."

// NewConn makes a Conn, which connects when it runs.
func NewConn(cfg ConnConfig) *Conn {
	if cfg.Name == "" {
		cfg.Name = "ingest"
	}
	labels := prometheus.Labels{"connection": cfg.Name}
	c := &Conn{
		cfg:           cfg,
		subscriptions: newSubscriptions(cfg.Subjects, cfg.MaxSubscriptions),
		up:            make(chan struct{}),
		reconnects: prometheus.NewCounter(prometheus.CounterOpts{
			Name:        "headwater_bridge_reconnects_total",
			Help:        reconnectsHelp,
			ConstLabels: labels,
		}),
	}
	lost := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name:        "headwater_bridge_lost_total",
		Help:        "Messages that nats-server let go on their way to the bridge, because they came faster than they could be taken or the connection was lost.",
		ConstLabels: labels,
	}, []string{"rule"})
	for _, subject := range append(slices.Clone(cfg.Subjects), "") {
		c.lost = append(c.lost, lost.WithLabelValues(subject))
	}
	if cfg.Registerer != nil {
		cfg.Registerer.MustRegister(c.reconnects, lost)
	}
	return c
}

// Run reads until ctx is done, and then returns nil, or until the server is gone.
func (c *Conn) Run(ctx context.Context) error {
	var counting sync.WaitGroup
	defer counting.Wait()
	var last *session // of which there was one
	return reconnecting(ctx, func(ctx context.Context) (bool, error) {
		var err error
		last, err = c.runOnce(ctx)
		return last != nil, err
	}, func(ready bool, err error, retry time.Duration) {
		if !ready {
			c.cfg.Log.Warn("embedded nats-server not reached", "connection", c.cfg.Name, "err", err, "retry", retry)
			return
		}
		lost := last
		c.reconnects.Inc()
		counting.Go(func() { c.countLost(ctx, lost) })
		c.cfg.Log.Error("connection to the embedded nats-server lost", "connection", c.cfg.Name, "err", err)
	})
}

// connectLine asks for headers, and not to hear what we say ourselves: a device
// that asked for its answer on a subject of ours would else have it stored.
const connectLine = `CONNECT {"verbose":false,"pedantic":false,"echo":false,"headers":true,"protocol":1,"lang":"go","version":"1","name":"headwater-bridge"}`

// runOnce runs one connection to its end. It returns the session that was lost if
// that got so far as to subscribe.
func (c *Conn) runOnce(ctx context.Context) (lost *session, err error) {
	conn, err := c.cfg.Dial()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errNoServer, err)
	}
	defer conn.Close()
	s := newSession(conn, parser{maxPayload: c.cfg.MaxPayload, subscriptions: c.subscriptions.limit}, c.cfg.Handler, c.cfg.Log)
	s.taken, s.losses = newTally(len(c.cfg.Subjects)), c.newLosses()
	var watching sync.WaitGroup
	defer watching.Wait()
	defer c.set(nil)
	err = s.run(ctx, func() error { return c.greet(s) }, func() {
		lost = s
		watching.Go(func() { c.watch(ctx, s) })
		c.set(s)
	})
	return lost, err
}

// greet subscribes anew to all that there is. What changes from then on is told to s.
func (c *Conn) greet(s *session) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.greeted = s
	for _, line := range append([]string{connectLine}, c.subscriptions.lines()...) {
		if err := s.out.control(line); err != nil {
			return err
		}
	}
	return nil
}

func (c *Conn) set(s *session) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.current = s
	if s == nil {
		c.greeted = nil
	}
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
	return c.send(&outbound{subject: subject, payload: payload})
}

// PublishMsg is Publish for a message with a reply subject, a whole header block, or
// both; what is empty is left out.
func (c *Conn) PublishMsg(subject, reply, headers, payload []byte) error {
	return c.send(&outbound{subject: subject, reply: reply, headers: headers, payload: payload})
}

func (c *Conn) send(m *outbound) error {
	if err := m.check(c.cfg.MaxPayload); err != nil {
		return err
	}
	s, err := c.session()
	if err != nil {
		return err
	}
	return s.out.send(m)
}

// Subscribe adds a subscription, which outlives connections, and returns its number,
// which stands in Message.Rule. It needs no connection, and does not wait for one: a
// Flush afterwards does. Messages can come before it returns, and after
// UnsubscribeOne.
func (c *Conn) Subscribe(subject string) (sid int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if sid, err = c.subscriptions.add(subject); err != nil {
		return 0, err
	}
	c.tell(subLine(subject, sid))
	return sid, nil
}

// UnsubscribeOne ends what Subscribe began.
func (c *Conn) UnsubscribeOne(sid int) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.subscriptions.remove(sid) {
		return fmt.Errorf("%w: there is no subscription %d", ErrSubject, sid)
	}
	c.tell(unsubLine(sid))
	return nil
}

// tell queues a line for the server, if there is a connection. One that cannot take
// it ends: the next is told everything anyhow. c.mu is held.
func (c *Conn) tell(line string) {
	if c.greeted == nil {
		return
	}
	if err := c.greeted.out.control(line); err != nil {
		c.greeted.out.close(err)
	}
}

func unsubLine(sid int) string { return "UNSUB " + strconv.Itoa(sid) }

// Flush waits until the server has worked off all that was published before.
func (c *Conn) Flush(ctx context.Context) error {
	s, err := c.session()
	if err != nil {
		return err
	}
	return s.flush(ctx)
}

// Unsubscribe ends all subscriptions, for good. When it returns without an error, the
// handler has seen the last message, what was lost is counted, and devices that ask
// are told that nobody listens.
func (c *Conn) Unsubscribe(ctx context.Context) error {
	s, err := c.session()
	if err == nil {
		c.look(ctx, s) // while the server still knows which subscriptions they were of
	}
	c.mu.Lock()
	for _, sid := range c.subscriptions.clear() {
		c.tell(unsubLine(sid))
	}
	c.mu.Unlock()
	if err != nil {
		return err
	}
	if err := s.flush(ctx); err != nil {
		return err
	}
	c.look(ctx, s)
	return nil
}
