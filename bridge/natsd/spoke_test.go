package natsd

import (
	"crypto/tls"
	"errors"
	"io"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/headwater/headwater/bridge/access"
	"github.com/headwater/headwater/bridge/certs/certstest"
)

// spoke starts a NATS server of a site's own that joins s, and returns it once it has,
// or after a while in which it has not.
func spoke(t *testing.T, s *Server, login *url.Userinfo, secure *tls.Config, joined func(*server.Server) bool) *server.Server {
	t.Helper()
	remote := &url.URL{Scheme: "nats-leaf", Host: s.LeafNodesAddr().String(), User: login}
	own, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true,
		LeafNode: server.LeafNodeOpts{
			ReconnectInterval: 10 * time.Millisecond,
			Remotes:           []*server.RemoteLeafOpts{{URLs: []*url.URL{remote}, TLSConfig: secure, TLS: secure != nil}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	own.Start()
	t.Cleanup(func() { own.Shutdown(); own.WaitForShutdown() })
	if !own.ReadyForConnections(patience) {
		t.Fatal("the site's own server did not start")
	}
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(patience); !joined(own); {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("waited in vain for the site's own server")
		}
	}
	return own
}

func isJoined(own *server.Server) bool { return own.NumLeafNodes() == 1 }

// ask sends requests until the spoke knows that we listen: it learns that a moment
// after it has joined.
func (c client) ask(t *testing.T, subject string) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; {
		answer, err := c.Request(subject, nil, patience)
		if errors.Is(err, nats.ErrNoResponders) && time.Now().Before(deadline) {
			continue
		}
		if err != nil || string(answer.Data) != "stored "+subject {
			t.Errorf("%s: %v, %v", subject, answer, err)
		}
		return
	}
}

// A site's own NATS joins with a user's proof. Its clients publish, are answered, reach
// the API by its domain, and can do no more than the user. With TLS as without, our own
// leaf connection comes by the same port.
func TestSpoke(t *testing.T) {
	authority := certstest.NewAuthority(t, "plant7")
	list := users(t,
		access.User{Name: "site", Password: "s", Publish: []string{"telemetry.site.>", "$JS.hw.API.>", "$JS.ACK.>"}, Subscribe: []string{"cmd.>"}},
		access.User{Name: "certified", Certificate: "site", Publish: []string{"telemetry.site.>", "$JS.hw.API.>", "$JS.ACK.>"}, Subscribe: []string{"cmd.>"}},
	)
	verified := &tls.Config{
		Certificates: []tls.Certificate{authority.Issue("server", time.Hour).TLS(t)},
		ClientCAs:    authority.Pool(), ClientAuth: tls.RequireAndVerifyClientCert,
	}
	for name, tc := range map[string]struct {
		cfg    ServerConfig
		login  *url.Userinfo
		secure *tls.Config
	}{
		"password":    {ServerConfig{}, url.UserPassword("site", "s"), nil},
		"certificate": {ServerConfig{TLS: verified}, nil, &tls.Config{RootCAs: authority.Pool(), Certificates: []tls.Certificate{authority.Issue("site", time.Hour).TLS(t)}, ServerName: "127.0.0.1"}},
	} {
		t.Run(name, func(t *testing.T) {
			tc.cfg.LeafNodes, tc.cfg.Users = "127.0.0.1:0", list
			s := serve(t, tc.cfg)
			e := bridged(t, s, "telemetry.>", "other.>", "$JS.API.>", "$JS.hw.API.>", "$JS.ACK.>")
			l := NewLeaf(s.LeafConfig())
			runs(t, l.Run)
			<-l.Up()

			own := spoke(t, s, tc.login, tc.secure, isJoined)
			c := dial(t, own.ClientURL())
			c.ask(t, "telemetry.site.temp")
			c.ask(t, "$JS.hw.API.INFO")
			for _, subject := range []string{"telemetry.elsewhere.temp", "other.x", "$JS.API.INFO"} {
				if answer, err := c.Request(subject, nil, patience); !errors.Is(err, nats.ErrNoResponders) {
					t.Errorf("%s: %v, %v; want nobody to respond", subject, answer, err)
				}
			}

			// What comes down is what the user may hear, and a delivery to an inbox.
			inbox := c.NewRespInbox()
			commands, delivered, stolen := c.hear(t, "cmd.press3"), c.hear(t, inbox), c.hear(t, "$JS.hw.API.>")
			heard := func(sub *nats.Subscription, send func() error) *nats.Msg {
				for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
					if err := send(); err != nil {
						t.Fatal(err)
					}
					if m, err := sub.NextMsg(10 * time.Millisecond); err == nil {
						return m
					}
				}
				t.Errorf("%s hears nothing", sub.Subject)
				return nil
			}
			heard(commands, func() error { return e.conn.Publish([]byte("cmd.press3"), nil) })
			m := heard(delivered, func() error {
				return l.Deliver([]byte(inbox), []byte(ackReply), []byte("telemetry.site.temp"), nil, nil)
			})
			if m != nil && (m.Subject != "telemetry.site.temp" || m.Reply != ackReply) {
				t.Errorf("delivered: %s, %s", m.Subject, m.Reply)
			}
			direct := dial(t, "nats://"+s.Addr().String(), directly(tc.cfg, authority, t)...)
			direct.ask(t, "$JS.hw.API.INFO") // the spoke hears its own client's alone
			if n, _, err := stolen.Pending(); err != nil || n != 0 {
				t.Errorf("the spoke has heard %d requests for us (%v)", n, err)
			}
		})
	}
}

// directly is how the site's user logs in without its own server.
func directly(cfg ServerConfig, authority *certstest.Authority, t *testing.T) []nats.Option {
	if cfg.TLS == nil {
		return []nats.Option{nats.UserInfo("site", "s")}
	}
	return []nats.Option{nats.Secure(&tls.Config{RootCAs: authority.Pool(), Certificates: []tls.Certificate{authority.Issue("site", time.Hour).TLS(t)}})}
}

// Where leaf nodes are not awaited, none but the bridge's own gets in; nor does another
// while that one is away.
func TestLeafNodesAreOff(t *testing.T) {
	s := serve(t, ServerConfig{})
	conn, err := s.dialLeaf()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(conn, "CONNECT {\"name\":\"x\"}\r\nPING\r\n"); err != nil {
		t.Fatal(err)
	}
	said, err := io.ReadAll(conn)
	if err != nil || strings.Contains(string(said), "PONG") || counted(t, s, refusedLeafs) != 1 {
		t.Errorf("the server said %.300q (%v)", said, err)
	}
}

// Who cannot prove itself does not join, nor do more than are allowed.
func TestSpokeIsRefused(t *testing.T) {
	s := serve(t, ServerConfig{LeafNodes: "127.0.0.1:0", MaxLeafNodes: 1, Users: users(t, access.User{Name: "site", Password: "s", Publish: []string{">"}})})
	l := NewLeaf(s.LeafConfig())
	runs(t, l.Run)
	<-l.Up()
	for name, login := range map[string]*url.Userinfo{"nameless": nil, "wrong": url.UserPassword("site", "x")} {
		before := counted(t, s, refusedProof)
		own := spoke(t, s, login, nil, func(*server.Server) bool { return counted(t, s, refusedProof) > before })
		if own.NumLeafNodes() != 0 {
			t.Errorf("%s has joined", name)
		}
		own.Shutdown()
	}
	spoke(t, s, url.UserPassword("site", "s"), nil, isJoined)
	spoke(t, s, url.UserPassword("site", "s"), nil, func(*server.Server) bool { return counted(t, s, refusedLeafs) > 0 })
	if n := s.nats.NumLeafNodes(); n != 2 {
		t.Errorf("%d leaf nodes, want the bridge's own and one", n)
	}
}
