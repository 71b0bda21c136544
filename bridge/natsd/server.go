// Package natsd owns the embedded nats-server and the bridge's connections to it.
//
// It is the only room that imports nats-server. JetStream is off: what devices
// are told of storage comes from the log. The package knows nothing of topics or
// records; a Handler takes the messages.
//
// A Server's methods are called in their order by one goroutine: Listen, Start,
// Accept, LameDuck, Shutdown. Listen starts nothing. Conn's and Leaf's may be called from any.
// Sizes are in bytes.
package natsd

import (
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"strconv"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/headwater/headwater/bridge/access"
)

// ServerConfig bounds the embedded server. A field that is 0 has its default.
type ServerConfig struct {
	Listen          string // host:port; port 0 takes any
	MaxPayload      int32  // of a message with its headers; 1 MiB
	MaxConnections  int    // of devices; 1,024
	MaxPendingBytes int64  // for a client that reads too slowly, before it is thrown out; 32 MiB
	MaxPendingTotal int64  // for all clients together, before the slowest are disconnected; 64 MiB

	Users *access.List // who may connect; nil: everybody
	TLS   *tls.Config  // for all listeners; nil: without

	WebSocket      string // host:port; empty: off
	WebSocketPlain bool   // without TLS, whatever TLS says
	LeafNodes      string // host:port, for other NATS servers; empty: the bridge's own alone
	MaxLeafNodes   int    // of other servers; 16

	Registerer prometheus.Registerer // may be nil
}

// Server is the embedded nats-server.
type Server struct {
	cfg  ServerConfig
	log  *slog.Logger
	addr *net.TCPAddr
	held net.Listener // holds the port until Accept
	nats *server.Server
	opts *server.Options // nats's own, which it writes the leaf nodes' port to
	says *logger
	auth *authenticator

	webSocket, leafNodes port     // held until Start
	leafTLS              *leafTLS // nil: the bridge's Leaf comes without

	leafUser, leafPassword string // of the bridge's own Leaf; nobody else has them
	slow                   prometheus.Counter
}

// Listen takes hold of the ports, so that one that is in use is known before
// anything else is begun: its error holds a PortError for each. Nobody is answered
// until Accept.
func Listen(cfg ServerConfig, log *slog.Logger) (*Server, error) {
	def(&cfg.MaxPayload, 1<<20)
	def(&cfg.MaxConnections, 1024)
	def(&cfg.MaxPendingBytes, 32<<20)
	def(&cfg.MaxPendingTotal, 64<<20)
	def(&cfg.MaxLeafNodes, 16)
	if cfg.Users == nil {
		cfg.Users = access.Nobody()
	}
	s := &Server{cfg: cfg, log: log, leafUser: rand.Text(), leafPassword: rand.Text(), slow: newSlow(cfg.Registerer)}
	if cfg.LeafNodes != "" && cfg.TLS != nil {
		var err error
		if s.leafTLS, err = newLeafTLS(cfg.TLS); err != nil {
			return nil, err
		}
	}
	if err := s.hold(); err != nil {
		return nil, err
	}
	s.auth = newAuthenticator(s)
	return s, nil
}

func def[T int | int32 | int64](field *T, value T) {
	if *field <= 0 {
		*field = value
	}
}

// Addr is where devices connect.
func (s *Server) Addr() net.Addr { return s.addr }

// WebSocketAddr and LeafNodesAddr are where WebSocket clients and other NATS servers
// connect; nil where they cannot.
func (s *Server) WebSocketAddr() net.Addr { return s.webSocket.address() }
func (s *Server) LeafNodesAddr() net.Addr { return s.leafNodes.address() }

const startTimeout = 10 * time.Second

// Start starts the server without opening it to devices: who came before the
// subscriptions stand would publish to nobody.
func (s *Server) Start() error {
	s.webSocket.release()
	s.leafNodes.release()
	s.opts = s.options()
	nats, err := server.NewServer(s.opts)
	if err != nil {
		return fmt.Errorf("embedded nats-server: %w", err)
	}
	s.says = &logger{log: s.log}
	nats.SetLoggerV2(s.says, false, false, false)
	nats.Start()
	if !nats.ReadyForConnections(startTimeout) {
		nats.Shutdown()
		return errors.Join(errors.New("embedded nats-server: did not start"), s.says.failure())
	}
	s.nats = nats
	return nil
}

func (s *Server) options() *server.Options {
	opts := &server.Options{
		ServerName:      "headwater",
		Host:            s.addr.IP.String(),
		Port:            s.addr.Port,
		DontListen:      true, // Accept does, later
		NoSigs:          true,
		NoSystemAccount: true,
		LeafNode:        s.leafOptions(),
		Websocket:       s.webSocketOptions(),
		TLSConfig:       s.cfg.TLS,
		TLSTimeout:      handshakeTimeout.Seconds(),

		CustomClientAuthentication: s.auth,
		AlwaysEnableNonce:          true, // for NKeys to sign
	}
	s.cfg.limit(opts)
	if s.cfg.Users.Empty() { // so that clients are not told that they have to log in
		opts.NoAuthUser = "anyone"
		opts.Users = []*server.User{{Username: opts.NoAuthUser, Password: rand.Text()}}
	}
	return opts
}

func (s *Server) webSocketOptions() server.WebsocketOpts {
	if !s.webSocket.on() {
		return server.WebsocketOpts{}
	}
	opts := server.WebsocketOpts{
		Host:             s.webSocket.host(),
		Port:             s.webSocket.number(),
		HandshakeTimeout: handshakeTimeout,
		NoTLS:            s.cfg.TLS == nil || s.cfg.WebSocketPlain,
	}
	if !opts.NoTLS {
		opts.TLSConfig = s.cfg.TLS
	}
	return opts
}

// leafOptions open a port for leaf nodes in any case: nothing in this process can speak
// their protocol to the server otherwise, as the bridge's Leaf has to. When nobody else
// is to come it is on the loopback address, and nobody else has a password for it.
func (s *Server) leafOptions() server.LeafNodeOpts {
	opts := server.LeafNodeOpts{
		Host:        "127.0.0.1",
		Port:        server.RANDOM_PORT,
		NoAdvertise: true,
		Compression: server.CompressionOpts{Mode: server.CompressionOff},
	}
	if s.leafNodes.on() {
		opts.Host, opts.Port = s.leafNodes.host(), s.leafNodes.number()
	}
	if s.leafTLS != nil {
		opts.TLSConfig, opts.TLSTimeout = s.leafTLS.server, handshakeTimeout.Seconds()
	}
	return opts
}

// Dial connects to the server in this process, from Start on.
func (s *Server) Dial() (net.Conn, error) { return s.nats.InProcessConn() }

// LeafConfig is how a Leaf connects to the server, from Start on. The caller adds its
// own fields.
func (s *Server) LeafConfig() LeafConfig {
	return LeafConfig{Dial: s.dialLeaf, User: s.leafUser, Password: s.leafPassword, MaxPayload: int(s.cfg.MaxPayload), Log: s.log}
}

func (s *Server) dialLeaf() (net.Conn, error) {
	if !s.nats.Running() {
		return nil, errNoServer
	}
	// An address that stands for all of the machine's is dialled as the machine itself.
	conn, err := net.DialTimeout("tcp", net.JoinHostPort(s.opts.LeafNode.Host, strconv.Itoa(s.opts.LeafNode.Port)), handshakeTimeout)
	if err != nil || s.leafTLS == nil {
		return conn, err
	}
	return s.leafTLS.dial(conn)
}

// Delivered is how many messages the server had for a client, while it remembers it.
func (s *Server) Delivered(client uint64) (Delivered, bool) {
	conns, err := s.nats.Connz(&server.ConnzOptions{CID: client, State: server.ConnAll, Subscriptions: true, SubscriptionsDetail: true})
	if err != nil || len(conns.Conns) == 0 {
		return Delivered{}, false
	}
	conn := conns.Conns[0]
	d := Delivered{Messages: conn.OutMsgs, BySubscription: map[int]int64{}, Ended: conn.Stop != nil}
	for _, sub := range conn.SubsDetail {
		if sid, err := strconv.Atoi(sub.Sid); err == nil { // all of ours are numbers
			d.BySubscription[sid] = sub.Msgs
		}
	}
	return d, true
}

// Interest tells whether anybody listens on a subject, from Start on.
func (s *Server) Interest(subject string) bool {
	return s.nats.GlobalAccount().SubscriptionInterest(subject)
}

// Accept opens the server to devices. Between letting go of the port and taking
// it again another process can be quicker; that is an error, like any other port
// in use.
func (s *Server) Accept() error {
	s.held.Close()
	s.nats.AcceptLoop(make(chan struct{}))
	if s.nats.Addr() == nil {
		return errors.Join(fmt.Errorf("embedded nats-server: cannot listen on %s", s.addr), s.says.failure())
	}
	close(s.auth.open)
	return nil
}

// LameDuck tells every client that the server is about to end, so that it may go
// elsewhere; those that cannot be told go on. Nobody's connection is closed:
// nats-server's own lame-duck shutdown would close the bridge's too, and with it the way
// for what is yet to be answered.
func (s *Server) LameDuck() {
	conns, err := s.nats.Connz(&server.ConnzOptions{Limit: math.MaxInt32})
	if err != nil {
		return // it has ended already
	}
	for _, conn := range conns.Conns {
		_ = s.nats.LDMClientByID(conn.Cid) // fails for one that is gone, or is too old to know
	}
}

// Shutdown closes every connection, once what was published to it is written,
// and waits for the server's end. The port is free then, also when the server
// never started.
func (s *Server) Shutdown() {
	s.releaseAll()
	if s.nats != nil {
		s.nats.Shutdown()
		s.nats.WaitForShutdown()
	}
}
