package natsd

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// LeafConfig says how a Leaf connects.
type LeafConfig struct {
	Dial           func() (net.Conn, error) // an error that tells of the server's end ends Run
	User, Password string
	MaxPayload     int // of a message with its headers, in bytes
	Log            *slog.Logger
	Registerer     prometheus.Registerer // may be nil
}

// Leaf is a connection to the embedded server that speaks the protocol of leaf nodes,
// as another nats-server would. Only such a one may publish with a reply that begins
// with $JS.ACK, which is how JetStream's clients know what to acknowledge; a client
// connection, like Conn, may not. It subscribes to nothing.
//
// A connection that is lost while Leaf runs is made again, counted and logged.
type Leaf struct {
	cfg        LeafConfig
	reconnects prometheus.Counter
	connect    string // the CONNECT line

	mu      sync.Mutex // guards all below
	current *session   // nil while not connected
	up      chan struct{}
}

// NewLeaf makes a Leaf, which connects when it runs.
func NewLeaf(cfg LeafConfig) *Leaf {
	l := &Leaf{
		cfg:     cfg,
		connect: leafConnectLine(cfg.User, cfg.Password),
		up:      make(chan struct{}),
		reconnects: prometheus.NewCounter(prometheus.CounterOpts{
			Name:        "headwater_bridge_reconnects_total",
			Help:        reconnectsHelp,
			ConstLabels: prometheus.Labels{"connection": "deliveries"},
		}),
	}
	if cfg.Registerer != nil {
		cfg.Registerer.MustRegister(l.reconnects)
	}
	return l
}

// leafConnectLine must not say "lang": by that the server knows a client that has come
// to the wrong port.
func leafConnectLine(user, password string) string {
	text, err := json.Marshal(map[string]any{
		"user": user, "pass": password, "name": "headwater-deliveries", "headers": true, "version": "1.0.0", "protocol": 1,
	})
	if err != nil {
		panic(err) // strings always marshal
	}
	return "CONNECT " + string(text)
}

// Run keeps the connection until ctx is done, and then returns nil, or until the server
// is gone.
func (l *Leaf) Run(ctx context.Context) error {
	return reconnecting(ctx, l.runOnce, func(ready bool, err error, retry time.Duration) {
		if !ready {
			l.cfg.Log.Warn("embedded nats-server not reached", "connection", "deliveries", "err", err, "retry", retry)
			return
		}
		l.reconnects.Inc()
		l.cfg.Log.Error("connection to the embedded nats-server lost", "connection", "deliveries", "err", err)
	})
}

func (l *Leaf) runOnce(ctx context.Context) (ready bool, err error) {
	conn, err := l.cfg.Dial()
	if err != nil {
		return false, err
	}
	defer conn.Close()
	s := newSession(conn, parser{leaf: true}, nil, l.cfg.Log)
	defer l.set(nil)
	err = s.run(ctx, func() error { return s.out.control(l.connect) }, func() {
		ready = true
		l.set(s)
	})
	return ready, err
}

func (l *Leaf) set(s *session) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.current = s
	select {
	case <-l.up:
	default:
		if s != nil {
			close(l.up)
		}
	}
}

// Up is closed once the connection stood for the first time.
func (l *Leaf) Up() <-chan struct{} { return l.up }

// Ready returns nil while the connection stands.
func (l *Leaf) Ready() error {
	_, err := l.session()
	return err
}

func (l *Leaf) session() (*session, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.current == nil {
		return nil, ErrNotConnected
	}
	return l.current, nil
}

// Deliver sends a message to inbox, for its owner to see as one on subject, and to
// acknowledge at ackReply, which is $JS.ACK. and nine tokens. headers is a whole header
// block, or empty. It may be called from any goroutine, copies what it is given, and
// waits while too much is on its way already, at most as long as one write may take.
// An error says that the message was not sent; nil does not say that it arrived, nor
// that anybody listens there.
func (l *Leaf) Deliver(inbox, ackReply, subject, headers, payload []byte) error {
	if len(inbox) == 0 || len(ackReply) == 0 {
		return fmt.Errorf("%w: a delivery needs an inbox and a reply", ErrUnsendable)
	}
	return l.send(&outbound{to: inbox, reply: ackReply, subject: subject, headers: headers, payload: payload})
}

// Status sends a header block without a payload to inbox, which is also its subject
// then. It comes behind what was delivered before, and is like Deliver in the rest.
func (l *Leaf) Status(inbox, headers []byte) error {
	if len(inbox) == 0 || len(headers) == 0 {
		return fmt.Errorf("%w: a status needs an inbox and headers", ErrUnsendable)
	}
	return l.send(&outbound{to: inbox, subject: inbox, headers: headers})
}

func (l *Leaf) send(m *outbound) error {
	if err := m.check(l.cfg.MaxPayload); err != nil {
		return err
	}
	s, err := l.session()
	if err != nil {
		return err
	}
	return s.out.send(m)
}

// Flush waits until the server has worked off all that was delivered before.
func (l *Leaf) Flush(ctx context.Context) error {
	s, err := l.session()
	if err != nil {
		return err
	}
	return s.flush(ctx)
}
