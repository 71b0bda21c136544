package zk

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/headwater/headwater/broker/cluster"
	"github.com/headwater/headwater/broker/zk/zktest"
)

// The tests of sessions share a server, which nobody stops: each has a way to it of
// its own.
func TestSessions(t *testing.T) {
	server := zktest.Start(t)
	for name, test := range map[string]func(t *testing.T, server string){
		"silence":      testSilence,
		"noneCrosses":  testNoneCrosses,
		"lostAnswers":  testLostAnswers,
		"watchOverCut": testWatchOverCut,
		"lateName":     testLateName,
		"silentServer": testSilentServer,
		"chroot":       testChroot,
		"tls":          testTLS,
		"giveUp":       testGiveUp,
		"nextSession":  testNextSession,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, server.Address())
		})
	}
}

// When nothing is heard, the session is over by our clock before ZooKeeper lets go of
// what it holds, and while the library waits for a server to say so.
func testSilence(t *testing.T, server string) {
	p := startProxy(t, server)
	watcher, _ := begin(t, config(server+"/silence"))
	cfg := config(p.address() + "/silence")
	cfg.SessionTimeout = 4 * time.Second
	s, _ := begin(t, cfg)
	must[int64](t)(s.Register(t.Context(), broker(7, 9092)))
	w, changed := NewWatch()
	if got := must[[]cluster.Registration](t)(watcher.Brokers(t.Context(), w)); len(got) != 1 {
		t.Fatalf("brokers %+v", got)
	}

	p.set(hole)
	receive(t, changed, "ZooKeeper to expire the session")
	s.mu.Lock()
	left := s.left()
	s.mu.Unlock()
	if left > 0 {
		t.Errorf("expired, and by our clock the session has %v left", left)
	}
	receive(t, s.Done(), "the session to be over")
	wantError(t, s.Err(), errSilent)
	wantError(t, s.set0(t), ErrOver)
}

// set0 tries to write.
func (s *Session) set0(t *testing.T) error {
	_, err := s.set(t.Context(), "/x", nil, anyVersion)
	return err
}

// A write that waits for a connection when its session ends is not done under the
// next one: with several addresses the library would.
func testNoneCrosses(t *testing.T, server string) {
	p := startProxy(t, server)
	cfg := config(strings.Join(slices.Repeat([]string{p.address()}, 5), ",") + "/crosses")
	cfg.SessionTimeout = 4 * time.Second
	sessions := make(chan *Session)
	start(t, cfg, func(ctx context.Context, s *Session) error {
		sessions <- s
		<-ctx.Done()
		return nil
	})
	first := receive(t, sessions, "a session")
	p.set(hole)
	results := make(chan error)
	write := func(i int) { results <- first.create(t.Context(), "/crossed-"+strconv.Itoa(i), nil) }
	go write(1) // on its way when the connection is given up
	receive(t, lostConnection(first), "the connection to be given up")
	go write(2)
	go write(3)
	receive(t, first.Done(), "the session to be over")
	for range 3 {
		if err := receive(t, results, "a write to fail"); err == nil {
			t.Error("a write was done under a session that is over")
		} else {
			wantError(t, err, ErrOver)
		}
	}
	p.set(refuse) // what is on its way in the network is lost
	p.set(pass)
	second := receive(t, sessions, "another session")
	if second.ID() == first.ID() {
		t.Errorf("session %x again", first.ID())
	}
	names := must[[]string](t)(second.children(t.Context(), "/", nil))
	if len(names) > 0 {
		t.Errorf("the next session has written %q", names)
	}
}

// A write whose answer is lost is found to be done, and is not done twice.
func testLostAnswers(t *testing.T, server string) {
	p := startProxy(t, server)
	s, _ := begin(t, config(p.address()+","+p.address()+"/answers")) // two: the library pauses after each round
	assigned := cluster.TopicAssignment{ID: someID, Partitions: map[int32]cluster.Assignment{0: {Replicas: []int32{1}}}}
	tp := cluster.TopicPartition{Topic: "t"}
	state := map[cluster.TopicPartition]cluster.PartitionState{tp: {Leader: 1, ISR: []int32{1}}}
	var term *Term
	for _, step := range []struct {
		name    string
		do      func() error
		path    string // and its version after that
		version int32
	}{
		{"elect", func() (err error) {
			var won bool
			if term, won, err = s.Elect(t.Context(), 1); !won {
				return errors.New("lost to itself")
			}
			return err
		}, controllerEpochPath, 1},
		{"register", func() error { _, err := s.Register(t.Context(), broker(7, 1)); return err }, brokerPath(7), 1},
		{"createTopic", func() error { return s.CreateTopic(t.Context(), "t", assigned, nil, -1) }, topicPath("t"), 0},
		{"alterTopic", func() error { _, err := s.AlterTopic(t.Context(), "t", assigned); return err }, topicPath("t"), 1},
		{"createStates", func() error {
			failed, err := term.CreateStates(t.Context(), state)
			return errors.Join(failed[tp], err)
		}, statePath(tp), 0},
		{"setStates", func() error {
			versions, failed, err := term.SetStates(t.Context(), state)
			if versions[tp] != 1 {
				t.Errorf("version %d", versions[tp])
			}
			return errors.Join(failed[tp], err)
		}, statePath(tp), 1},
		{"setConfig", func() error { return s.SetConfig(t.Context(), TopicEntity("t"), map[string]string{"a": "1"}, 0) }, "/config/topics/t", 1},
	} {
		before := p.cutsSoFar()
		p.set(cutAnswers)
		err := step.do()
		if err != nil {
			t.Errorf("%s: %v", step.name, err)
		}
		if p.cutsSoFar() == before {
			t.Errorf("%s: no answer was lost", step.name)
		}
		if n := must[node](t)(s.get(t.Context(), step.path, nil)); n.version != step.version {
			t.Errorf("%s: version %d of %s, want %d", step.name, n.version, step.path, step.version)
		}
	}
	p.set(cutAnswers)
	if first, _, err := term.NextProducerIDs(t.Context(), 1); err != nil || first != 1000 {
		t.Errorf("block from %d, %v; want 1000: the first is given up", first, err)
	}
}

// What changes while there is no connection is told when it is back.
func testWatchOverCut(t *testing.T, server string) {
	p := startProxy(t, server)
	other, _ := begin(t, config(server+"/cut"))
	s, _ := begin(t, config(p.address()+","+p.address()+"/cut"))
	id := s.ID()
	w, changed := NewWatch()
	if err := other.create(t.Context(), "/watched", []byte("0")); err != nil {
		t.Fatal(err)
	}
	must[node](t)(s.get(t.Context(), "/watched", w))
	for i := range 3 {
		p.set(refuse)
		want := strconv.Itoa(i + 1)
		if _, err := other.set(t.Context(), "/watched", []byte(want), anyVersion); err != nil {
			t.Fatal(err)
		}
		p.set(pass)
		for got := ""; got != want; got = string(must[node](t)(s.get(t.Context(), "/watched", w)).data) {
			receive(t, changed, "the news of "+want)
		}
	}
	if s.ID() != id || s.Err() != nil {
		t.Errorf("session %x, %v; want %x", s.ID(), s.Err(), id)
	}
}

// A box starts where no name resolves yet.
func testLateName(t *testing.T, server string) {
	var resolves atomic.Bool
	asked := make(chan struct{}, 1)
	cfg := config("zookeeper.invalid:2181/late")
	cfg.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		if address != "zookeeper.invalid:2181" {
			t.Errorf("dialled %s", address)
		}
		if !resolves.Load() {
			select {
			case asked <- struct{}{}:
			default:
			}
			return nil, &net.DNSError{Err: "no such host", Name: address, IsNotFound: true}
		}
		var d net.Dialer
		return d.DialContext(ctx, network, server)
	}
	sessions := make(chan *Session, 1)
	start(t, cfg, func(ctx context.Context, s *Session) error {
		sessions <- s
		<-ctx.Done()
		return nil
	})
	receive(t, asked, "the name to be looked up")
	resolves.Store(true)
	receive(t, sessions, "a session")
}

// A server that takes the connection and says nothing holds nobody up.
func testSilentServer(t *testing.T, server string) {
	p := startProxy(t, server)
	p.set(hole)
	var dialled atomic.Int32
	cfg := config(server + "/silent")
	cfg.ConnectTimeout = 200 * time.Millisecond
	cfg.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		if dialled.Add(1) == 1 {
			address = p.address()
		}
		var d net.Dialer
		return d.DialContext(ctx, network, address)
	}
	s, _ := begin(t, cfg)
	if n := dialled.Load(); n < 2 {
		t.Errorf("session %x after %d connections", s.ID(), n)
	}
}

// A chroot of several levels is made, and what is below is as without.
func testChroot(t *testing.T, server string) {
	s, _ := begin(t, config(server+"/a/b/c"))
	if err := s.RequestDeletion(t.Context(), "t"); err != nil {
		t.Fatal(err)
	}
	root, _ := begin(t, config(server+"/a"))
	wantNode(t, root, "/b/c/admin/delete_topics/t", "")
}

// An error that gives up ends the client, and is returned.
func testGiveUp(t *testing.T, server string) {
	c, err := NewClient(config(server), slog.New(slog.DiscardHandler), nil)
	if err != nil {
		t.Fatal(err)
	}
	err = c.Run(t.Context(), func(_ context.Context, s *Session) error {
		if c.Session() != s {
			t.Error("the client has another session than its user")
		}
		return fmt.Errorf("%w: %w", ErrGiveUp, ErrDuplicateID)
	})
	wantError(t, err, ErrDuplicateID)
	if s := c.Session(); s != nil {
		t.Errorf("session %x at the end", s.ID())
	}
}

// When its user is done with a session, another one follows; what the first held is
// gone by then.
func testNextSession(t *testing.T, server string) {
	sessions := make(chan *Session)
	start(t, config(server+"/next"), func(ctx context.Context, s *Session) error {
		if err := s.EnsurePaths(ctx); err != nil {
			return err
		}
		if _, err := s.Register(ctx, broker(7, 1)); err != nil {
			return err
		}
		select {
		case sessions <- s:
		case <-ctx.Done():
		}
		return errors.New("enough")
	})
	first, second := receive(t, sessions, "a session"), receive(t, sessions, "another")
	if first.ID() == second.ID() {
		t.Errorf("session %x twice", first.ID())
	}
	wantError(t, first.Err(), ErrOver)
}

// A server has to prove the name that it was called by.
func testTLS(t *testing.T, server string) {
	p := startProxy(t, server)
	certificate, roots := certificateFor(t, "zookeeper.example")
	front, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{certificate}})
	if err != nil {
		t.Fatal(err)
	}
	defer front.Close()
	go func() {
		for {
			conn, err := front.Accept()
			if err != nil {
				return
			}
			go p.serve(conn)
		}
	}()
	dial := func(name string) Config {
		cfg := config(name + "/tls")
		cfg.TLS = &tls.Config{RootCAs: roots}
		cfg.Dial = func(ctx context.Context, network, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, network, front.Addr().String())
		}
		return cfg
	}
	begin(t, dial("zookeeper.example"))

	wrong := dial("other.example")
	c, err := NewClient(wrong, slog.New(slog.DiscardHandler), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.newSession().dial("tcp", "other.example:2181"); err == nil {
		t.Error("a server was believed that has another name")
	} else if !errors.As(err, new(*tls.CertificateVerificationError)) {
		t.Errorf("refused for %v", err)
	}
}

func certificateFor(t *testing.T, name string) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{name}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(parsed)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, roots
}
