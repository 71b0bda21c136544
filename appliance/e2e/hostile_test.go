package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	hostileCeiling     = 256 << 20 // memory.limit
	hostilePayload     = 500_000   // bytes, which nats.maxPayload still allows
	hostileOverstep    = 1_000_000
	hostileConnections = 5000
	goodDevices        = 20
	goodAcksDefault    = 40 // that each of them must get while the hostile device goes on
)

const hostileRules = `HEADWATER_BRIDGE_RULES=[{"subject": "good.>", "topic": "good"}, {"subject": "flood.>", "topic": "flood"}]`

// dialect is how a protocol's bytes say what a hostile device wants to say.
type dialect struct {
	address      string
	hello        []byte
	subscribeAll []byte
	half         []byte // the beginning of a message, whose end never comes
	tooLarge     []byte // what the server says about a message above the limit
	publish      func(subject string, payloadBytes int, wantAck bool) []byte
}

func natsDialect(address string) dialect {
	return dialect{
		address:      address,
		hello:        []byte("CONNECT {\"verbose\":false}\r\n"),
		subscribeAll: []byte("SUB > 1\r\n"),
		half:         []byte("PUB flood.half 100000\r\nabc"),
		tooLarge:     []byte("Maximum Payload Violation"),
		publish: func(subject string, n int, wantAck bool) []byte {
			reply := ""
			if wantAck {
				reply = "flood.answers "
			}
			return fmt.Appendf(nil, "PUB %s %s%d\r\n%s\r\n", subject, reply, n, bytes.Repeat([]byte{'x'}, n))
		},
	}
}

// One device floods, with messages below and above the payload limit, opens
// thousands of connections, leaves them half open and reads nothing of all that it
// subscribed to. The others' acks keep coming, on NATS and on Kafka, and the memory
// stays under its ceiling.
func TestHostileDevice(t *testing.T) {
	p := prepare(t, t.TempDir(), hostileRules, fmt.Sprintf("HEADWATER_MEMORY_LIMIT=%d", hostileCeiling),
		"HEADWATER_TOPICS_RETENTION_BYTES=64MiB")
	restart(t, p)
	createTopic(t, p.Kafka, "good", 1)
	createTopic(t, p.Kafka, "readings", 1)
	good := []*goodCrowd{{name: "NATS", ask: askNATS(t, p.NATS)}, {name: "Kafka", ask: askKafka(t, p.Kafka)}}
	acks := rounds(t, "HEADWATER_HOSTILE_ACKS", goodAcksDefault)
	for _, g := range good {
		g.run(t, "alone", acks)
	}

	ctx, stop := context.WithCancel(t.Context())
	var hostile sync.WaitGroup
	defer hostile.Wait()
	defer stop()
	all := hostilities(natsDialect(p.NATS))
	for _, h := range all {
		hostile.Go(func() { h.run(ctx, h) })
		h.done.await(t, p, h.enough, h.name)
	}
	for _, g := range good {
		g.run(t, "beside a hostile device", acks)
	}
	stop()
	hostile.Wait()
	for _, h := range all {
		count, _ := h.done.get()
		t.Logf("hostile: %d %s", count, h.name)
	}

	records := map[string]bool{}
	for _, topic := range []string{"good", "readings"} {
		for _, r := range readAll(t, p.Kafka, topic) {
			records[r.value] = true
		}
	}
	for _, g := range good {
		g.check(t, records)
	}
	_, peak, err := p.Memory()
	if err != nil || peak > hostileCeiling {
		t.Errorf("%.1f MB were in memory at the most, %v; the ceiling is %.1f MB", float64(peak)/1e6, err, float64(hostileCeiling)/1e6)
	}
	t.Logf("%.1f MB in memory at the most", float64(peak)/1e6)
}

// hostility is one of the things that the hostile device does, until ctx is done.
type hostility struct {
	name   string
	enough int64 // how often it is done before the others' acks are counted
	done   *progress
	run    func(ctx context.Context, h *hostility)
}

func hostilities(d dialect) []*hostility {
	all := []*hostility{
		{name: "slow readers of everything", enough: 20, run: func(ctx context.Context, h *hostility) {
			d.hold(ctx, h, 20, slices.Concat(d.hello, d.subscribeAll))
		}},
		{name: "connections left half-way", enough: 100, run: func(ctx context.Context, h *hostility) {
			d.hold(ctx, h, 100, slices.Concat(d.hello, d.half))
		}},
		{name: "messages above the limit", enough: 20, run: func(ctx context.Context, h *hostility) {
			d.overstep(ctx, h, d.publish("flood.core", hostileOverstep, false))
		}},
		{name: "best-effort messages below the limit", enough: 200, run: func(ctx context.Context, h *hostility) {
			d.flood(ctx, h, d.publish("flood.core", hostilePayload, false))
		}},
		{name: "messages below the limit that ask for an answer", enough: 50, run: func(ctx context.Context, h *hostility) {
			d.flood(ctx, h, d.publish("flood.acked", hostilePayload, true))
		}},
		// Last: it leaves nobody a connection who has none.
		{name: "connections opened", enough: hostileConnections, run: d.crowdIn},
	}
	for _, h := range all {
		h.done = newProgress()
	}
	return all
}

// hostileSource is the address that the hostile device has, which is not the others'.
var hostileSource = net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 66)}}

// connect dials, with the smallest buffers, and says something. The connection ends
// with ctx.
func (d dialect) connect(ctx context.Context, say []byte) (conn net.Conn, end func(), err error) {
	conn, err = hostileSource.DialContext(ctx, "tcp", d.address)
	if err != nil {
		return nil, nil, err
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	end = func() { stop(); conn.Close() }
	if err = conn.(*net.TCPConn).SetReadBuffer(4 << 10); err == nil {
		_, err = conn.Write(say)
	}
	if err != nil {
		end()
		return nil, nil, err
	}
	return conn, end, nil
}

// crowdIn opens as many connections as are enough, and keeps those that it may.
func (d dialect) crowdIn(ctx context.Context, h *hostility) {
	for range h.enough {
		conn, err := hostileSource.DialContext(ctx, "tcp", d.address)
		if err != nil {
			continue // the listener's queue is full, or the end; the count tells
		}
		defer conn.Close()
		_, _ = conn.Write(d.hello) // fails where the server has had enough
		h.done.add(1)
	}
	<-ctx.Done()
}

// hold keeps n connections, which have said something and then only read: a little
// from time to time. Those that it loses it makes again.
func (d dialect) hold(ctx context.Context, h *hostility, n int, say []byte) {
	var all sync.WaitGroup
	defer all.Wait()
	for range n {
		all.Go(func() {
			for ctx.Err() == nil {
				conn, end, err := d.connect(ctx, say)
				if err != nil {
					continue
				}
				h.done.add(1)
				sip(ctx, conn)
				end()
			}
		})
	}
}

// sip reads a few bytes ten times a second until the connection ends.
func sip(ctx context.Context, conn net.Conn) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	few := make([]byte, 512)
	for {
		if _, err := conn.Read(few); err != nil {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// flood sends one message after the other as fast as it is let.
func (d dialect) flood(ctx context.Context, h *hostility, message []byte) {
	for ctx.Err() == nil {
		conn, end, err := d.connect(ctx, d.hello)
		if err != nil {
			continue
		}
		for {
			if _, err = conn.Write(message); err != nil {
				break
			}
			h.done.add(1)
		}
		end()
	}
}

// overstep sends what the server closes the connection over, again and again.
func (d dialect) overstep(ctx context.Context, h *hostility, message []byte) {
	for ctx.Err() == nil {
		conn, end, err := d.connect(ctx, d.hello)
		if err != nil {
			continue
		}
		go conn.Write(message) // ends with the connection
		if said, _ := io.ReadAll(conn); bytes.Contains(said, d.tooLarge) {
			h.done.add(1)
		}
		end()
	}
}

// goodCrowd is devices that behave.
type goodCrowd struct {
	name string
	ask  []func(ctx context.Context, value string) error // by device: publishes and waits for the ack

	sent  atomic.Int64
	mu    sync.Mutex // guards acked
	acked []string
}

// errRefused is returned for a message that was not stored, as its device was told.
var errRefused = errors.New("refused")

// run has every device get its acks, one after the other, and tells how long they
// took. What is refused is published again.
func (g *goodCrowd) run(t *testing.T, circumstances string, acks int) {
	t.Helper()
	ctx := within(t, 3*patience)
	var all sync.WaitGroup
	var mu sync.Mutex
	var took []time.Duration
	var refused atomic.Int64
	for n, ask := range g.ask {
		all.Go(func() {
			for got := 0; got < acks; {
				value := fmt.Sprintf("%s-%d", g.name, g.sent.Add(1))
				began := time.Now()
				err := ask(ctx, value)
				if errors.Is(err, errRefused) && ctx.Err() == nil {
					refused.Add(1)
					continue
				}
				if err != nil {
					t.Errorf("%s, %s: device %d after %d acks of %d: %v", g.name, circumstances, n, got, acks, err)
					return
				}
				mu.Lock()
				took = append(took, time.Since(began))
				mu.Unlock()
				g.mu.Lock()
				g.acked = append(g.acked, value)
				g.mu.Unlock()
				got++
			}
		})
	}
	all.Wait()
	if t.Failed() {
		return
	}
	slices.Sort(took)
	t.Logf("%s, %s: %d acks, p50 %v, p99 %v, at most %v; %d refused", g.name, circumstances,
		len(took), took[len(took)/2], took[len(took)*99/100], took[len(took)-1], refused.Load())
}

func (g *goodCrowd) check(t *testing.T, records map[string]bool) {
	t.Helper()
	for _, value := range g.acked {
		if !records[value] {
			t.Errorf("%s was acked, and is not in the log", value)
		}
	}
}

// askNATS connects devices that ask on NATS.
func askNATS(t *testing.T, address string) (all []func(context.Context, string) error) {
	t.Helper()
	for n := range goodDevices {
		nc, err := nats.Connect("nats://"+address, nats.NoReconnect())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(nc.Close)
		all = append(all, func(ctx context.Context, value string) error {
			m, err := nc.RequestWithContext(ctx, fmt.Sprintf("good.device%d", n), []byte(value))
			if errors.Is(err, nats.ErrNoResponders) { // the server let the request go: the bridge is behind
				return errRefused
			}
			if err != nil {
				return err
			}
			var answer struct {
				Offset *int64
				Error  struct{ Code int }
			}
			if err := json.Unmarshal(m.Data, &answer); err != nil || answer.Error.Code == 0 && answer.Offset == nil {
				return fmt.Errorf("%q is no answer to a publish: %w", m.Data, err)
			}
			if answer.Error.Code == 503 {
				return errRefused
			}
			if answer.Error.Code != 0 {
				return fmt.Errorf("refused for good: %s", m.Data)
			}
			return nil
		})
	}
	return all
}

// askKafka connects producers.
func askKafka(t *testing.T, address string) (all []func(context.Context, string) error) {
	t.Helper()
	for range goodDevices / 5 {
		cl := client(t, address, kgo.RequiredAcks(kgo.AllISRAcks()))
		all = append(all, func(ctx context.Context, value string) error {
			return cl.ProduceSync(ctx, &kgo.Record{Topic: "readings", Value: []byte(value)}).FirstErr()
		})
	}
	return all
}
