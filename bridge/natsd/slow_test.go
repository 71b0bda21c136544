package natsd

import (
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// Clients that do not read are let go once they hold too much together, though none
// holds too much alone; one that reads stays.
func TestSlowClientsTogether(t *testing.T) {
	s := serve(t, ServerConfig{MaxPayload: 256 << 10, MaxPendingBytes: 4 << 20, MaxPendingTotal: 8 << 20, Registerer: prometheus.NewRegistry()})
	ctx, cancel := context.WithCancel(t.Context())
	guarded := make(chan error, 1)
	go func() { guarded <- s.GuardMemory(ctx) }()
	defer func() {
		cancel()
		if err := <-guarded; err != nil {
			t.Error(err)
		}
	}()
	url := "nats://" + s.Addr().String()
	good := dial(t, url)
	heard := good.hear(t, "flood.>")
	const slow = 6
	for range slow {
		conn, err := net.Dial("tcp", s.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := io.WriteString(conn, "CONNECT {\"verbose\":false}\r\nSUB flood.> 1\r\nPING\r\n"); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 4096)
		for said := ""; !strings.Contains(said, "PONG"); {
			n, err := conn.Read(buf)
			if err != nil {
				t.Fatal(err)
			}
			said += string(buf[:n])
		}
	}
	payload := make([]byte, 200<<10)
	deadline := time.Now().Add(20 * time.Second)
	for i := 0; testutil.ToFloat64(s.slow) == 0; i++ {
		if time.Now().After(deadline) {
			t.Fatal("nobody is let go")
		}
		if err := good.Publish(fmt.Sprint("flood.", i), payload); err != nil {
			t.Fatal(err)
		}
		if _, err := heard.NextMsg(10 * time.Second); err != nil {
			t.Fatalf("the one that reads: %v", err)
		}
	}
	if n := testutil.ToFloat64(s.slow); n > slow {
		t.Errorf("%v were let go, of %d that do not read", n, slow)
	}
	if err := good.Flush(); err != nil {
		t.Errorf("the one that reads: %v", err)
	}
}
