package bridge

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

// device is a connection that speaks NATS without a client's manners: it does not
// wait, and does not read what it is told, but to know that the server has worked
// off what it was sent.
type device struct {
	net.Conn
	lines *bufio.Reader
}

func dial(addr string) (*device, error) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	d := &device{conn, bufio.NewReaderSize(conn, 32<<10)}
	_, err = io.WriteString(conn, "CONNECT {\"verbose\":false,\"headers\":true,\"no_responders\":true}\r\n")
	return d, err
}

// flush returns once the server has worked off all that was written.
func (d *device) flush() error {
	if _, err := io.WriteString(d, "PING\r\n"); err != nil {
		return err
	}
	for {
		line, err := d.lines.ReadString('\n')
		if err != nil {
			return err
		}
		if line == "PONG\r\n" {
			return nil
		}
	}
}

// crowd has devices publish messages of size bytes as fast as the server takes them,
// and returns how many they published.
func crowd(t testing.TB, addr string, devices, size int, subject string, lasts time.Duration) int {
	t.Helper()
	message := fmt.Sprintf("PUB %s %d\r\n%s\r\n", subject, size, strings.Repeat("v", size))
	chunk := []byte(strings.Repeat(message, max(1, (64<<10)/len(message))))
	perChunk := len(chunk) / len(message)
	var all sync.WaitGroup
	var published atomic.Int64
	end := time.Now().Add(lasts)
	for range devices {
		all.Go(func() {
			d, err := dial(addr)
			if err != nil {
				t.Error(err)
				return
			}
			defer d.Close()
			for time.Now().Before(end) {
				if _, err := d.Write(chunk); err != nil {
					t.Error(err)
					return
				}
				published.Add(int64(perChunk))
			}
			if err := d.flush(); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	return int(published.Load())
}

// A crowd of publishers that wait for nobody does not get the bridge thrown out of its
// own server, with small messages or the largest; every message is stored or counted,
// and a device among them that asks for answers gets one for each, if only that
// nobody can respond.
func TestCrowd(t *testing.T) {
	lasts := 300 * time.Millisecond
	if text := os.Getenv("HEADWATER_CROWD"); text != "" {
		var err error
		if lasts, err = time.ParseDuration(text); err != nil {
			t.Fatal(err)
		}
	}
	for _, size := range []int{128, 1_000_000} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			log := &nullLog{grown: make(chan struct{}, 1)}
			s := serveOn(t, testConfig(), log)
			nc := s.connect(t)
			crowded, asking := make(chan struct{}), make(chan int, 1)
			go func() {
				asked := 0
				for over := false; !over; asked++ {
					if _, err := nc.Request("telemetry.asker.temp", nil, patience); err != nil && !errors.Is(err, nats.ErrNoResponders) {
						t.Errorf("request %d: %v", asked, err)
					}
					select {
					case <-crowded:
						over = true
					default:
					}
				}
				asking <- asked
			}()
			published := crowd(t, s.Addr(), 50, size, "telemetry.crowd.temp", lasts)
			close(crowded)
			published += <-asking
			if err := s.stop(); err != nil {
				t.Error(err)
			}
			stored, lost := int(log.stored.Load()), s.counted(t, "headwater_bridge_lost_total")
			dropped, refused := s.counted(t, "headwater_bridge_dropped_total"), s.counted(t, "headwater_bridge_refused_total")
			if stored+lost+dropped+refused != published || stored == 0 {
				t.Errorf("of %d messages %d were stored, %d lost, %d dropped and %d refused", published, stored, lost, dropped, refused)
			}
			if n := s.counted(t, "headwater_bridge_reconnects_total"); n != 0 {
				t.Errorf("the bridge was thrown out %d times", n)
			}
			t.Logf("of %d messages %d were stored, %d lost, %d dropped and %d refused", published, stored, lost, dropped, refused)
		})
	}
}
