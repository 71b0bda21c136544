package certs

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"math"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/headwater/headwater/bridge/certs/certstest"
)

const day = 24 * time.Hour

// written is Files of a server certificate and an authority for clients.
func written(t *testing.T, pair certstest.Pair, clients *certstest.Authority) Files {
	t.Helper()
	dir := t.TempDir()
	f := Files{Cert: certstest.Write(t, dir, "cert.pem", pair.Cert), Key: certstest.Write(t, dir, "key.pem", pair.Key)}
	if clients != nil {
		f.ClientCA = certstest.Write(t, dir, "clients.pem", clients.PEM())
	}
	return f
}

func load(t *testing.T, f Files) *Store {
	t.Helper()
	s, err := Load("nats", f, slog.New(slog.DiscardHandler), nil)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// shake does a handshake over a pipe. It returns the name that the server shows, and
// what the server says to the client.
func shake(t *testing.T, server, client *tls.Config) (shown string, err error) {
	t.Helper()
	ours, theirs := net.Pipe()
	defer ours.Close()
	defer theirs.Close()
	ours.SetDeadline(time.Now().Add(10 * time.Second))
	theirs.SetDeadline(time.Now().Add(10 * time.Second))
	said := make(chan error, 1)
	go func() {
		conn := tls.Server(ours, server)
		said <- conn.Handshake()
		conn.Close()
	}()
	conn := tls.Client(theirs, client)
	err = conn.Handshake()
	if err == nil {
		shown = conn.ConnectionState().PeerCertificates[0].Subject.CommonName
		conn.Read(make([]byte, 1)) // so that the server can finish
	} else {
		theirs.Close()
	}
	return shown, errors.Join(err, <-said)
}

// old is a listener that puts its own GetConfigForClient in our place, as nats-server's
// WebSocket does.
func old(config *tls.Config) *tls.Config {
	config.GetConfigForClient = nil
	return config
}

// A client's certificate is asked for as the settings say, whoever reads the config.
func TestClientCertificates(t *testing.T) {
	servers, clients, strangers := certstest.NewAuthority(t, "servers"), certstest.NewAuthority(t, "clients"), certstest.NewAuthority(t, "strangers")
	pair := servers.Issue("server", day)
	good, bad := clients.Issue("press3", day).TLS(t), strangers.Issue("press3", day).TLS(t)
	expired := clients.Issue("press3", -time.Minute).TLS(t)
	for name, tc := range map[string]struct {
		clients *certstest.Authority
		verify  bool
		shows   *tls.Certificate
		want    string // in the error
	}{
		"notAsked":      {nil, false, &bad, ""},
		"optionalNone":  {clients, false, nil, ""},
		"optionalGood":  {clients, false, &good, ""},
		"optionalBad":   {clients, false, &bad, "unknown authority"},
		"requiredNone":  {clients, true, nil, "certificate"},
		"requiredGood":  {clients, true, &good, ""},
		"requiredBad":   {clients, true, &bad, "unknown authority"},
		"requiredStale": {clients, true, &expired, "expired"},
	} {
		files := written(t, pair, tc.clients)
		files.Verify = tc.verify
		client := &tls.Config{RootCAs: servers.Pool(), ServerName: "127.0.0.1"}
		if tc.shows != nil { // whatever authorities the server names
			client.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return tc.shows, nil }
		}
		for kind, config := range map[string]*tls.Config{"heeded": load(t, files).Config(), "replaced": old(load(t, files).Config())} {
			shown, err := shake(t, config, client)
			if tc.want == "" && (err != nil || shown != "server") || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
				t.Errorf("%s, %s: %q, %v; want an error with %q", name, kind, shown, err, tc.want)
			}
		}
	}
}

// said keeps a log.
type said struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (s *said) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(p)
}

// taken is what was logged since it was called last.
func (s *said) taken() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.text.Reset()
	return s.text.String()
}

// New files are used by the next handshake; what is not right changes nothing, and is
// told of once.
func TestFilesAreReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		servers, first, second := certstest.NewAuthority(t, "servers"), certstest.NewAuthority(t, "first"), certstest.NewAuthority(t, "second")
		files := written(t, servers.Issue("one", day), first)
		files.Verify = true
		dir := filepath.Dir(files.Cert)
		var log said
		s, err := Load("nats", files, slog.New(slog.NewTextHandler(&log, nil)), nil)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- s.Run(ctx) }()
		looked := func() string {
			log.taken()
			time.Sleep(3 * lookEvery) // of the bubble's clock
			synctest.Wait()
			return log.taken()
		}
		shows := func(clients *certstest.Authority) string {
			t.Helper()
			good := clients.Issue("press3", day).TLS(t)
			shown, err := shake(t, s.Config(), &tls.Config{
				RootCAs: servers.Pool(), ServerName: "127.0.0.1",
				GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &good, nil },
			})
			if err != nil {
				return err.Error()
			}
			return shown
		}
		if said := looked(); said != "" {
			t.Errorf("nothing changed, and it said %s", said)
		}
		pair := servers.Issue("two", day)
		certstest.Write(t, dir, "cert.pem", pair.Cert)
		if said := looked(); strings.Count(said, "level=ERROR") != 1 || !strings.Contains(said, "are not a certificate and its key") {
			t.Errorf("of a certificate without its key it said %q, want one sentence", said)
		}
		if got := shows(first); got != "one" {
			t.Errorf("it shows %s, want one", got)
		}
		certstest.Write(t, dir, "key.pem", pair.Key)
		if said := looked(); strings.Count(said, "TLS files read again") != 1 {
			t.Errorf("of a new pair it said %q", said)
		}
		if got := shows(first); got != "two" {
			t.Errorf("it shows %s, want two", got)
		}
		certstest.Write(t, dir, "clients.pem", second.PEM())
		looked()
		if got := shows(second); got != "two" {
			t.Errorf("a client of the new authority: %s", got)
		}
		if got := shows(first); !strings.Contains(got, "unknown authority") {
			t.Errorf("a client of the authority before: %s", got)
		}
		if err := os.Remove(files.ClientCA); err != nil {
			t.Fatal(err)
		}
		if said := looked(); strings.Count(said, "level=ERROR") != 1 || !strings.Contains(said, "clients.pem cannot be read: no such file") {
			t.Errorf("of a file that went it said %q", said)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func TestFilesThatAreNotRight(t *testing.T) {
	servers := certstest.NewAuthority(t, "servers")
	pair, other := servers.Issue("one", day), servers.Issue("two", day)
	dir := t.TempDir()
	cert, key := certstest.Write(t, dir, "cert.pem", pair.Cert), certstest.Write(t, dir, "key.pem", pair.Key)
	large := certstest.Write(t, dir, "large.pem", make([]byte, maxFileBytes+1))
	for name, tc := range map[string]struct {
		files       Files
		field, want string
	}{
		"noCert":     {Files{Cert: dir + "/none.pem", Key: key}, "cert", dir + "/none.pem cannot be read: no such file or directory"},
		"noKey":      {Files{Cert: cert, Key: dir}, "key", dir + " cannot be read: is a directory"},
		"otherKey":   {Files{Cert: cert, Key: certstest.Write(t, dir, "other.pem", other.Key)}, "cert", cert + " and " + dir + "/other.pem are not a certificate and its key: tls: private key does not match public key"},
		"largeKey":   {Files{Cert: cert, Key: large}, "key", large + " cannot be read: it is larger than 1048576 bytes"},
		"noClientCA": {Files{Cert: cert, Key: key, ClientCA: key}, "clientCa", key + " holds no certificate in PEM form"},
	} {
		_, err := Load("nats", tc.files, slog.New(slog.DiscardHandler), nil)
		var fileErr *FileError
		if !errors.As(err, &fileErr) || fileErr.Field != tc.field || err.Error() != tc.want {
			t.Errorf("%s: got  %v\nwant %s", name, err, tc.want)
		}
	}
}

// The days left are those of the whole chain.
func TestDaysLeft(t *testing.T) {
	servers := certstest.NewAuthority(t, "servers")
	pair, short := servers.Issue("one", 100*day), servers.Issue("short", 10*day)
	reg := prometheus.NewRegistry()
	files := written(t, certstest.Pair{Cert: append(bytes.Clone(pair.Cert), short.Cert...), Key: pair.Key}, nil)
	if _, err := Load("nats", files, slog.New(slog.DiscardHandler), reg); err != nil {
		t.Fatal(err)
	}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	if len(families) != 1 || families[0].GetName() != "headwater_tls_certificate_days_left" {
		t.Fatalf("metrics %v", families)
	}
	metric := families[0].Metric[0]
	if days := metric.GetGauge().GetValue(); math.Abs(days-10) > 0.1 || metric.Label[0].GetValue() != "nats" {
		t.Errorf("%v, want 10 days of nats", metric)
	}
}
