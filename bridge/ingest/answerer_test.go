package ingest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/headwater/headwater/bridge/subject"
)

// fakeCaller is an Answerer that remembers what it was told, by token.
type fakeCaller struct {
	mu   sync.Mutex
	told map[uint64]told
	n    int
}

type told struct {
	partition int32
	offset    int64
	err       error
}

func (f *fakeCaller) Answer(token uint64, partition int32, offset int64, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.told == nil {
		f.told = map[uint64]told{}
	}
	f.n++
	f.told[token] = told{partition, offset, err}
}

func (f *fakeCaller) all() map[uint64]told {
	f.mu.Lock()
	defer f.mu.Unlock()
	return maps.Clone(f.told)
}

// A message that no subscription brought goes where the first rule that matches says,
// and its Answerer is told the place, not before it is durable.
func TestAnswererIsToldThePlace(t *testing.T) {
	inBubble(t, Config{}, func(r *rig) {
		r.log.grown = 4
		r.warm()
		r.log.hold()
		caller := &fakeCaller{}
		r.take("telemetry.d1.temp", "reply.1", "20")
		r.Take(&Message{Rule: AnyRule, Subject: []byte("telemetry.d1.temp"), Payload: []byte("21"), Answerer: caller, Token: 7})
		r.Take(&Message{Rule: AnyRule, Subject: []byte("telemetry.d1.temp"), Payload: []byte("22"), Answerer: caller, Token: 8})
		r.Take(&Message{Rule: AnyRule, Subject: []byte("plant.a.x.y"), Payload: []byte("1"), Answerer: caller, Token: 9})
		r.idle()
		if got := caller.all(); len(got) != 0 {
			t.Fatalf("answered before the records were durable: %v", got)
		}
		if now := time.Since(r.start); now != 0 {
			t.Errorf("%v passed before they were handed on, want none", now)
		}
		r.log.set(func() { r.log.heldBack = false })
		r.log.release()
		synctest.Wait()
		partition := subject.Partition([]byte("x"), 4)
		if want := map[uint64]told{7: {0, 1, nil}, 8: {0, 2, nil}, 9: {partition, 0, nil}}; !maps.Equal(caller.all(), want) || caller.n != 3 {
			t.Errorf("told %v in %d answers, want %v", caller.all(), caller.n, want)
		}
		if got := r.devices.errCodes(t); !maps.Equal(got, map[string]int{"reply.1": 0}) {
			t.Errorf("on NATS %v was answered, want reply.1 alone", got)
		}
		if got := r.counted("headwater_bridge_messages_total", "acked"); got != 4 {
			t.Errorf("%d acked messages were counted, want 4", got)
		}
	})
}

// What cannot be stored is told with a code, and whether to send it again.
func TestAnswererIsToldWhyNot(t *testing.T) {
	permanent := fmt.Errorf("no such %w", errors.ErrUnsupported)
	for name, tc := range map[string]struct {
		message   Message
		change    func(r *rig)
		code      int
		temporary bool
		cause     error
		text      string
		refused   string // reason by which it is counted; empty for none
	}{
		"no rule":    {message: Message{Subject: []byte("other.x")}, code: 404, cause: subject.ErrNoRule, text: "not stored: no rule takes the subject"},
		"unroutable": {message: Message{Subject: []byte("telemetry..x")}, code: 400, cause: subject.ErrUnroutable, text: `bad request: subject cannot be routed: token 2 of "telemetry..x" is empty`, refused: "unroutable"},
		"disk broke": {
			message: Message{Subject: []byte("telemetry.d1.temp")}, change: func(r *rig) { r.log.fail = errDisk },
			code: 503, temporary: true, cause: errDisk, text: "store failed: disk broke", refused: "store_failed",
		},
		"never": {
			message: Message{Subject: []byte("telemetry.d1.temp")}, change: func(r *rig) { r.log.fail = permanent },
			code: 400, cause: permanent, text: "bad request: no such unsupported operation", refused: "never_stored",
		},
		"no topic": {
			message: Message{Subject: []byte("plant.a.x.y")}, change: func(r *rig) { r.log.noTopic = errDisk },
			code: 503, temporary: true, cause: errDisk, text: "topic temporarily unavailable: disk broke", refused: "topic_unavailable",
		},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := Config{Permanent: func(err error) bool { return errors.Is(err, errors.ErrUnsupported) }}
			inBubble(t, cfg, func(r *rig) {
				r.warm()
				if tc.change != nil {
					r.log.set(func() { tc.change(r) })
				}
				caller := &fakeCaller{}
				m := tc.message
				m.Rule, m.Answerer, m.Token = AnyRule, caller, 5
				r.Take(&m)
				r.idle()
				got := caller.all()[5]
				var refusal *Refusal
				if caller.n != 1 || !errors.As(got.err, &refusal) || got.offset != -1 {
					t.Fatalf("told %+v in %d answers, want one refusal", got, caller.n)
				}
				if refusal.Code != tc.code || refusal.Temporary != tc.temporary || refusal.Error() != tc.text {
					t.Errorf("refused with %d, temporary %v, %q; want %d, %v, %q", refusal.Code, refusal.Temporary, refusal, tc.code, tc.temporary, tc.text)
				}
				if tc.cause != nil && !errors.Is(refusal, tc.cause) {
					t.Errorf("refusal %v does not wrap %v", refusal, tc.cause)
				}
				want := 0
				if tc.refused != "" {
					want = 1
				}
				if got := r.counted("headwater_bridge_refused_total", tc.refused); tc.refused != "" && got != want {
					t.Errorf("%d refusals were counted as %s, want 1", got, tc.refused)
				}
				if got := r.counted("headwater_bridge_refused_total"); got != want {
					t.Errorf("%d refusals were counted, want %d", got, want)
				}
				if got := r.counted("headwater_bridge_unmatched_total"); got != 1-want {
					t.Errorf("%d messages were counted as unmatched, want %d", got, 1-want)
				}
			})
		})
	}
}

// An Answerer is told of every refusal, also while more wait than NATS's may.
func TestAnswererIsToldOfEveryRefusal(t *testing.T) {
	inBubble(t, Config{}, func(r *rig) {
		const n = 50_000 // at 128 bytes more than what is kept of NATS's
		stuck := make(chan struct{})
		r.devices.publish = func(string) { <-stuck }
		r.take("telemetry..temp", "reply", "")
		synctest.Wait() // for the acker to be stuck with it
		caller := &fakeCaller{}
		for i := range n {
			r.Take(&Message{Rule: AnyRule, Subject: []byte("telemetry..temp"), Answerer: caller, Token: uint64(i)})
		}
		close(stuck)
		synctest.Wait()
		if got := len(caller.all()); got != n || caller.n != n {
			t.Errorf("%d of %d were told, in %d answers", got, n, caller.n)
		}
	})
}

// Without an answer, a message for any rule is kept as best can be done; when no rule
// takes it, it is counted.
func TestAnyRuleBestEffort(t *testing.T) {
	inBubble(t, Config{}, func(r *rig) {
		r.Take(&Message{Rule: AnyRule, Subject: []byte("telemetry.d1.temp"), Payload: []byte("20")})
		r.Take(&Message{Rule: AnyRule, Subject: []byte("plant.a.x.y"), Payload: []byte("1")}) // waits for its topic
		r.Take(&Message{Rule: AnyRule, Subject: []byte("other.x")})
		time.Sleep(time.Second)
		if got := len(r.log.values(t)); got != 2 {
			t.Errorf("%d records are stored, want 2", got)
		}
		if got := r.counted("headwater_bridge_unmatched_total"); got != 1 {
			t.Errorf("%d unmatched messages were counted, want 1", got)
		}
		for _, rule := range []string{"telemetry.>", "plant.*.>"} {
			if got := r.counted("headwater_bridge_messages_total", rule, "core"); got != 1 {
				t.Errorf("%s: %d messages were counted, want 1", rule, got)
			}
		}
	})
}

// Those who wait for an answer at the end get it, also when it is that nobody knows.
func TestAnswererAtTheEnd(t *testing.T) {
	inBubble(t, Config{StopTimeout: time.Second}, func(r *rig) {
		r.warm()
		r.log.hold()
		caller := &fakeCaller{}
		r.Take(&Message{Rule: AnyRule, Subject: []byte("telemetry.d1.temp"), Answerer: caller, Token: 1})
		if err := r.end(); !errors.Is(err, ErrUnconfirmed) {
			t.Errorf("Run: %v, want ErrUnconfirmed", err)
		}
		var refusal *Refusal
		if got := caller.all()[1]; !errors.As(got.err, &refusal) || !refusal.Temporary || !errors.Is(refusal, ErrUnconfirmed) {
			t.Errorf("told %+v, want that it is not confirmed", got)
		}
	})
}

// Messages may come from any goroutine: each is stored once, in the order of its own,
// and answered with its own place.
func TestTakeFromManyGoroutines(t *testing.T) {
	const publishers, each = 8, 500
	table, err := subject.Compile(testRules)
	if err != nil {
		t.Fatal(err)
	}
	log, caller := &fakeLog{}, &fakeCaller{}
	in := New(Config{BatchRecords: 50}, table, []string{"telemetry.>", "plant.*.>"}, log, &fakeDevices{}, discard, nil)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- in.Run(ctx) }()
	var all sync.WaitGroup
	for p := range publishers {
		all.Go(func() {
			for i := range each {
				n := p*each + i
				in.Take(&Message{Rule: AnyRule, Subject: []byte("telemetry.d1.temp"), Payload: []byte(strconv.Itoa(n)), Answerer: caller, Token: uint64(n)})
				if i%7 == 0 {
					in.Idle()
				}
			}
			in.Idle()
		})
	}
	all.Wait()
	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	values := log.values(t)
	if len(values) != publishers*each || len(caller.all()) != publishers*each {
		t.Fatalf("%d records and %d answers, want %d", len(values), len(caller.all()), publishers*each)
	}
	for token, got := range caller.all() {
		if want := strconv.FormatUint(token, 10); got.err != nil || values[got.offset] != want {
			t.Fatalf("message %s was told %+v, where %s is", want, got, values[got.offset])
		}
	}
	last := [publishers]int{}
	for _, v := range values {
		n, _ := strconv.Atoi(v)
		if n%each < last[n/each] {
			t.Fatalf("%d came behind a later one of its publisher", n)
		}
		last[n/each] = n % each
	}
}
