//go:build interop

package devices

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/headwater/headwater/appliance/process"
)

func connect(t *testing.T, p *process.Process, opts ...nats.Option) *nats.Conn {
	t.Helper()
	nc, err := nats.Connect("nats://"+p.NATS, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

func jetStream(t *testing.T, p *process.Process) jetstream.JetStream {
	t.Helper()
	js, err := jetstream.New(connect(t, p))
	if err != nil {
		t.Fatal(err)
	}
	return js
}

// publish stores count readings of a device, one after the other: reading i is at
// sequence first+i.
func publish(t *testing.T, js jetstream.JetStream, device string, count int) (first uint64) {
	t.Helper()
	ctx := within(t, patience)
	for i := range count {
		ack, err := js.Publish(ctx, "telemetry."+device+".temp", fmt.Append(nil, i))
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			first = ack.Sequence
		}
		if ack.Stream != "telemetry-0" || ack.Sequence != first+uint64(i) {
			t.Fatalf("reading %d is acked as %+v, want telemetry-0 at %d", i, ack, first+uint64(i))
		}
	}
	return first
}

// holds checks that m is reading i of a device.
func holds(t *testing.T, m jetstream.Msg, device string, i int, sequence uint64) {
	t.Helper()
	meta, err := m.Metadata()
	if err != nil {
		t.Fatal(err)
	}
	subject := "telemetry." + device + ".temp"
	if m.Subject() != subject || string(m.Data()) != fmt.Sprint(i) || meta.Sequence.Stream != sequence || meta.Stream != "telemetry-0" {
		t.Fatalf("%q on %s at %d of %s, want %d on %s at %d", m.Data(), m.Subject(), meta.Sequence.Stream, meta.Stream, i, subject, sequence)
	}
}

// Publishes of each kind are acked with their places; a message id is stored once.
func TestNatsGoPublish(t *testing.T) {
	p := start(t)
	js := jetStream(t, p)
	ctx := within(t, patience)
	first := publish(t, js, "go", 10)

	var futures []jetstream.PubAckFuture
	for i := range 500 {
		future, err := js.PublishAsync("telemetry.go.async", fmt.Append(nil, i))
		if err != nil {
			t.Fatal(err)
		}
		futures = append(futures, future)
	}
	for i, future := range futures {
		select {
		case ack := <-future.Ok():
			if want := first + 10 + uint64(i); ack.Sequence != want {
				t.Fatalf("async publish %d is at %d, want %d", i, ack.Sequence, want)
			}
		case err := <-future.Err():
			t.Fatal(err)
		case <-ctx.Done():
			t.Fatal("no ack")
		}
	}

	once, err := js.Publish(ctx, "telemetry.go.once", []byte("x"), jetstream.WithMsgID("id-1"))
	if err != nil || once.Duplicate {
		t.Fatalf("%+v, %v", once, err)
	}
	again, err := js.Publish(ctx, "telemetry.go.once", []byte("x"), jetstream.WithMsgID("id-1"))
	if err != nil || !again.Duplicate || again.Sequence != once.Sequence {
		t.Fatalf("the same id is answered with %+v, %v, want a duplicate of %d", again, err, once.Sequence)
	}
	if _, err := js.Publish(ctx, "telemetry.go.once", nil, jetstream.WithExpectLastSequence(1)); err == nil {
		t.Error("a publish that expects another last sequence is stored")
	}
	if _, err := js.Publish(ctx, "telemetry.go.once", nil, jetstream.WithExpectStream("other")); err == nil {
		t.Error("a publish that expects another stream is stored")
	}
	if _, err := js.Publish(ctx, "nobody.takes.this", nil); !errors.Is(err, jetstream.ErrNoStreamResponse) {
		t.Errorf("a subject that no rule takes: %v", err)
	}
}

// Streams are there under their partitions' names, and messages are got by sequence,
// by subject and by the batch.
func TestNatsGoStreams(t *testing.T) {
	p := start(t)
	js := jetStream(t, p)
	ctx := within(t, patience)
	first := publish(t, js, "go", 20)
	last := publish(t, js, "other", 1)

	var names []string
	for name := range js.StreamNames(ctx).Name() {
		names = append(names, name)
	}
	if len(names) != 1 || names[0] != "telemetry-0" {
		t.Fatalf("streams %v", names)
	}
	s, err := js.Stream(ctx, "telemetry-0")
	if err != nil {
		t.Fatal(err)
	}
	if state := s.CachedInfo().State; state.Msgs != 21 || state.FirstSeq != first || state.LastSeq != last {
		t.Fatalf("the stream's state is %+v", state)
	}
	m, err := s.GetMsg(ctx, first+3)
	if err != nil || string(m.Data) != "3" || m.Subject != "telemetry.go.temp" || m.Sequence != first+3 {
		t.Fatalf("message %+v, %v", m, err)
	}
	m, err = s.GetLastMsgForSubject(ctx, "telemetry.go.*")
	if err != nil || string(m.Data) != "19" {
		t.Fatalf("last of a subject: %+v, %v", m, err)
	}
	if _, err := s.GetMsg(ctx, last+1); !errors.Is(err, jetstream.ErrMsgNotFound) {
		t.Errorf("a message that is not there: %v", err)
	}
	if _, err := js.Stream(ctx, "nothing-0"); !errors.Is(err, jetstream.ErrStreamNotFound) {
		t.Errorf("a stream that is not there: %v", err)
	}
}

// What a partition cannot do is refused by a sentence, in JetStream's form.
func TestNatsGoRefusals(t *testing.T) {
	p := start(t)
	js := jetStream(t, p)
	ctx := within(t, patience)
	publish(t, js, "go", 1)
	s, err := js.Stream(ctx, "telemetry-0")
	if err != nil {
		t.Fatal(err)
	}
	_, createErr := js.CreateStream(ctx, jetstream.StreamConfig{Name: "mine", Subjects: []string{"mine.>"}})
	_, bucketErr := js.CreateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: "bucket"})
	_, pushErr := js.CreateOrUpdatePushConsumer(ctx, "telemetry-0", jetstream.ConsumerConfig{Durable: "push", DeliverSubject: "to.me"})
	for what, err := range map[string]error{
		"create": createErr, "bucket": bucketErr, "push": pushErr,
		"purge": s.Purge(ctx), "delete a message": s.DeleteMsg(ctx, 1), "delete": js.DeleteStream(ctx, "telemetry-0"),
	} {
		if err == nil || !strings.Contains(err.Error(), "topic") && !strings.Contains(err.Error(), "pull") {
			t.Errorf("%s: %v, want an error that says what to do instead", what, err)
		}
	}
	if info, err := s.Info(ctx); err != nil || info.State.Msgs != 1 {
		t.Errorf("after all that: %+v, %v", info, err)
	}
}

// A durable consumer gets each message, those again that it did not ack, and goes on
// where it was after a restart of the box.
func TestNatsGoDurable(t *testing.T) {
	p := start(t)
	js := jetStream(t, p)
	ctx := within(t, patience)
	first := publish(t, js, "go", 10)
	c, err := js.CreateOrUpdateConsumer(ctx, "telemetry-0", jetstream.ConsumerConfig{Durable: "reader", AckPolicy: jetstream.AckExplicitPolicy, AckWait: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	batch, err := c.Fetch(6, jetstream.FetchMaxWait(patience))
	if err != nil {
		t.Fatal(err)
	}
	i := 0
	for m := range batch.Messages() {
		holds(t, m, "go", i, first+uint64(i))
		if i != 5 { // which comes again
			if err := m.DoubleAck(ctx); err != nil {
				t.Fatal(err)
			}
		}
		i++
	}
	if i != 6 {
		t.Fatalf("%d messages, %v", i, batch.Error())
	}
	again, err := c.Next(jetstream.FetchMaxWait(patience))
	if err != nil {
		t.Fatal(err)
	}
	for meta, _ := again.Metadata(); meta.Sequence.Stream != first+5; meta, _ = again.Metadata() { // 6 to 9 come first, or after
		if err := again.DoubleAck(ctx); err != nil {
			t.Fatal(err)
		}
		if again, err = c.Next(jetstream.FetchMaxWait(patience)); err != nil {
			t.Fatal(err)
		}
	}
	if meta, _ := again.Metadata(); meta.NumDelivered < 2 {
		t.Errorf("delivered %d times, want it again", meta.NumDelivered)
	}
	if err := again.DoubleAck(ctx); err != nil {
		t.Fatal(err)
	}

	restart(t, p)
	js = jetStream(t, p)
	info, err := js.Consumer(ctx, "telemetry-0", "reader")
	if err != nil {
		t.Fatalf("after a restart: %v", err)
	}
	next := publish(t, js, "late", 1)
	for {
		m, err := info.Next(jetstream.FetchMaxWait(patience))
		if err != nil {
			t.Fatal(err)
		}
		meta, _ := m.Metadata()
		if meta.Sequence.Stream < first+6 {
			t.Fatalf("%d comes again, which was acked", meta.Sequence.Stream)
		}
		if meta.Sequence.Stream == next {
			holds(t, m, "late", 0, next)
			return
		}
	}
}

// An ordered consumer gets all from where it says, in order and without a gap, while
// more is published.
func TestNatsGoOrdered(t *testing.T) {
	p := start(t)
	js := jetStream(t, p)
	ctx := within(t, patience)
	first := publish(t, js, "go", 1000)
	c, err := js.OrderedConsumer(ctx, "telemetry-0", jetstream.OrderedConsumerConfig{DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: first + 100})
	if err != nil {
		t.Fatal(err)
	}
	messages, err := c.Messages()
	if err != nil {
		t.Fatal(err)
	}
	defer messages.Stop()
	published := make(chan struct{})
	go func() {
		defer close(published)
		publish(t, js, "go", 500)
	}()
	defer func() { <-published }()
	for i := 100; i < 1500; i++ {
		m, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			t.Fatalf("message %d: %v", i, err)
		}
		value := i
		if i >= 1000 {
			value -= 1000
		}
		holds(t, m, "go", value, first+uint64(i))
	}
}

// The older API of nats.go pulls from the same streams.
func TestNatsGoLegacy(t *testing.T) {
	p := start(t)
	js, err := connect(t, p).JetStream()
	if err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		if _, err := js.Publish("telemetry.go.temp", fmt.Append(nil, i), nats.MsgId(fmt.Sprint("legacy-", i))); err != nil {
			t.Fatal(err)
		}
	}
	sub, err := js.PullSubscribe("telemetry.>", "legacy", nats.BindStream("telemetry-0"))
	if err != nil {
		t.Fatal(err)
	}
	got, err := sub.Fetch(5, nats.MaxWait(10*time.Second))
	if err != nil || len(got) != 5 {
		t.Fatalf("%d messages, %v", len(got), err)
	}
	for i, m := range got {
		if string(m.Data) != fmt.Sprint(i) {
			t.Errorf("message %d has %q", i, m.Data)
		}
		if err := m.AckSync(); err != nil {
			t.Fatal(err)
		}
	}
}
