package ingest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// When the log is stuck, memory stays below the limit; every message is stored,
// or counted as dropped, or refused and told so.
func TestBufferLimit(t *testing.T) {
	const limit = 256 << 10
	inBubble(t, Config{BufferBytes: limit}, func(r *rig) {
		r.warm()
		r.log.hold()
		const n = 2000 // of each kind
		value := strings.Repeat("v", 300)
		for i := range n {
			r.core("telemetry.d1.temp", value)
			r.take("telemetry.d1.temp", fmt.Sprint("reply.", i), value)
			if got := r.buffered(); got > limit {
				t.Fatalf("%d bytes are buffered after %d messages, the limit is %d", got, 2*i, limit)
			}
			if i%10 == 0 {
				r.idle()
			}
		}
		synctest.Wait()
		if got := r.buffered(); got < limit*9/10 {
			t.Errorf("only %d bytes of %d are used", got, limit)
		}
		r.log.set(func() { r.log.heldBack = false })
		r.log.release()
		time.Sleep(time.Second)
		synctest.Wait()

		codes := r.devices.errCodes(t)
		ok, refused := 0, 0
		for reply, code := range codes {
			switch code {
			case 0:
				ok++
			case 10023:
				refused++
			default:
				t.Errorf("%s was answered with error %d", reply, code)
			}
		}
		dropped := r.counted("headwater_bridge_dropped_total", "telemetry.>", "buffer_full")
		stored := len(r.log.values(t))
		if len(codes) != n || refused == 0 || dropped == 0 || stored != 2*n-refused-dropped || ok != n-refused {
			t.Errorf("of %d and %d: stored %d, acked %d, refused %d, dropped %d", n, n, stored, ok, refused, dropped)
		}
		if got := r.counted("headwater_bridge_refused_total", "telemetry.>", "buffer_full"); got != refused {
			t.Errorf("%d refusals were counted, %d were answered", got, refused)
		}
		if got := r.buffered(); got != 0 {
			t.Errorf("%d bytes are still counted as buffered", got)
		}
	})
}

// A message that can never be stored is refused as such, alone: its neighbours
// are stored. Without a reply it is dropped and counted.
func TestBadMessagesHurtNobodyElse(t *testing.T) {
	for name, tc := range map[string]struct {
		message Message
		code    int
		label   string
	}{
		"headers without a version": {Message{Subject: []byte("telemetry.d1"), Headers: []byte("A: b\r\n\r\n")}, 10003, "bad_headers"},
		"headers cut short":         {Message{Subject: []byte("telemetry.d1"), Headers: []byte("NATS/1.0\r\nA: b\r\n")}, 10003, "bad_headers"},
		"header without a name":     {Message{Subject: []byte("telemetry.d1"), Headers: []byte("NATS/1.0\r\n: b\r\n\r\n")}, 10003, "bad_headers"},
		"header that is not UTF-8":  {Message{Subject: []byte("telemetry.d1"), Headers: []byte("NATS/1.0\r\n\xff: b\r\n\r\n")}, 10003, "bad_headers"},
		"many headers":              {Message{Subject: []byte("telemetry.d1"), Headers: []byte("NATS/1.0\r\n" + strings.Repeat("A:\r\n", 257) + "\r\n")}, 10097, "headers_too_large"},
		"large headers":             {Message{Subject: []byte("telemetry.d1"), Headers: []byte("NATS/1.0\r\nA:" + strings.Repeat("a", 65<<10) + "\r\n\r\n")}, 10097, "headers_too_large"},
		"large":                     {Message{Subject: []byte("telemetry.d1"), Payload: make([]byte, 1<<20)}, 10054, "too_large"},
		"bad topic":                 {Message{Rule: 1, Subject: []byte("plant./.x")}, 10003, "unroutable"},
		"empty token":               {Message{Subject: []byte("telemetry..x")}, 10003, "unroutable"},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, Config{}, func(r *rig) {
				r.warm()
				r.take("telemetry.d1.a", "reply.before", "before")
				m := tc.message
				r.Take(&m)
				m.Reply = []byte("reply.bad")
				r.Take(&m)
				r.take("telemetry.d1.b", "reply.after", "after")
				r.idle()
				if got := r.log.values(t); !slices.Equal(got, []string{"before", "after"}) {
					t.Errorf("stored %q, want the neighbours", got)
				}
				want := map[string]int{"reply.before": 0, "reply.bad": tc.code, "reply.after": 0}
				if got := r.devices.errCodes(t); !maps.Equal(got, want) {
					t.Errorf("answers %v, want %v", got, want)
				}
				dropped, refused := r.counted("headwater_bridge_dropped_total", tc.label), r.counted("headwater_bridge_refused_total", tc.label)
				if dropped != 1 || refused != 1 {
					t.Errorf("%s: dropped %d, refused %d, want 1 and 1", tc.label, dropped, refused)
				}
			})
		})
	}
}

// The largest message that is taken makes a batch that the broker takes.
func TestLargestMessage(t *testing.T) {
	const limit = 1<<20 + 12
	inBubble(t, Config{}, func(r *rig) {
		r.warm()
		for size := limit - 200; size < limit; size++ {
			r.take("telemetry.d1.temp", fmt.Sprint("reply.", size), strings.Repeat("v", size))
			r.idle()
		}
		batches := r.log.all()
		if len(batches) == 0 || len(batches) == 200 {
			t.Fatalf("%d of 200 sizes around the limit were taken", len(batches))
		}
		if largest := len(batches[len(batches)-1].batch); largest > limit || largest < limit-100 {
			t.Errorf("the largest batch has %d bytes, the limit is %d", largest, limit)
		}
	})
}

var errNoRoom = errors.New("no room")

// A batch that the log refuses is told to all of it, in JetStream's form, and
// does not stop the next.
func TestAppendFails(t *testing.T) {
	for name, tc := range map[string]struct {
		err   error
		code  int
		label string
		text  string
	}{
		"for now": {
			errDisk, 10077, "store_failed",
			`{"error":{"code":503,"err_code":10077,"description":"store failed: disk broke"},"stream":"telemetry-0","seq":0}`,
		},
		"full": {
			fmt.Errorf("t-0: %w", errNoRoom), 10047, "storage_full",
			`{"error":{"code":503,"err_code":10047,"description":"insufficient storage resources available: t-0: no room"},"stream":"telemetry-0","seq":0}`,
		},
		"for ever": {
			fmt.Errorf("no such %w", errors.ErrUnsupported), 10003, "never_stored",
			`{"error":{"code":400,"err_code":10003,"description":"bad request: no such unsupported operation"},"stream":"telemetry-0","seq":0}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := Config{
				Permanent: func(err error) bool { return errors.Is(err, errors.ErrUnsupported) },
				Full:      func(err error) bool { return errors.Is(err, errNoRoom) },
			}
			inBubble(t, cfg, func(r *rig) {
				r.warm()
				r.log.set(func() { r.log.fail = tc.err })
				r.core("telemetry.d1.temp", "1")
				r.core("telemetry.d1.temp", "2")
				r.take("telemetry.d1.temp", "reply.1", "3")
				r.idle()
				if got := r.devices.all(); len(got) != 1 || got[0].text != tc.text {
					t.Errorf("answers %v\nwant %s", got, tc.text)
				}
				if got := r.counted("headwater_bridge_dropped_total", "telemetry.>", tc.label); got != 2 {
					t.Errorf("%d dropped messages were counted, want 2", got)
				}
				if got := r.counted("headwater_bridge_refused_total", "telemetry.>", tc.label); got != 1 {
					t.Errorf("%d refused messages were counted, want 1", got)
				}
				r.log.set(func() { r.log.fail = nil })
				r.take("telemetry.d1.temp", "reply.2", "4")
				r.idle()
				if got := r.devices.errCodes(t)["reply.2"]; got != 0 || len(r.devices.all()) != 2 {
					t.Errorf("after the log recovered: %v", r.devices.all())
				}
			})
		})
	}
}

// An answer that cannot be sent is counted, and keeps nobody else from theirs.
func TestUnanswered(t *testing.T) {
	inBubble(t, Config{}, func(r *rig) {
		r.warm()
		r.devices.fail = errors.New("not connected")
		r.take("telemetry.d1.temp", "reply.1", "1")
		r.take("telemetry..temp", "reply.2", "2")
		r.idle()
		if got := r.counted("headwater_bridge_unanswered_total"); got != 2 {
			t.Errorf("%d unanswered messages were counted, want 2", got)
		}
		if got := r.buffered(); got != 0 {
			t.Errorf("%d bytes are still counted as buffered", got)
		}
	})
}

// While answers cannot be sent, refusals wait in bounded memory.
func TestRefusalsAreBounded(t *testing.T) {
	inBubble(t, Config{}, func(r *rig) {
		r.warm()
		stuck := make(chan struct{})
		r.devices.publish = func(string) { <-stuck }
		reply := strings.Repeat("r", 2000)
		const n = 5000
		r.take("telemetry..temp", reply, "")
		synctest.Wait() // for the acker to be stuck with it
		for range n - 1 {
			r.take("telemetry..temp", reply, "")
		}
		synctest.Wait()
		r.acker.mu.Lock()
		waiting := len(r.acker.refusals)
		r.acker.mu.Unlock()
		if waiting > 1000 || waiting < 900 {
			t.Errorf("%d refusals wait, want what fits 2 MiB", waiting)
		}
		close(stuck)
		synctest.Wait()
		if got := len(r.devices.all()) + r.counted("headwater_bridge_unanswered_total"); got != n {
			t.Errorf("%d are answered or counted as unanswered, want %d", got, n)
		}
	})
}

// Run's end: everything that was taken is sent off at once, awaited and answered.
func TestStopFlushesAndAnswers(t *testing.T) {
	inBubble(t, Config{}, func(r *rig) {
		r.warm()
		r.log.hold()
		asked := make(chan struct{})
		r.log.partitions = func(context.Context, string) (int32, error) { <-asked; return 4, nil }
		r.core("telemetry.d1.temp", "gathered")
		r.take("telemetry.d1.temp", "reply.1", "gathered")
		r.take("plant.a.x.y", "reply.2", "its topic is being asked for")
		r.core("plant.b.x.y", "so is this one's")
		var ended error
		over := make(chan struct{})
		go func() { ended = r.end(); close(over) }()
		synctest.Wait()
		if got := len(r.log.all()); got != 1 {
			t.Fatalf("%d batches were sent off, want 1", got)
		}
		close(asked)
		synctest.Wait()
		if got := len(r.log.all()); got != 3 {
			t.Fatalf("%d batches were sent off, want 3", got)
		}
		select {
		case <-over:
			t.Fatal("Run returned before the records were durable")
		default:
		}
		r.log.release()
		<-over
		if want := map[string]int{"reply.1": 0, "reply.2": 0}; ended != nil || !maps.Equal(r.devices.errCodes(t), want) {
			t.Errorf("Run: %v; answers %v", ended, r.devices.all())
		}
		if passed := time.Since(r.start); passed != 0 {
			t.Errorf("the end took %v, want no timer in it", passed)
		}
		r.take("telemetry.d1.temp", "reply.3", "too late")
		if got := r.counted("headwater_bridge_refused_total", "stopping"); got != 1 {
			t.Errorf("%d refusals after the end, want 1", got)
		}
	})
}

// A log that does not answer does not hold up the end for ever, and those who
// waited are told. What it says later hurts nobody.
func TestStopIsBounded(t *testing.T) {
	inBubble(t, Config{StopTimeout: 3 * time.Second}, func(r *rig) {
		r.warm()
		r.log.hold()
		r.log.partitions = func(ctx context.Context, _ string) (int32, error) { <-ctx.Done(); return 0, ctx.Err() }
		r.core("telemetry.d1.temp", "lost")
		r.take("telemetry.d1.temp", "reply.1", "lost")
		r.take("plant.a.x.y", "reply.2", "lost")
		err := r.end()
		if !errors.Is(err, ErrUnconfirmed) || !strings.HasPrefix(err.Error(), "3 messages") {
			t.Errorf("Run: %v, want 3 messages unconfirmed", err)
		}
		if passed := time.Since(r.start); passed != 3*time.Second {
			t.Errorf("the end took %v, want 3s", passed)
		}
		if want := map[string]int{"reply.1": 10077, "reply.2": 10077}; !maps.Equal(r.devices.errCodes(t), want) {
			t.Errorf("answers %v, want %v", r.devices.errCodes(t), want)
		}
		if got := r.counted("headwater_bridge_dropped_total", "unconfirmed"); got != 1 {
			t.Errorf("%d dropped messages were counted, want 1", got)
		}
		r.log.release()
		if len(r.acker.done) != 0 || len(r.devices.all()) != 2 {
			t.Errorf("after the log's late word: %d batches to answer and %d answers, want 0 and 2", len(r.acker.done), len(r.devices.all()))
		}
	})
}
