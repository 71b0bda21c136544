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
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"strconv"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// ServerConfig bounds the embedded server. A field that is 0 has its default.
type ServerConfig struct {
	Listen          string // host:port; port 0 takes any
	MaxPayload      int32  // of a message with its headers; 1 MiB
	MaxConnections  int    // of devices; 1,024
	MaxPendingBytes int64  // for a client that reads too slowly, before it is thrown out; 32 MiB
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

	leafUser, leafPassword string // of the bridge's own Leaf; nobody else has them
}

// Listen takes hold of the port, so that one that is in use is known before
// anything else is begun. It answers nobody until Accept.
func Listen(cfg ServerConfig, log *slog.Logger) (*Server, error) {
	def(&cfg.MaxPayload, 1<<20)
	def(&cfg.MaxConnections, 1024)
	def(&cfg.MaxPendingBytes, 32<<20)
	held, err := net.Listen("tcp", cfg.Listen)
	if err != nil {
		return nil, err
	}
	return &Server{
		cfg: cfg, log: log, held: held, addr: held.Addr().(*net.TCPAddr),
		leafUser: rand.Text(), leafPassword: rand.Text(),
	}, nil
}

func def[T int | int32 | int64](field *T, value T) {
	if *field <= 0 {
		*field = value
	}
}

// Addr is where devices connect.
func (s *Server) Addr() net.Addr { return s.addr }

const startTimeout = 10 * time.Second

// Start starts the server without opening it to devices: who came before the
// subscriptions stand would publish to nobody.
func (s *Server) Start() error {
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
	}
	s.cfg.limit(opts)
	return opts
}

// leafOptions open a port for the bridge's own Leaf: nothing in this process can speak
// the leaf protocol to the server otherwise. It is on the loopback address, and
// nobody else has its password.
func (s *Server) leafOptions() server.LeafNodeOpts {
	return server.LeafNodeOpts{
		Host:        "127.0.0.1",
		Port:        server.RANDOM_PORT,
		Users:       []*server.User{{Username: s.leafUser, Password: s.leafPassword}},
		NoAdvertise: true,
		Compression: server.CompressionOpts{Mode: server.CompressionOff},
	}
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
	return net.DialTimeout("tcp", net.JoinHostPort(s.opts.LeafNode.Host, strconv.Itoa(s.opts.LeafNode.Port)), handshakeTimeout)
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

// Accept opens the server to devices. Between letting go of the port and taking
// it again another process can be quicker; that is an error, like any other port
// in use.
func (s *Server) Accept() error {
	s.held.Close()
	s.nats.AcceptLoop(make(chan struct{}))
	if s.nats.Addr() == nil {
		return errors.Join(fmt.Errorf("embedded nats-server: cannot listen on %s", s.addr), s.says.failure())
	}
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
	s.held.Close()
	if s.nats != nil {
		s.nats.Shutdown()
		s.nats.WaitForShutdown()
	}
}
