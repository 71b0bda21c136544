package bridge

import (
	"crypto/tls"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"golang.org/x/crypto/bcrypt"

	"github.com/headwater/headwater/bridge/access"
	"github.com/headwater/headwater/bridge/certs/certstest"
)

// With users, TLS, WebSocket and leaf nodes at once: who is listed is answered once its
// message is stored, and a new certificate is used while the old connection stays.
func TestSecured(t *testing.T) {
	authority := certstest.NewAuthority(t, "plant7")
	dir := t.TempDir()
	put := func(pair certstest.Pair) (cert, key string) {
		return certstest.Write(t, dir, "cert.pem", pair.Cert), certstest.Write(t, dir, "key.pem", pair.Key)
	}
	hash, err := bcrypt.GenerateFromPassword([]byte("secret"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	cfg := testConfig()
	cfg.TLS.Cert, cfg.TLS.Key = put(authority.Issue("one", time.Hour))
	cfg.TLS.ClientCA = certstest.Write(t, dir, "ca.pem", authority.PEM())
	cfg.TLS.Verify = true
	cfg.WebSocket, cfg.LeafNodes = "127.0.0.1:0", "127.0.0.1:0"
	cfg.Users = []access.User{
		{Name: "press3", Password: string(hash), Publish: []string{"telemetry.press3.>"}},
		{Name: "certified", Certificate: "press4", Publish: []string{"telemetry.press4.>"}},
	}
	s := serve(t, cfg)
	eventually(t, "devices can connect", func() bool { return s.Ready() == nil })
	press4 := authority.Issue("press4", time.Hour).TLS(t)
	secure := nats.Secure(&tls.Config{RootCAs: authority.Pool(), Certificates: []tls.Certificate{press4}})
	connect := func(url string, options ...nats.Option) *nats.Conn {
		t.Helper()
		nc, err := nats.Connect(url, append(options, secure)...)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(nc.Close)
		return nc
	}
	stored := func(nc *nats.Conn, subject string) {
		t.Helper()
		if m, err := nc.Request(subject, []byte("21"), 10*time.Second); err != nil {
			t.Errorf("%s: %v", subject, err)
		} else if m.Header.Get("Status") != "" {
			t.Errorf("%s: %v", subject, m.Header)
		}
	}
	url := "nats://" + s.Addr()
	before := connect(url, nats.UserInfo("press3", "secret"))
	stored(before, "telemetry.press3.temp")
	stored(connect(url), "telemetry.press4.temp")
	stored(connect("wss://"+s.WebSocketAddr().String()), "telemetry.press4.temp")

	shown := func() string {
		nc, err := nats.Connect(url, secure)
		if err != nil {
			return err.Error() // the two files are not replaced at once
		}
		defer nc.Close()
		state, err := nc.TLSConnectionState()
		if err != nil {
			t.Fatal(err)
		}
		return state.PeerCertificates[0].Subject.CommonName
	}
	if got := shown(); got != "one" {
		t.Errorf("%s is shown, want one", got)
	}
	put(authority.Issue("two", time.Hour))
	eventually(t, "the new certificate is shown", func() bool { return shown() == "two" })
	stored(before, "telemetry.press3.temp")
	if err := s.stop(); err != nil {
		t.Error(err)
	}
}

// What is wrong with files and ports is known by the names of settings.
func TestSettingErrors(t *testing.T) {
	cfg := testConfig()
	cfg.TLS.Cert, cfg.TLS.Key = "/none/cert.pem", "/none/key.pem"
	_, err := Listen(cfg, slog.New(slog.DiscardHandler), nil)
	if got := SettingErrors(err); len(got) != 1 || got[0].Setting != "tls.cert" || got[0].Error() != "nats.tls.cert: /none/cert.pem cannot be read: no such file or directory" {
		t.Errorf("got %v of %v", got, err)
	}
	if got := SettingErrors(errors.New("other")); got != nil {
		t.Errorf("of another error: %v", got)
	}
}
