package natsd

import (
	"crypto/tls"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/headwater/headwater/bridge/access"
	"github.com/headwater/headwater/bridge/certs/certstest"
)

// A WebSocket client logs in as any other, with TLS or without, and may do the same.
func TestWebSocket(t *testing.T) {
	authority := certstest.NewAuthority(t, "plant7")
	list := users(t,
		access.User{Name: "page", Password: "p", Publish: []string{"telemetry.>"}},
		access.User{Name: "certified", Certificate: "press3", Publish: []string{"telemetry.>"}},
	)
	press3 := authority.Issue("press3", time.Hour).TLS(t)
	secure := nats.Secure(&tls.Config{RootCAs: authority.Pool()})
	certified := nats.Secure(&tls.Config{RootCAs: authority.Pool(), Certificates: []tls.Certificate{press3}})
	listener := &tls.Config{
		Certificates: []tls.Certificate{authority.Issue("server", time.Hour).TLS(t)},
		ClientCAs:    authority.Pool(), ClientAuth: tls.VerifyClientCertIfGiven,
	}
	for name, tc := range map[string]struct {
		cfg    ServerConfig
		scheme string
		login  []nats.Option
	}{
		"plain":           {ServerConfig{}, "ws://", []nats.Option{nats.UserInfo("page", "p")}},
		"secure":          {ServerConfig{TLS: listener}, "wss://", []nats.Option{nats.UserInfo("page", "p"), secure}},
		"certified":       {ServerConfig{TLS: listener}, "wss://", []nats.Option{certified}},
		"plainDespiteTLS": {ServerConfig{TLS: listener, WebSocketPlain: true}, "ws://", []nats.Option{nats.UserInfo("page", "p")}},
	} {
		t.Run(name, func(t *testing.T) {
			tc.cfg.WebSocket, tc.cfg.Users = "127.0.0.1:0", list
			s := serve(t, tc.cfg)
			bridged(t, s, "telemetry.>", "$JS.API.>")
			url := tc.scheme + s.WebSocketAddr().String()
			c := dial(t, url, tc.login...)
			if answer, err := c.Request("telemetry.x", nil, patience); err != nil || string(answer.Data) != "stored telemetry.x" {
				t.Errorf("%v, %v", answer, err)
			}
			c.content(t)
			cannotAnswer(t, c)
			before := counted(t, s, refusedProof)
			if nc, err := nats.Connect(url, append(tc.login, nats.UserInfo("page", "wrong"))...); err == nil || counted(t, s, refusedProof) == before {
				nc.Close()
				t.Errorf("with a wrong password: %v, and %v refused logins", err, counted(t, s, refusedProof))
			}
		})
	}
}

// Nobody gets in between Start and Accept: who comes then waits.
func TestWebSocketWaitsForAccept(t *testing.T) {
	s := started(t, ServerConfig{WebSocket: "127.0.0.1:0"})
	url := "ws://" + s.WebSocketAddr().String()
	if nc, err := nats.Connect(url, nats.Timeout(100*time.Millisecond)); err == nil {
		nc.Close()
		t.Error("a client got in before Accept")
	}
	in := make(chan error, 1)
	go func() {
		nc, err := nats.Connect(url, nats.Timeout(patience))
		if err == nil {
			nc.Close()
		}
		in <- err
	}()
	if err := s.Accept(); err != nil {
		t.Fatal(err)
	}
	if err := <-in; err != nil {
		t.Errorf("after Accept: %v", err)
	}
}
