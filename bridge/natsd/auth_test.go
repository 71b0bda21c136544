package natsd

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
	dto "github.com/prometheus/client_model/go"
	"golang.org/x/crypto/bcrypt"

	"github.com/headwater/headwater/bridge/access"
	"github.com/headwater/headwater/bridge/certs/certstest"
)

// serve returns a server that is open, on ports that nobody has chosen.
func serve(t *testing.T, cfg ServerConfig) *Server {
	t.Helper()
	s := started(t, cfg)
	if err := s.Accept(); err != nil {
		t.Fatal(err)
	}
	return s
}

// started returns a server that is not open yet.
func started(t *testing.T, cfg ServerConfig) *Server {
	t.Helper()
	cfg.Listen = "127.0.0.1:0"
	s, err := Listen(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Shutdown)
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	return s
}

func users(t *testing.T, users ...access.User) *access.List {
	t.Helper()
	for i := range users {
		if users[i].Password != "" {
			hash, err := bcrypt.GenerateFromPassword([]byte(users[i].Password), bcrypt.MinCost)
			if err != nil {
				t.Fatal(err)
			}
			users[i].Password = string(hash)
		}
	}
	l, err := access.Compile(users)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// client is a connection, and what the server complains about.
type client struct {
	*nats.Conn
	complaints chan error
}

func dial(t *testing.T, url string, options ...nats.Option) client {
	t.Helper()
	c := client{complaints: make(chan error, 10)}
	nc, err := nats.Connect(url, append(options, nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { c.complaints <- err }))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	c.Conn = nc
	return c
}

// refused expects a complaint about subject.
func (c client) refused(t *testing.T, subject string) {
	t.Helper()
	if err := c.Flush(); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-c.complaints:
		if !errors.Is(err, nats.ErrPermissionViolation) || !strings.Contains(err.Error(), `"`+subject+`"`) {
			t.Errorf("%s: complaint %v", subject, err)
		}
	case <-time.After(patience):
		t.Errorf("%s: no complaint", subject)
	}
}

// content expects that there was nothing to complain about.
func (c client) content(t *testing.T) {
	t.Helper()
	if err := c.Flush(); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-c.complaints:
		t.Errorf("complaint %v", err)
	default:
	}
}

func (c client) hear(t *testing.T, subject string) *nats.Subscription {
	t.Helper()
	sub, err := c.SubscribeSync(subject)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Flush(); err != nil {
		t.Fatal(err)
	}
	return sub
}

// echo is a Handler that answers what asks, as ingest does, once it has a Conn.
type echo struct {
	conn  *Conn
	heard chan string
}

func (e *echo) Take(m *Message) {
	select {
	case e.heard <- string(m.Subject):
	default:
	}
	if len(m.Reply) > 0 {
		e.conn.Publish(m.Reply, []byte("stored "+string(m.Subject)))
	}
}
func (e *echo) Idle() {}

// bridged answers requests on subjects by the bridge's own connection.
func bridged(t *testing.T, s *Server, subjects ...string) *echo {
	t.Helper()
	e := &echo{heard: make(chan string, 100)}
	e.conn = NewConn(ConnConfig{Dial: s.Dial, Subjects: subjects, MaxPayload: 64 << 10, Handler: e, Log: slog.New(slog.DiscardHandler)})
	runs(t, e.conn.Run)
	<-e.conn.Up()
	return e
}

func runs(t *testing.T, run func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}

// seed makes an NKey, and returns its public half beside a way to log in by it.
func seed(t *testing.T) (public string, login nats.Option) {
	t.Helper()
	pair, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	if public, err = pair.PublicKey(); err != nil {
		t.Fatal(err)
	}
	return public, nats.Nkey(public, pair.Sign)
}

// Each proof lets its user in, and no other does; what is refused is counted.
func TestLogin(t *testing.T) {
	authority, strangers := certstest.NewAuthority(t, "plant7"), certstest.NewAuthority(t, "plant8")
	public, byNKey := seed(t)
	_, byOtherNKey := seed(t)
	s := serve(t, ServerConfig{
		Users: users(t,
			access.User{Name: "worded", Password: "secret", Publish: []string{"worded"}},
			access.User{Name: "keyed", NKey: public, Publish: []string{"keyed"}},
			access.User{Name: "certified", Certificate: "press3", Publish: []string{"certified"}},
		),
		TLS: &tls.Config{
			Certificates: []tls.Certificate{authority.Issue("server", time.Hour).TLS(t)},
			ClientCAs:    authority.Pool(), ClientAuth: tls.VerifyClientCertIfGiven,
		},
	})
	url := "nats://" + s.Addr().String()
	secure := func(certificates ...tls.Certificate) nats.Option {
		return nats.Secure(&tls.Config{RootCAs: authority.Pool(), GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			if len(certificates) == 0 {
				return &tls.Certificate{}, nil
			}
			return &certificates[0], nil
		}})
	}
	press3, press4 := authority.Issue("press3", time.Hour).TLS(t), authority.Issue("press4", time.Hour).TLS(t)
	for name, options := range map[string][]nats.Option{
		"worded":    {secure(), nats.UserInfo("worded", "secret")},
		"keyed":     {secure(), byNKey},
		"certified": {secure(press3)},
	} {
		t.Run(name, func(t *testing.T) {
			c := dial(t, url, options...)
			if err := c.Publish(name, nil); err != nil {
				t.Fatal(err)
			}
			c.content(t)
			if err := c.Publish("other", nil); err != nil {
				t.Fatal(err)
			}
			c.refused(t, "other")
		})
	}
	for name, options := range map[string][]nats.Option{
		"wrongPassword":    {secure(), nats.UserInfo("worded", "Secret")},
		"unknown":          {secure(), nats.UserInfo("nobody", "secret")},
		"none":             {secure()},
		"token":            {secure(), nats.Token("secret")},
		"otherNKey":        {secure(), byOtherNKey},
		"nkeyWithoutKey":   {secure(), nats.Nkey(public, func([]byte) ([]byte, error) { return []byte("x"), nil })},
		"passwordOfKeyed":  {secure(), nats.UserInfo("keyed", "")},
		"unknownCert":      {secure(press4)},
		"strangersCert":    {secure(strangers.Issue("press3", time.Hour).TLS(t))},
		"wrongDespiteCert": {secure(press3), nats.UserInfo("worded", "Secret")},
		"bridgesOwn":       {secure(), nats.UserInfo(s.leafUser, s.leafPassword)}, // on a leaf connection alone
	} {
		t.Run(name, func(t *testing.T) {
			if nc, err := nats.Connect(url, options...); err == nil {
				nc.Close()
				t.Error("it was let in")
			} else if name != "strangersCert" && !errors.Is(err, nats.ErrAuthorization) {
				t.Errorf("got %v, want %v", err, nats.ErrAuthorization)
			}
		})
	}
	if got := counted(t, s, refusedProof); got != 10 {
		t.Errorf("%v refused logins are counted, want 10", got)
	}
}

// A user may do what its lists say and hear the answers to what it asks, and can never
// stand in for the bridge.
func TestPermissions(t *testing.T) {
	s := serve(t, ServerConfig{Users: users(t,
		access.User{Name: "device", Password: "d", Publish: []string{"telemetry.device.>", "!telemetry.device.secret"}},
		access.User{Name: "reader", Password: "r", Publish: []string{"$JS.API.>", "$JS.hw.API.>", "$JS.ACK.>"}, Subscribe: []string{">"}},
	)})
	e := bridged(t, s, "telemetry.>", "$JS.API.>", "$JS.hw.API.>", "$JS.ACK.>")
	url := "nats://" + s.Addr().String()
	device, reader := dial(t, url, nats.UserInfo("device", "d")), dial(t, url, nats.UserInfo("reader", "r"))
	all := reader.hear(t, ">")

	answer, err := device.Request("telemetry.device.temp", []byte("21"), patience)
	if err != nil || string(answer.Data) != "stored telemetry.device.temp" {
		t.Errorf("%v, %v", answer, err)
	}
	device.content(t)
	for _, subject := range []string{"telemetry.other.temp", "telemetry.device.secret", "$JS.API.INFO", "$JS.ACK.x", "_INBOX.other"} {
		if err := device.Publish(subject, nil); err != nil {
			t.Fatal(err)
		}
		device.refused(t, subject)
	}
	device.hear(t, "telemetry.device.temp")
	device.refused(t, "telemetry.device.temp")

	for _, subject := range []string{"$JS.API.INFO", "$JS.hw.API.INFO", "$JS.ACK.x"} {
		if answer, err := reader.Request(subject, nil, patience); err != nil || string(answer.Data) != "stored "+subject {
			t.Errorf("%s: %v, %v", subject, answer, err)
		}
	}
	reader.content(t)
	if err := reader.Publish("telemetry.reader.temp", nil); err != nil {
		t.Fatal(err)
	}
	reader.refused(t, "telemetry.reader.temp")
	cannotAnswer(t, reader)

	// Of all that came by, > is told what is not ours. The last is a message of the bridge's.
	if err := e.conn.Publish([]byte("last"), nil); err != nil {
		t.Fatal(err)
	}
	for {
		m, err := all.NextMsg(patience)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(m.Subject, "$JS.") {
			t.Errorf("> hears %s", m.Subject)
		}
		if m.Subject == "last" {
			break
		}
	}
}

// cannotAnswer expects that c can subscribe to nothing where requests for us come.
func cannotAnswer(t *testing.T, c client) {
	t.Helper()
	for _, subject := range []string{"$JS.>", "$JS.API.>", "$JS.API.INFO", "$JS.hw.API.>", "$JS.ACK.>", "$JS.*.API.INFO"} {
		c.hear(t, subject)
		c.refused(t, subject)
		if _, err := c.QueueSubscribeSync(subject, "q"); err != nil {
			t.Fatal(err)
		}
		c.refused(t, subject)
	}
}

// greeting is the line with which the server meets a client. What it says of logins a
// client goes by; the one that follows CONNECT says something else of them.
func greeting(t *testing.T, s *Server) string {
	t.Helper()
	conn, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return line
}

// Where nobody is listed everybody may do everything, but stand in for the bridge.
func TestNobodyIsListed(t *testing.T) {
	s := serve(t, ServerConfig{})
	bridged(t, s, "telemetry.>", "$JS.API.>")
	if info := greeting(t, s); !strings.HasPrefix(info, "INFO {") || strings.Contains(info, "auth_required") {
		t.Errorf("a client is told that it has to log in: %s", info)
	}
	url := "nats://" + s.Addr().String()
	for _, options := range [][]nats.Option{nil, {nats.UserInfo("any", "thing")}} {
		c := dial(t, url, options...)
		sub := c.hear(t, "a.>")
		if err := c.Publish("a.b", nil); err != nil {
			t.Fatal(err)
		}
		if _, err := sub.NextMsg(patience); err != nil {
			t.Error(err)
		}
		if answer, err := c.Request("$JS.API.INFO", nil, patience); err != nil || string(answer.Data) != "stored $JS.API.INFO" {
			t.Errorf("%v, %v", answer, err)
		}
		c.content(t)
		cannotAnswer(t, c)
	}
}

// Who listens to devices sees where they want to be answered. To lie to them there it
// has to be allowed to; where nobody is listed it is.
func TestForgedAnswer(t *testing.T) {
	forge := func(s *Server, device, liar []nats.Option) (forged bool) {
		url := "nats://" + s.Addr().String()
		d, l := dial(t, url, device...), dial(t, url, liar...)
		sub := l.hear(t, "telemetry.>")
		inbox := d.NewRespInbox()
		answers := d.hear(t, inbox)
		if err := d.PublishRequest("telemetry.x", inbox, nil); err != nil {
			t.Fatal(err)
		}
		request, err := sub.NextMsg(patience)
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Publish(request.Reply, []byte(`{"stream":"telemetry-0","seq":1}`)); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(l.Flush(), d.Flush()); err != nil { // then it has come, if it does
			t.Fatal(err)
		}
		messages, _, err := answers.Pending()
		if err != nil {
			t.Fatal(err)
		}
		return messages > 0
	}
	if !forge(serve(t, ServerConfig{}), nil, nil) {
		t.Error("where nobody is listed an answer cannot be forged: then say so in the documentation")
	}
	s := serve(t, ServerConfig{Users: users(t,
		access.User{Name: "device", Password: "d", Publish: []string{"telemetry.>"}},
		access.User{Name: "liar", Password: "l", Publish: []string{"telemetry.>"}, Subscribe: []string{"telemetry.>"}},
	)})
	if forge(s, []nats.Option{nats.UserInfo("device", "d")}, []nats.Option{nats.UserInfo("liar", "l")}) {
		t.Error("one who may not publish to _INBOX.> has answered in the bridge's place")
	}
}

// A new certificate is for new connections; those that stand stay.
func TestCertificateIsReplaced(t *testing.T) {
	authority := certstest.NewAuthority(t, "plant7")
	shown := make(chan tls.Certificate, 2)
	shown <- authority.Issue("one", time.Hour).TLS(t)
	shown <- authority.Issue("two", time.Hour).TLS(t)
	s := serve(t, ServerConfig{TLS: &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		cert := <-shown
		return &cert, nil
	}}})
	secure := nats.Secure(&tls.Config{RootCAs: authority.Pool()})
	name := func(c client) string {
		state, err := c.TLSConnectionState()
		if err != nil {
			t.Fatal(err)
		}
		return state.PeerCertificates[0].Subject.CommonName
	}
	url := "nats://" + s.Addr().String()
	before := dial(t, url, secure)
	after := dial(t, url, secure)
	if name(before) != "one" || name(after) != "two" {
		t.Errorf("shown are %s and %s, want one and two", name(before), name(after))
	}
	sub := after.hear(t, "a")
	if err := before.Publish("a", nil); err != nil {
		t.Fatal(err)
	}
	if _, err := sub.NextMsg(patience); err != nil {
		t.Errorf("from the connection before: %v", err)
	}
}

// Every port that cannot be had is named, and those that could are given back.
func TestPortsInUse(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	free.Close()
	_, err = Listen(ServerConfig{Listen: free.Addr().String(), WebSocket: taken.Addr().String(), LeafNodes: taken.Addr().String()}, slog.New(slog.DiscardHandler))
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		t.Fatalf("got %v", err)
	}
	var listeners []string
	for _, err := range joined.Unwrap() {
		if portErr := (*PortError)(nil); errors.As(err, &portErr) && strings.Contains(err.Error(), "address already in use") {
			listeners = append(listeners, portErr.Listener)
		}
	}
	if strings.Join(listeners, " ") != WebSocket+" "+LeafNodes {
		t.Errorf("%v cannot have their ports", listeners)
	}
	again, err := net.Listen("tcp", free.Addr().String())
	if err != nil {
		t.Fatalf("the port that could be had was kept: %v", err)
	}
	again.Close()
}

// counted is how many logins were refused for reason.
func counted(t *testing.T, s *Server, reason string) float64 {
	t.Helper()
	var m dto.Metric
	if err := s.auth.refused.WithLabelValues(reason).Write(&m); err != nil {
		t.Fatal(err)
	}
	return m.GetCounter().GetValue()
}
