package e2e

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	dedupPublishers = 4
	dedupRounds     = 10
)

// Killed again and again under publishers that send what was not acked again, with its
// id, the process stores each message once: at the place that the last ack says.
func TestKillDedup(t *testing.T) {
	p := start(t)
	createTopic(t, p.Kafka, "telemetry", 1)
	rng := rand.New(rand.NewPCG(3, 4))
	var senders []*insistent
	acks := newProgress()
	for i := range dedupPublishers {
		senders = append(senders, &insistent{name: i, publisher: newPublisher(p.NATS, 200), acks: acks})
	}
	unanswered := 0
	for range dedupRounds {
		ctx, stop := context.WithCancel(within(t, 3*patience))
		var all sync.WaitGroup
		for _, s := range senders {
			s.address = p.NATS
			all.Go(func() { s.errs = append(s.errs, s.round(ctx)) })
		}
		acks.awaitMore(t, p, 200+rng.Int64N(2000), "acks")
		kill(t, p)
		all.Wait()
		stop()
		for _, s := range senders {
			unanswered += len(s.unanswered())
		}
		restart(t, p)
	}
	for _, s := range senders {
		s.address, s.last = p.NATS, true
		if err := s.round(within(t, 3*patience)); err != nil {
			t.Fatal(err)
		}
		s.noRefusals(t)
		for _, err := range s.errs {
			if !errors.Is(err, errLost) {
				t.Errorf("publisher %d: %v", s.name, err)
			}
		}
	}
	stored := map[string][]place{}
	for _, r := range readAll(t, p.Kafka, "telemetry") {
		stored[r.value] = append(stored[r.value], r.place)
	}
	total := 0
	for _, s := range senders {
		acked, _ := s.answers()
		total += len(acked)
		for number, a := range acked {
			if value := s.value(number); !slices.Equal(stored[value], []place{a.place}) {
				t.Errorf("%s was acked at %v, and is at %v", value, a.place, stored[value])
			}
		}
	}
	if total != len(stored) {
		t.Errorf("%d messages were acked, %d are stored", total, len(stored))
	}
	if unanswered < dedupRounds {
		t.Errorf("only %d messages were sent again", unanswered)
	}
	t.Logf("%d messages acked, %d of them sent again, %d stored", total, unanswered, len(stored))
}

// insistent is a publisher that sends what was not acked again.
type insistent struct {
	*publisher
	name int
	acks *progress
	sent int  // messages, numbered from 0
	last bool // send nothing new
	errs []error
}

func (s *insistent) value(number int) string { return fmt.Sprintf("%d.%d", s.name, number) }

// unanswered are the messages that were sent and not acked.
func (s *insistent) unanswered() (numbers []int) {
	acked, _ := s.answers()
	for number := range s.sent {
		if _, ok := acked[number]; !ok {
			numbers = append(numbers, number)
		}
	}
	return numbers
}

// round sends what was not acked, and then more until the connection is lost.
func (s *insistent) round(ctx context.Context) error {
	again := s.unanswered()
	s.onAck = func(ack) { s.acks.add(1) }
	return s.publish(ctx, func() (message, bool) {
		number := s.sent
		switch {
		case len(again) > 0:
			number, again = again[0], again[1:]
		case s.last:
			return message{}, false
		default:
			s.sent++
		}
		return message{
			number: number, subject: fmt.Sprintf("telemetry.d%d", s.name), value: s.value(number), wantAck: true,
			header: nats.Header{"Nats-Msg-Id": {s.value(number)}},
		}, true
	})
}

// JetStream's own client deduplicates, and expects, as with a JetStream server; the
// ids outlive a restart.
func TestExpectations(t *testing.T) {
	p := start(t)
	js := jetStream(t, p.NATS)
	publish := func(value string, opts ...jetstream.PublishOpt) (*jetstream.PubAck, error) {
		return js.Publish(within(t, patience), "telemetry.d1", []byte(value), opts...)
	}
	stores := func(want uint64, duplicate bool, value string, opts ...jetstream.PublishOpt) {
		t.Helper()
		ack, err := publish(value, opts...)
		if err != nil {
			t.Fatal(err)
		}
		if ack.Sequence != want || ack.Duplicate != duplicate || ack.Stream != "telemetry-0" {
			t.Errorf("%s: %+v, want sequence %d, duplicate %v", value, ack, want, duplicate)
		}
	}
	refuses := func(want jetstream.ErrorCode, value string, opts ...jetstream.PublishOpt) {
		t.Helper()
		_, err := publish(value, opts...)
		var api *jetstream.APIError
		if !errors.As(err, &api) || api.ErrorCode != want {
			t.Errorf("%s: got %v, want error %d", value, err, want)
		}
	}
	stores(1, false, "first", jetstream.WithMsgID("a"), jetstream.WithExpectLastSequence(0))
	stores(1, true, "again", jetstream.WithMsgID("a"))
	stores(2, false, "second", jetstream.WithMsgID("b"), jetstream.WithExpectLastMsgID("a"), jetstream.WithExpectStream("telemetry-0"))
	refuses(10070, "wrong id", jetstream.WithExpectLastMsgID("a"))
	refuses(10060, "wrong stream", jetstream.WithExpectStream("TELEMETRY"))
	refuses(10071, "wrong sequence", jetstream.WithExpectLastSequence(1))
	refuses(10003, "subject", jetstream.WithExpectLastSequencePerSubject(1))

	kill(t, p)
	restart(t, p)
	js = jetStream(t, p.NATS)
	stores(1, true, "again", jetstream.WithMsgID("a"))
	stores(2, true, "again", jetstream.WithMsgID("b"))
	stores(3, false, "third", jetstream.WithExpectLastMsgID("b"), jetstream.WithExpectLastSequence(2))
	var values []string
	for _, r := range readAll(t, p.Kafka, "telemetry") {
		values = append(values, r.value)
	}
	if want := []string{"first", "second", "third"}; !slices.Equal(values, want) {
		t.Errorf("stored %q, want %q", values, want)
	}
}

func jetStream(t *testing.T, address string) jetstream.JetStream {
	t.Helper()
	nc, err := nats.Connect("nats://" + address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return js
}
