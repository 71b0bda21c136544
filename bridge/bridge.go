// Package bridge is the devices' side of headwater: it takes what they publish
// on NATS subjects into topics, and tells those who ask that it is stored.
//
// It puts its rooms together and owns the order in which they start and stop; how
// messages become batches is ingest's, the embedded server natsd's, and where a
// subject leads subject's, and what JetStream's clients are answered pull's. It
// reaches the broker through Broker alone.
//
// A Bridge goes from Listen, which takes the port and starts nothing, to one Run.
// Ready and Addr may be called from any goroutine.
package bridge

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/headwater/headwater/bridge/access"
	"github.com/headwater/headwater/bridge/certs"
	"github.com/headwater/headwater/bridge/ingest"
	"github.com/headwater/headwater/bridge/mqtt"
	"github.com/headwater/headwater/bridge/natsd"
	"github.com/headwater/headwater/bridge/subject"
)

// ErrNotReady is wrapped by what Ready returns before devices can be served.
var ErrNotReady = errors.New("bridge not ready")

// Bridge serves devices.
type Bridge struct {
	cfg    Config
	table  *subject.Table
	server *natsd.Server
	certs  *certs.Store // nil without TLS
	mqtt   *mqtt.Server // nil without MQTT
	log    *slog.Logger
	reg    prometheus.Registerer
	conn   atomic.Pointer[natsd.Conn] // nil before devices may come, and once they may not

	mqttCerts *certs.Store // nil without TLS there
}

// Listen checks cfg and takes hold of the ports, so that all that can be wrong
// with them is known before anything is written to disk: what the settings caused is
// in SettingErrors. Nobody is answered
// before Run. reg may be nil.
func Listen(cfg Config, log *slog.Logger, reg prometheus.Registerer) (*Bridge, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("bridge: %w", err)
	}
	table, err := subject.Compile(cfg.Rules)
	if err != nil {
		return nil, fmt.Errorf("bridge: %w", err)
	}
	users, err := access.Compile(cfg.Users)
	if err != nil {
		return nil, fmt.Errorf("bridge: %w", err)
	}
	b := &Bridge{cfg: cfg, table: table, log: log, reg: reg}
	if err := errors.Join(b.listenNATS(users), b.listenMQTT(users)); err != nil {
		b.Close()
		return nil, fmt.Errorf("bridge: %w", err)
	}
	return b, nil
}

// listenNATS takes NATS's ports.
func (b *Bridge) listenNATS(users *access.List) (err error) {
	var tlsConfig *tls.Config
	if !b.cfg.TLS.None() {
		if b.certs, err = certs.Load("nats", b.cfg.TLS, b.log, b.reg); err != nil {
			return ofSettings("nats", err)
		}
		tlsConfig = b.certs.Config()
	}
	if b.server, err = natsd.Listen(b.cfg.server(users, tlsConfig, b.reg), b.log); err != nil {
		return ofSettings("nats", err)
	}
	return nil
}

// Addr is where devices connect, host:port.
func (b *Bridge) Addr() string { return b.server.Addr().String() }

// WebSocketAddr and LeafNodesAddr are where browsers and other NATS servers connect;
// nil where they cannot.
func (b *Bridge) WebSocketAddr() net.Addr { return b.server.WebSocketAddr() }
func (b *Bridge) LeafNodesAddr() net.Addr { return b.server.LeafNodesAddr() }

// Ready returns nil while devices can connect and are heard.
func (b *Bridge) Ready() error {
	conn := b.conn.Load()
	if conn == nil {
		return ErrNotReady
	}
	if err := conn.Ready(); err != nil {
		return fmt.Errorf("%w: %w", ErrNotReady, err)
	}
	return nil
}

// Close lets go of the ports when Run is not going to be called.
func (b *Bridge) Close() {
	if b.server != nil {
		b.server.Shutdown()
	}
	if b.mqtt != nil {
		b.mqtt.Close()
	}
}

// Run serves devices until ctx is done or a part fails. At the end it first tells
// devices to go elsewhere and stops listening to the rules' subjects and the API's, so
// that who asks nevertheless learns at once that nobody listens; then what was taken is
// stored and answered; only then are the devices' connections closed.
func (b *Bridge) Run(ctx context.Context, broker Broker) error {
	defer b.server.Shutdown()
	if err := b.server.Start(); err != nil {
		return fmt.Errorf("bridge: %w", err)
	}
	link := &link{rules: len(b.cfg.Rules), mqtt: b.mqtt}
	conn := natsd.NewConn(natsd.ConnConfig{
		Dial:     b.server.Dial,
		Subjects: b.cfg.subjects(),

		MaxSubscriptions: mqttFilters,
		MaxPayload:       int(b.cfg.MaxPayload),
		Delivered:        b.server.Delivered,
		Handler:          heard{link},
		Log:              b.log,
		Registerer:       b.reg,
	})
	link.Ingest = ingest.New(b.cfg.ingest(broker), b.table, b.cfg.subjects(), broker, conn, b.log, b.reg)
	api := b.newAPI(broker)
	carrier := b.newCommands(broker, conn)

	// Each part ends when its own context does: their order is stopInOrder's.
	parts := context.WithoutCancel(ctx)
	gatherCtx, stopGathering := context.WithCancel(parts)
	connCtx, stopConn := context.WithCancel(parts)
	defer stopGathering()
	defer stopConn()
	var gathering, reading errgroup.Group
	ended := make(chan struct{}) // closed when a part has ended, whether asked to or not
	end := sync.OnceFunc(func() { close(ended) })
	start := func(g *errgroup.Group, run func() error) {
		g.Go(func() error {
			defer end()
			return run()
		})
	}
	start(&gathering, func() error { return link.Run(gatherCtx) })
	start(&gathering, func() error { return api.service.Run(gatherCtx) })
	start(&gathering, func() error { return carrier.Run(gatherCtx) })
	start(&reading, func() error { return conn.Run(connCtx) })
	if b.certs != nil {
		start(&reading, func() error { return b.certs.Run(connCtx) })
	}
	start(&reading, func() error { return b.server.GuardMemory(connCtx) })
	start(&reading, func() error { return api.conn.Run(connCtx) })
	start(&reading, func() error { return api.leaf.Run(connCtx) })

	if b.mqttCerts != nil {
		start(&reading, func() error { return b.mqttCerts.Run(connCtx) })
	}

	err := b.serve(ctx, broker, conn, link, ended, conn.Up(), api.conn.Up(), api.leaf.Up())
	b.conn.Store(nil)
	b.server.LameDuck()
	if b.mqtt != nil {
		b.mqtt.Stop()
	}
	b.unsubscribe(conn, api.conn)
	stopGathering()
	err = errors.Join(err, gathering.Wait())
	if b.mqtt != nil { // what was taken is answered
		b.mqtt.Shutdown()
	}
	b.flush(conn, api.conn, api.leaf)
	stopConn()
	return errors.Join(err, reading.Wait())
}

// serve opens the server to devices once all is up, and returns when ctx is done or
// a part has ended.
func (b *Bridge) serve(ctx context.Context, broker Broker, conn *natsd.Conn, link *link, ended <-chan struct{}, up ...<-chan struct{}) error {
	for _, one := range up {
		select {
		case <-one:
		case <-ended:
			return nil // its error comes from waiting for it
		case <-ctx.Done():
			return nil
		}
	}
	if err := b.server.Accept(); err != nil {
		return fmt.Errorf("bridge: %w", err)
	}
	if b.mqtt != nil {
		b.mqtt.Keep(broker)
		if err := b.mqtt.Start(link, conn); err != nil {
			return fmt.Errorf("bridge: %w", err)
		}
	}
	b.conn.Store(conn)
	b.log.Info("bridge ready", "addr", b.Addr(), "rules", len(b.cfg.Rules))
	select {
	case <-ended:
	case <-ctx.Done():
	}
	return nil
}

// goodbyeTimeout is for one exchange with the server in this process.
const goodbyeTimeout = 2 * time.Second

// unsubscribe stops the flow of messages; what came before is taken.
func (b *Bridge) unsubscribe(conns ...*natsd.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), goodbyeTimeout)
	defer cancel()
	for _, conn := range conns {
		if err := conn.Unsubscribe(ctx); err != nil {
			b.log.Warn("subscriptions not ended in order", "err", err)
		}
	}
}

// flush sees to it that the last answers are with the server, which writes them
// out before it closes connections.
func (b *Bridge) flush(conns ...interface{ Flush(context.Context) error }) {
	ctx, cancel := context.WithTimeout(context.Background(), goodbyeTimeout)
	defer cancel()
	for _, conn := range conns {
		if err := conn.Flush(ctx); err != nil {
			b.log.Warn("last answers not sent in order", "err", err)
		}
	}
}

// link is the way to ingest.
type link struct {
	*ingest.Ingest
	rules int
	mqtt  *mqtt.Server // nil without MQTT, which then has no subscriptions
}

// heard hands a connection's messages to ingest, and to MQTT's subscribers what comes by
// their subscriptions.
type heard struct{ *link }

// Take takes m.
func (h heard) Take(m *natsd.Message) {
	if m.Rule >= h.rules {
		h.mqtt.Heard(m.Rule, m.Subject, m.Headers, m.Payload)
		return
	}
	h.Ingest.Take(&ingest.Message{Rule: m.Rule, Subject: m.Subject, Reply: m.Reply, Headers: m.Headers, Payload: m.Payload})
}
