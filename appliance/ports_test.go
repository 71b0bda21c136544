package appliance

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"testing"

	"github.com/headwater/headwater/appliance/config"
	"github.com/headwater/headwater/bridge"
)

func listen(t *testing.T, address string) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	return ln
}

// free is the settings with ports that nobody has chosen.
func free() config.Config {
	cfg := config.Default()
	cfg.Kafka.Listen, cfg.Admin.Listen, cfg.NATS.Listen = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
	return cfg
}

// bindAll binds as New does.
func bindAll(cfg config.Config) (*ports, error) {
	return bind(cfg, func() (*bridge.Bridge, error) {
		return bridge.Listen(bridgeConfig(cfg, budgetsUnder(0, cfg.Topics.MaxMessageBytes)), slog.New(slog.DiscardHandler), nil)
	})
}

// Every port that cannot be had is named, and those that could are given back.
func TestBindAllOrNothing(t *testing.T) {
	kafka, nats := listen(t, "127.0.0.1:0"), listen(t, "127.0.0.1:0")
	other := listen(t, "127.0.0.1:0")
	cfg := config.Default()
	cfg.Kafka.Listen, cfg.NATS.Listen, cfg.Admin.Listen = kafka.Addr().String(), nats.Addr().String(), other.Addr().String()
	other.Close()
	_, err := bindAll(cfg)
	want := fmt.Sprintf("kafka.listen: %s is in use by another process; allowed is a free port\n"+
		"nats.listen: %s is in use by another process; allowed is a free port", kafka.Addr(), nats.Addr())
	if !errors.As(err, new(config.Problems)) || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	listen(t, cfg.Admin.Listen)
}

// The bridge's ports are named one by one, and so is a file of it that is not right.
func TestBindOfTheBridge(t *testing.T) {
	taken := listen(t, "127.0.0.1:0")
	cfg := free()
	cfg.NATS.WebSocket.Listen, cfg.NATS.LeafNodes.Listen = taken.Addr().String(), taken.Addr().String()
	_, err := bindAll(cfg)
	want := fmt.Sprintf("nats.websocket.listen: %s is in use by another process; allowed is a free port\n"+
		"nats.leafnodes.listen: %s is in use by another process; allowed is a free port", taken.Addr(), taken.Addr())
	if !errors.As(err, new(config.Problems)) || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	cfg = free()
	cfg.NATS.TLS.Cert, cfg.NATS.TLS.Key = "/none/cert.pem", "/none/key.pem"
	_, err = bindAll(cfg)
	if want := "nats.tls.cert: /none/cert.pem cannot be read: no such file or directory"; !errors.As(err, new(config.Problems)) || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

func TestBindForeignAddress(t *testing.T) {
	cfg := free()
	cfg.Admin.Listen = "203.0.113.1:1" // kept for documentation; no machine has it
	_, err := bindAll(cfg)
	if want := "admin.listen: 203.0.113.1:1 is not an address of this machine; allowed is one of its own"; err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

func TestAdvertised(t *testing.T) {
	named := func() (string, error) { return "gateway", nil }
	nameless := func() (string, error) { return "", errors.New("no name") }
	loopback, every := listen(t, "127.0.0.1:0"), listen(t, ":0")
	for name, tc := range map[string]struct {
		setting  string
		ln       net.Listener
		hostname func() (string, error)
		want     string
	}{
		"said":     {"edge.example:19092", every, nameless, "edge.example:19092"},
		"one":      {"", loopback, nameless, loopback.Addr().String()},
		"every":    {"", every, named, fmt.Sprintf("gateway:%d", portOf(every))},
		"nameless": {"", every, nameless, ""},
	} {
		got, err := advertised(config.Kafka{Advertise: tc.setting}, tc.ln, tc.hostname)
		if got != tc.want || (err != nil) != (tc.want == "") {
			t.Errorf("%s: %q, %v; want %q", name, got, err, tc.want)
		}
	}
}
