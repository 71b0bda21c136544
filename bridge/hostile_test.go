package bridge

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

// One hostile device opens thousands of connections, of which most say nothing, some
// break off in the middle of a message, some ask for answers that they do not read, and
// some subscribe to everything and read nothing; two flood all the time. A device that
// is already there goes on getting its answers: at once, or, where it is turned away for
// want of room, when it asks again, as JetStream's clients do.
func TestHostileConnectionsHoldUpNobody(t *testing.T) {
	connections := 1000 // the whole program meets 5,000, in the end-to-end tests
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
		t.Fatal(err)
	}
	if files.Cur < uint64(2*connections+100) {
		files.Cur = min(files.Max, uint64(2*connections+100))
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
			t.Fatalf("%d files may be open, and no more can be had: %v", files.Cur, err)
		}
	}
	cfg := testConfig()
	cfg.MaxPendingBytes = PendingPayloads * int64(cfg.MaxPayload)
	s := serveOn(t, cfg, &nullLog{grown: make(chan struct{}, 1)})
	nc := s.connect(t)
	turnedAway := 0
	ask := func(n int) (slowest time.Duration) {
		t.Helper()
		for range n {
			start := time.Now()
			for {
				_, err := nc.Request("telemetry.good.temp", []byte("20.5"), patience/20)
				if err == nil {
					break
				}
				// Where one of the hostile ones heard it too, nobody says that we did not.
				if !errors.Is(err, nats.ErrNoResponders) && !errors.Is(err, nats.ErrTimeout) || time.Since(start) > 6*patience { // where other tests take the machine, all of this is slow
					t.Fatalf("after %v: %v", time.Since(start), err)
				}
				turnedAway++
			}
			slowest = max(slowest, time.Since(start))
		}
		return slowest
	}
	ask(1)

	var open []net.Conn
	var flood sync.WaitGroup
	defer flood.Wait()
	defer func() {
		for _, conn := range open {
			conn.Close()
		}
	}()
	// Two of them go on all the time: one asks, one publishes what the others hear.
	for _, message := range []string{
		"PUB telemetry.bad.temp answers.x 1\r\nv\r\n",
		fmt.Sprintf("PUB telemetry.bad.temp %d\r\n%s\r\n", 500_000, strings.Repeat("v", 500_000)),
	} {
		conn, err := net.Dial("tcp", s.Addr())
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, conn)
		flood.Go(func() {
			_, err := io.WriteString(conn, "CONNECT {\"verbose\":false,\"headers\":true}\r\nSUB answers.> 1\r\n")
			for chunk := strings.Repeat(message, max(1, 64<<10/len(message))); err == nil; {
				_, err = io.WriteString(conn, chunk)
			}
		})
	}
	payload := strings.Repeat("v", 10_000)
	var slowest time.Duration
	for i := range connections {
		conn, err := net.Dial("tcp", s.Addr())
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, conn)
		const connect = "CONNECT {\"verbose\":false,\"headers\":true}\r\n"
		var says string
		switch i % 10 {
		case 0: // never reads what it asked for
			says = connect + "SUB answers.> 1\r\n" + strings.Repeat("PUB telemetry.bad.temp answers.x 1\r\nv\r\n", 500)
		case 1: // reads nothing of all there is
			says = connect + "SUB > 1\r\n" + strings.Repeat(fmt.Sprintf("PUB telemetry.bad.temp 10000\r\n%s\r\n", payload), 5)
		case 2:
			says = connect + "PUB telemetry.bad.temp 100\r\nhalf of it"
		case 3:
			says = "CONN"
		}
		// Who is turned away for want of room may see that as an error here.
		_, _ = io.WriteString(conn, says)
		if i%50 == 0 {
			slowest = max(slowest, ask(1))
		}
	}
	slowest = max(slowest, ask(100))
	t.Logf("slowest answer beside %d hostile connections: %v; %d requests were turned away before", connections, slowest, turnedAway)
	if n := s.counted(t, "headwater_bridge_reconnects_total"); n != 0 {
		t.Errorf("the bridge was thrown out %d times", n)
	}
}
