package bridge

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/headwater/headwater/bridge/subject"
)

func TestRequestIsAnsweredOnceStored(t *testing.T) {
	s := serve(t, testConfig())
	nc := s.connect(t)
	s.log.hold()
	inbox := nc.NewRespInbox()
	answers, err := nc.SubscribeSync(inbox)
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.PublishRequest("telemetry.d1.temp", inbox, []byte("20.5")); err != nil {
		t.Fatal(err)
	}
	<-s.log.arrived
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	if n, _, err := answers.Pending(); n != 0 || err != nil {
		t.Fatalf("%d answers before the record was durable (%v)", n, err)
	}
	s.log.release()
	msg, err := answers.NextMsg(patience)
	if err != nil || string(msg.Data) != `{"stream":"telemetry-0","seq":1,"partition":0,"offset":0}` {
		t.Fatalf("answer %v, %v", msg, err)
	}
	got := s.log.records(t)
	if len(got) != 1 || string(got[0].Value) != "20.5" || string(got[0].Key) != "d1" || string(got[0].Headers[0].Value) != "telemetry.d1.temp" {
		t.Errorf("stored %+v", got)
	}
}

// nats.go's JetStream client publishes to us as to JetStream, in all its ways.
func TestJetStreamClient(t *testing.T) {
	s := serve(t, testConfig())
	js, err := jetstream.New(s.connect(t))
	if err != nil {
		t.Fatal(err)
	}
	ack, err := js.PublishMsg(t.Context(), &nats.Msg{
		Subject: "telemetry.d1.temp", Data: []byte("20.5"),
		Header: nats.Header{"Unit": {"C", "K"}, "Hw-Time": {"forged"}},
	}, jetstream.WithMsgID("m1"))
	if err != nil || ack.Stream != "telemetry-0" || ack.Sequence != 1 {
		t.Fatalf("ack %+v, %v", ack, err)
	}
	headers := map[string][]string{}
	for _, h := range s.log.records(t)[0].Headers {
		headers[h.Key] = append(headers[h.Key], string(h.Value))
	}
	if !slices.Equal(headers["Unit"], []string{"C", "K"}) || !slices.Equal(headers["Nats-Msg-Id"], []string{"m1"}) ||
		len(headers["hw-time"]) != 1 || len(headers["Hw-Time"]) != 0 || len(headers) != 4 {
		t.Errorf("headers %v", headers)
	}
	for i := range 1000 {
		if _, err := js.PublishAsync("telemetry.d1.temp", fmt.Append(nil, i)); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case <-js.PublishAsyncComplete():
	case <-time.After(patience):
		t.Fatalf("%d of 1000 are not acked", js.PublishAsyncPending())
	}
	for i, r := range s.log.records(t)[1:] {
		if string(r.Value) != fmt.Sprint(i) {
			t.Fatalf("record %d is %s", i+1, r.Value)
		}
	}

	s.log.mu.Lock()
	s.log.fail = errors.New("disk broke")
	s.log.mu.Unlock()
	_, err = js.Publish(t.Context(), "telemetry.d1.temp", nil)
	var api *jetstream.APIError
	if !errors.As(err, &api) || api.Code != 503 || api.ErrorCode != 10077 || !strings.Contains(api.Description, "disk broke") {
		t.Errorf("an error of the log came as %v", err)
	}
	if _, err := js.Publish(t.Context(), "telemetry..temp", nil); err == nil {
		t.Error("a subject with an empty token was taken")
	}
}

func TestNoRuleNoResponders(t *testing.T) {
	s := serve(t, testConfig())
	nc := s.connect(t)
	if _, err := nc.Request("other.d1", nil, patience); !errors.Is(err, nats.ErrNoResponders) {
		t.Errorf("got %v, want no responders", err)
	}
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(t.Context(), "other.d1", nil, jetstream.WithRetryAttempts(0)); !errors.Is(err, jetstream.ErrNoStreamResponse) {
		t.Errorf("got %v, want no stream response", err)
	}
}

// A best-effort message is stored within the linger.
func TestCorePublish(t *testing.T) {
	s := serve(t, testConfig())
	nc := s.connect(t)
	if err := nc.Publish("telemetry.d1.temp", []byte("20.5")); err != nil {
		t.Fatal(err)
	}
	s.log.await(1)
	if got := s.log.records(t); len(got) != 1 || string(got[0].Value) != "20.5" {
		t.Errorf("stored %+v", got)
	}
}

// However many rules match, a message is stored once, as the first says.
func TestOverlappingRules(t *testing.T) {
	cfg := testConfig()
	cfg.Rules = []subject.Rule{
		{Subject: "telemetry.*.alarm", Topic: "alarms", Key: "first"},
		{Subject: "telemetry.>", Topic: "telemetry", Key: "second"},
		{Subject: ">", Topic: "rest", Key: "third"},
	}
	s := serve(t, cfg)
	nc := s.connect(t)
	for _, subject := range []string{"telemetry.d1.alarm", "telemetry.d1.temp", "x"} {
		if _, err := nc.Request(subject, []byte(subject), patience); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.stop(); err != nil { // then nothing more can come
		t.Fatal(err)
	}
	var got []string
	for _, r := range s.log.records(t) {
		got = append(got, fmt.Sprintf("%s %s", r.Key, r.Value))
	}
	if want := []string{"first telemetry.d1.alarm", "second telemetry.d1.temp", "third x"}; !slices.Equal(got, want) {
		t.Errorf("stored %q, want %q", got, want)
	}
	if taken, refused := s.messages(t), s.counted(t, "headwater_bridge_refused_total"); taken != 3 || refused != 0 {
		t.Errorf("%d messages were counted and %d refused, want 3 and none", taken, refused)
	}
}

// A device that wants its answer on a subject of ours does not have it stored.
func TestAnswersAreNotData(t *testing.T) {
	s := serve(t, testConfig())
	nc := s.connect(t)
	answers, err := nc.SubscribeSync("telemetry.answers")
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.PublishRequest("telemetry.d1.temp", "telemetry.answers", nil); err != nil {
		t.Fatal(err)
	}
	if _, err := answers.NextMsg(patience); err != nil {
		t.Fatal(err)
	}
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	if got := s.log.records(t); len(got) != 1 {
		t.Errorf("%d records, want 1", len(got))
	}
}

// Publishers that wait at the same time share batches, and so syncs.
func TestPublishersShareBatches(t *testing.T) {
	s := serve(t, testConfig())
	const publishers, rounds = 64, 5
	var conns []*nats.Conn
	for range publishers {
		conns = append(conns, s.connect(t))
	}
	for round := range rounds {
		s.log.hold()
		var all sync.WaitGroup
		for i, nc := range conns {
			all.Go(func() {
				if _, err := nc.Request(fmt.Sprintf("telemetry.d%d.temp", i), nil, patience); err != nil {
					t.Error(err)
				}
			})
		}
		for s.messages(t) < publishers*(round+1) { // the first is in flight, the others gather behind it
			if err := conns[0].Flush(); err != nil {
				t.Fatal(err)
			}
		}
		s.log.release()
		all.Wait()
	}
	if got := len(s.log.records(t)); got != publishers*rounds {
		t.Errorf("%d records, want %d", got, publishers*rounds)
	}
	// Two a round, and one more for every 20 ms that the machine was busy elsewhere.
	if got := s.counted(t, "headwater_bridge_batches_total"); got > publishers*rounds/10 {
		t.Errorf("%d batches for %d messages", got, publishers*rounds)
	}
}

// At the end all that was taken is stored and answered before connections close,
// and those who ask later are told at once that nobody listens.
func TestStop(t *testing.T) {
	s := serve(t, testConfig())
	nc := s.connect(t, nats.NoReconnect())
	const n = 500
	s.log.hold()
	inbox := nc.NewRespInbox()
	answers := make(chan *nats.Msg, n)
	if _, err := nc.ChanSubscribe(inbox, answers); err != nil {
		t.Fatal(err)
	}
	for i := range n {
		if err := errors.Join(nc.PublishRequest("telemetry.d1.temp", inbox, fmt.Append(nil, i)), nc.Publish("telemetry.d1.core", nil)); err != nil {
			t.Fatal(err)
		}
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- s.stop() }()
	// Once nobody listens any more, everything before was taken.
	for {
		if _, err := nc.Request("telemetry.d2.temp", nil, time.Millisecond); errors.Is(err, nats.ErrNoResponders) {
			break
		}
	}
	if err := s.Ready(); !errors.Is(err, ErrNotReady) {
		t.Errorf("ready at the end: %v", err)
	}
	select {
	case err := <-ended:
		t.Fatalf("Run returned %v before the records were durable", err)
	default:
	}
	s.log.release()
	if err := <-ended; err != nil {
		t.Errorf("Run: %v", err)
	}
	for i := range n {
		select {
		case msg := <-answers:
			if !strings.Contains(string(msg.Data), `"stream":"telemetry-0"`) {
				t.Fatalf("answer %d: %s", i, msg.Data)
			}
		case <-time.After(patience):
			t.Fatalf("%d answers, want %d", i, n)
		}
	}
	if taken := s.messages(t); len(s.log.records(t)) != taken || taken < 2*n {
		t.Errorf("%d records, %d messages were taken", len(s.log.records(t)), taken)
	}
	if ln, err := net.Listen("tcp", s.Addr()); err != nil {
		t.Errorf("the port is not free: %v", err)
	} else {
		ln.Close()
	}
}

// At the end devices are told to go elsewhere while they are still connected; what
// they ask for then is refused at once, what they asked for before is answered once it
// is stored, and only then are they cut off.
func TestLameDuck(t *testing.T) {
	s := serve(t, testConfig())
	told, cut := make(chan struct{}, 1), make(chan struct{})
	nc := s.connect(t, nats.NoReconnect(),
		nats.LameDuckModeHandler(func(*nats.Conn) { told <- struct{}{} }),
		nats.ClosedHandler(func(*nats.Conn) { close(cut) }))
	s.log.hold()
	inbox := nc.NewRespInbox()
	answers, err := nc.SubscribeSync(inbox)
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.PublishRequest("telemetry.d1.temp", inbox, nil); err != nil {
		t.Fatal(err)
	}
	<-s.log.arrived
	ended := make(chan error, 1)
	go func() { ended <- s.stop() }()
	select {
	case <-told:
	case <-time.After(patience):
		t.Fatal("the device was not told that the server ends")
	}
	for { // a moment later nobody listens
		_, err := nc.Request("telemetry.d1.temp", nil, patience/10)
		if errors.Is(err, nats.ErrNoResponders) {
			break
		}
		if err != nil && !errors.Is(err, nats.ErrTimeout) { // taken before that, and held by the log
			t.Fatalf("a request after the end began: %v", err)
		}
	}
	select {
	case <-cut:
		t.Fatal("the device was cut off before its answer")
	default:
	}
	s.log.release()
	if _, err := answers.NextMsg(patience); err != nil {
		t.Errorf("what was asked for before: %v", err)
	}
	if err := <-ended; err != nil {
		t.Errorf("Run: %v", err)
	}
	<-cut
}

// A publisher that does not care, and a log that is stuck: memory is bounded, the
// connection of the bridge is not thrown out, and every message is accounted for.
func TestStuckLog(t *testing.T) {
	cfg := testConfig()
	cfg.BufferBytes = 4 << 20
	s := serve(t, cfg)
	s.log.hold()
	const publishers, each = 4, 20_000
	payload := make([]byte, 512)
	var all sync.WaitGroup
	for range publishers {
		nc := s.connect(t)
		all.Go(func() {
			for i := range each {
				if err := nc.Publish("telemetry.d1.temp", payload); err != nil {
					t.Error(err)
				}
				if i%100 == 0 {
					if err := nc.Flush(); err != nil {
						t.Error(err)
					}
				}
			}
			if err := nc.Flush(); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	s.log.release()
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	taken, dropped, stored := s.messages(t), s.counted(t, "headwater_bridge_dropped_total"), len(s.log.records(t))
	lost := s.counted(t, "headwater_bridge_lost_total") // before they were taken, on a machine that is too slow
	if taken+lost != publishers*each || dropped == 0 || stored != taken-dropped {
		t.Errorf("of %d messages %d were taken, %d stored, %d dropped, %d lost", publishers*each, taken, stored, dropped, lost)
	}
	if n := s.counted(t, "headwater_bridge_reconnects_total"); n != 0 {
		t.Errorf("the bridge was thrown out %d times", n)
	}
}

func TestListenSaysWhatIsWrong(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	for name, tc := range map[string]struct {
		change func(*Config)
		want   []string
	}{
		"portInUse": {func(c *Config) { c.Listen = ln.Addr().String() }, []string{"address already in use"}},
		"allAtOnce": {func(c *Config) {
			*c = Config{Rules: []subject.Rule{{Subject: "a..b"}}}
		}, []string{"listen:", "max payload:", "max connections:", "max batch:", "stop timeout:", "rule 0: subject:", "rule 0: topic:"}},
		"noRules":     {func(c *Config) { c.Rules = nil }, []string{"rules: there are none"}},
		"smallBuffer": {func(c *Config) { c.BufferBytes = 1 << 20 }, []string{"buffer:"}},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := testConfig()
			tc.change(&cfg)
			b, err := Listen(cfg, slog.New(slog.DiscardHandler), nil)
			if err == nil {
				b.Close()
				t.Fatal("nothing was wrong")
			}
			for _, want := range tc.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q is missing from: %v", want, err)
				}
			}
		})
	}
}

// A Bridge that never ran lets go of its port.
func TestClose(t *testing.T) {
	b, err := Listen(testConfig(), slog.New(slog.DiscardHandler), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Ready(); !errors.Is(err, ErrNotReady) {
		t.Errorf("ready before Run: %v", err)
	}
	b.Close()
	ln, err := net.Listen("tcp", b.Addr())
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
}
