// Package mqtt serves MQTT devices, 3.1.1 and 5, and is the only room that imports
// mochi-mqtt: that speaks the protocol to subscribers, this package decides what
// becomes of publishes.
//
// A publish at QoS 1 or 2 goes to ingest, and its PUBACK or PUBREC is sent once the
// record is as durable as the broker promises; meanwhile the connection is read on,
// so that many publishes of one device share a sync. Acknowledgements go out in the
// order of the publishes (MQTT-4.6.0-2, -3). mochi would acknowledge at once, and
// keeps the packet identifiers of both directions in one map, where a device's can
// take the server's away. So what comes in at QoS 1 and 2 is handled here (inbound),
// and mochi only ever sees QoS 0 from devices.
//
// Topics a/b/c are subjects a.b.c. NATS subscribers hear devices, and MQTT subscribers
// hear what NATS clients publish. Listen takes the port and starts nothing; Shutdown
// waits for all that Start started. Sizes are in bytes.
package mqtt

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/headwater/headwater/bridge/ingest"
)

// Ingest stores what devices publish.
type Ingest interface {
	Take(m *ingest.Message)
	Idle()
}

// Subjects is the NATS side: a connection that does not hear what it publishes.
type Subjects interface {
	PublishMsg(subject, reply, headers, payload []byte) error
	Subscribe(subject string) (sid int, err error)
	UnsubscribeOne(sid int) error
}

// Access tells who may connect, and what they may do. Nil lets everyone do everything.
type Access interface {
	// Login returns who a client is; an error turns it away. tls is nil without TLS.
	Login(name string, password []byte, tls *tls.ConnectionState) (Identity, error)
}

// Identity is a client that has been let in. Subjects are in NATS's form.
type Identity interface {
	MayPublish(subject []byte) bool
	MaySubscribe(pattern string) bool
}

// Config is the listener's. A field that is 0 has its default.
type Config struct {
	Listen         string        // host:port; port 0 takes any
	TLS            *tls.Config   // nil for none
	Access         Access        // nil for everyone
	MaxConnections int           // 1,024
	MaxPayload     int           // of a message; 512 KiB
	ReceiveMaximum int           // publishes of a client at QoS 1 and 2 that have no answer yet; 1,024
	MaxQueued      int           // messages that wait for a client at QoS 1 and 2; 1,000
	SessionExpiry  time.Duration // the most that a session outlives its connection; 7 days
	MaxFilters     int           // different filters of all subscribers; 1,024
	StateBytes     int64         // messages that wait in sessions, of all clients; 16 MiB
}

func (c Config) withDefaults() Config {
	def(&c.MaxConnections, 1024)
	def(&c.MaxPayload, 512<<10)
	def(&c.ReceiveMaximum, 1024)
	def(&c.MaxQueued, 1000)
	def(&c.SessionExpiry, 7*24*time.Hour)
	def(&c.MaxFilters, 1024)
	def(&c.StateBytes, 16<<20)
	return c
}

func def[T int | int64 | time.Duration](field *T, value T) {
	if *field <= 0 {
		*field = value
	}
}

// Server is the MQTT listener.
type Server struct {
	cfg     Config
	log     *slog.Logger
	metrics *metrics
	state   *state
	held    net.Listener
	mochi   *mochi.Server
	local   *mochi.Client // publishes what does not come from a device of ours

	ingest   Ingest   // set by Start
	subjects Subjects // set by Start
	stopping atomic.Bool
	port     *bounded
	cancel   context.CancelFunc // ends carry and tidyUp

	accepting sync.WaitGroup // accept
	serving   sync.WaitGroup // mochi's readers
	running   sync.WaitGroup // goroutines of ours
	ended     sync.Once

	waitingBytes atomic.Int64 // of publishes without an answer
	heard        chan *heard
	heardBytes   atomic.Int64
	retained     retained

	mu          sync.Mutex // guards below
	clients     map[*inbound]bool
	sessions    map[string]*session // by client id
	tokens      map[uint64]*publish // that ingest has
	token       uint64              // the last one
	toldRefused time.Time
	over        bool // Shutdown waits for running

	hearing sync.Mutex // guards below
	filters []filter   // that NATS is listened to for, the first in front
}

// Listen takes hold of the port. Nobody is answered before Start. reg may be nil.
func Listen(cfg Config, log *slog.Logger, reg prometheus.Registerer) (*Server, error) {
	cfg = cfg.withDefaults()
	held, err := net.Listen("tcp", cfg.Listen)
	if err != nil {
		return nil, err
	}
	s := &Server{
		cfg: cfg, log: log, held: held,
		heard: make(chan *heard, maxHeard), retained: retained{sizes: map[string]int{}},
		clients: map[*inbound]bool{}, sessions: map[string]*session{}, tokens: map[uint64]*publish{},
	}
	s.metrics = newMetrics(reg, s)
	s.state = newState(s, log, reg)
	return s, nil
}

// Addr is where devices connect.
func (s *Server) Addr() net.Addr { return s.held.Addr() }

// Close lets go of the port when Start is not going to be called.
func (s *Server) Close() { s.held.Close() }

// Start opens the port to devices, whose publishes go to in and to subjects.
func (s *Server) Start(in Ingest, subjects Subjects) error {
	s.ingest, s.subjects = in, subjects
	s.mochi = mochi.New(s.options())
	s.local = s.newRouter("headwater")
	if err := s.mochi.AddHook(&hook{server: s}, nil); err != nil {
		return fmt.Errorf("mqtt: %w", err)
	}
	if err := s.state.start(); err != nil {
		return fmt.Errorf("mqtt: %w", err)
	}
	s.port = &bounded{
		Listener: s.held, tls: s.cfg.TLS, limit: s.cfg.MaxConnections, open: map[*conn]bool{},
		writers: &s.running, turnedAway: s.metrics.turnedAway,
	}
	if err := s.mochi.Serve(); err != nil {
		return fmt.Errorf("mqtt: %w", err)
	}
	s.adopt()
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	s.accepting.Go(func() { s.accept(ctx) })
	s.running.Go(func() { s.carry(ctx) })
	s.running.Go(func() { s.tidyUp(ctx) })
	return nil
}

const acceptPause = 100 * time.Millisecond

// accept serves connections until the port is closed. mochi's own listener starts
// goroutines that its Close may not know yet.
func (s *Server) accept(ctx context.Context) {
	for {
		c, err := s.port.Accept()
		switch {
		case err == nil:
		case ctx.Err() != nil || errors.Is(err, net.ErrClosed):
			return
		default: // such as too many open files: others may close theirs
			s.log.Warn("MQTT connection not accepted", "err", err)
			select {
			case <-time.After(acceptPause):
			case <-ctx.Done():
			}
			continue
		}
		s.serving.Go(func() {
			if err := s.mochi.EstablishConnection(listenerID, c); err != nil {
				s.log.Debug("MQTT connection ended", "remote", c.RemoteAddr(), "err", err)
			}
			c.Close()
		})
	}
}

// adopt takes in what mochi has from a store.
func (s *Server) adopt() {
	for topic, pk := range s.mochi.Topics.Retained.GetAll() {
		if !strings.HasPrefix(topic, mochi.SysPrefix) {
			s.retained.set(pk)
		}
	}
	for _, cl := range s.mochi.Clients.GetAll() {
		for _, sub := range cl.State.Subscriptions.GetAll() {
			s.listenFor(sub.Filter)
		}
	}
}

const listenerID = "mqtt"

// sysEvery is how often mochi's figures on $SYS are renewed, in seconds.
const sysEvery = 60

func (s *Server) options() *mochi.Options {
	c := mochi.NewDefaultServerCapabilities()
	c.MaximumClients = int64(s.cfg.MaxConnections)
	c.MaximumPacketSize = uint32(s.cfg.MaxPayload + packetMargin)
	c.ReceiveMaximum = uint16(min(s.cfg.ReceiveMaximum, 65535))
	c.MaximumInflight = uint16(min(s.cfg.MaxQueued, 65535))
	c.MaximumClientWritesPending = int32(s.cfg.MaxQueued)
	c.MaximumSessionExpiryInterval = uint32(s.cfg.SessionExpiry.Seconds())
	c.TopicAliasMaximum = topicAliases
	c.MaximumMessageExpiryInterval = 0 // what is retained stays
	c.MinimumProtocolVersion = 4
	return &mochi.Options{
		Capabilities: c, Logger: slog.New(quiet{s.log.Handler()}), InlineClient: true, SysTopicResendInterval: sysEvery,
		ClientNetReadBufferSize:  4 << 10,
		ClientNetWriteBufferSize: 1, // conn gathers; mochi would keep what it gathers until there is more
	}
}

const (
	packetMargin = 64 << 10 // for the topic and properties of a message, beside its payload
	topicAliases = 64       // of a connection
)

// Stop takes no more publishes: those that come are refused. What was taken is
// answered as before.
func (s *Server) Stop() { s.stopping.Store(true) }

// Shutdown tells the clients that they are to go, closes their connections, and waits
// for all that Start started.
func (s *Server) Shutdown() { s.ended.Do(s.shutdown) }

func (s *Server) shutdown() {
	defer s.state.end() // last: until then there is something to keep
	s.Stop()
	if s.cancel == nil { // Start did not get that far
		s.held.Close()
		return
	}
	s.cancel()
	for _, cl := range s.mochi.Clients.GetByListener(listenerID) {
		_ = s.mochi.DisconnectClient(cl, packets.ErrServerShuttingDown) // its error is that code
	}
	s.port.Close()
	s.accepting.Wait()
	s.serving.Wait()
	s.mochi.Close()
	s.mu.Lock()
	s.over = true
	s.mu.Unlock()
	s.running.Wait()
}

// spawn has f run by a goroutine that Shutdown waits for, and not at all after it.
func (s *Server) spawn(f func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.over {
		s.running.Go(f)
	}
	return !s.over
}
