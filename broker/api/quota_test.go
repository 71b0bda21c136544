package api

import (
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/headwater/headwater/broker/quota"
)

func withRates(produce, fetch int64) func(*Config) {
	return func(c *Config) {
		c.Quotas = quota.NewLimiter(quota.Rates{quota.Produce: produce, quota.Fetch: fetch})
	}
}

// A produce request above the rate is taken and answered at once, with the time that
// its client has to wait; it then waits that long if it does not do so itself.
// Another client id, and what is not produced, is not kept waiting.
func TestProduceQuota(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBox(t, withRates(1000, 0))
		b.create(t, "press", 1, nil)
		p := &pipes{conns: make(chan net.Conn), closed: make(chan struct{})}
		b.serve(t, p)
		greedy, other, silent := p.dial(t), p.dial(t), p.dial(t)
		other.name, silent.name = "other", "silent"
		produce := func(c *client, size int) (throttle, took time.Duration) {
			start := time.Now()
			resp := call[*kmsg.ProduceResponse](t, c, produceRequest(-1, "press", 0, batch(1, size, 0)), 9)
			if part := resp.Topics[0].Partitions[0]; part.ErrorCode != 0 {
				t.Errorf("%v", code(part.ErrorCode))
			}
			return time.Duration(resp.ThrottleMillis) * time.Millisecond, time.Since(start)
		}
		if throttle, took := produce(greedy, 9000); throttle != 0 || took != 0 {
			t.Errorf("within the rate: throttled by %v, answered after %v", throttle, took)
		}
		throttle, took := produce(greedy, 3000)
		if throttle < 2100*time.Millisecond || throttle > 2300*time.Millisecond || took != 0 { // 12,000 bytes and some headers, 10,000 are free
			t.Errorf("above the rate: throttled by %v, answered after %v; want some 2.2s, at once", throttle, took)
		}
		if throttle, took := produce(other, 5000); throttle != 0 || took != 0 {
			t.Errorf("another client: throttled by %v, answered after %v", throttle, took)
		}
		if again, took := produce(greedy, 1); again == 0 || again > 200*time.Millisecond || took != throttle {
			t.Errorf("the next: throttled by %v, answered after %v; want little, after %v", again, took, throttle)
		}

		frame, _ := silent.frame(withAcks(produceRequest(0, "press", 0, batch(1, 13000, 0)), 9)) // gets no answer
		silent.conn.Write(frame)
		start := time.Now()
		if call[*kmsg.MetadataResponse](t, silent, metadataRequest(), 12); time.Since(start) < 3*second {
			t.Errorf("after a request without acks the next was answered after %v, want some 3s", time.Since(start))
		}
		if n := len(b.partition("press", 0).batches); n != 5 {
			t.Errorf("%d batches were appended, want all 5", n)
		}
	})
}

func withAcks(req *kmsg.ProduceRequest, version int16) *kmsg.ProduceRequest {
	req.Version = version
	return req
}

// A consumer above its rate gets records and throttle times in turns, never both in
// one answer (Java's client throws such an answer away), so that it comes to its rate
// over time; with a session and without.
func TestFetchQuota(t *testing.T) {
	for name, withSession := range map[string]bool{"session": true, "sessionless": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBox(t, withRates(0, 1000))
				b.create(t, "press", 1, nil)
				const batches = 300
				for range batches {
					b.fill(t, "press", 0, batch(1, 100, 0)) // of some 170 bytes
				}
				size := int64(batches * len(batch(1, 100, 0)))
				p := &pipes{conns: make(chan net.Conn), closed: make(chan struct{})}
				b.serve(t, p)
				greedy, other := p.dial(t), p.dial(t)
				other.name = "other"
				start, next, throttled := time.Now(), int64(0), 0
				var session, epoch int32
				if epoch = finalEpoch; withSession {
					epoch = wantsSession
				}
				for next < batches {
					req := inSession(fetchRequest(ask{"press", 0, next}), session, epoch)
					req.MaxWaitMillis = 500
					asked := time.Now()
					resp := call[*kmsg.FetchResponse](t, greedy, req, 12)
					if resp.ErrorCode != 0 {
						t.Fatalf("%v", code(resp.ErrorCode))
					}
					if resp.ThrottleMillis > 0 {
						throttled++
						if len(resp.Topics) != 0 || epoch > 0 && resp.SessionID != session {
							t.Errorf("throttled by %d ms: session %d, %d topics", resp.ThrottleMillis, resp.SessionID, len(resp.Topics))
						}
						if time.Since(asked) != 0 && throttled == 1 {
							t.Errorf("the first throttle time was told after %v", time.Since(asked))
						}
					}
					if withSession {
						session, epoch = resp.SessionID, epoch+1
					}
					for _, topic := range resp.Topics {
						if records := offsets(t, topic.Partitions[0].RecordBatches); len(records) > 0 {
							next = records[len(records)-1] + 1
						}
					}
				}
				took, least := time.Since(start), time.Duration(size-11000)*time.Millisecond // 10 s saved, and the last second's before it is paid
				if throttled < 10 || took < least || took > least+10*second {
					t.Errorf("%d bytes took %v and %d throttle times; want some %v", size, took, throttled, least)
				}
				start = time.Now()
				if got := fetch(t, other, fetchRequest(ask{"press", 0, 0}), 12); len(got[0].RecordBatches) < 9000 || time.Since(start) != 0 {
					t.Errorf("another client got %d bytes after %v", len(got[0].RecordBatches), time.Since(start))
				}
			})
		})
	}
}

// A consumer that owes time is told so also when nothing is new for it, and a long
// poll ends when another connection of its client has had too much.
func TestFetchQuotaIsTheClients(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBox(t, withRates(0, 1000))
		b.create(t, "press", 2, nil)
		b.fill(t, "press", 0, batch(1, 15000, 0))
		p := &pipes{conns: make(chan net.Conn), closed: make(chan struct{})}
		b.serve(t, p)
		waiting, greedy := p.dial(t), p.dial(t)
		req := inSession(fetchRequest(ask{"press", 1, 0}), 0, wantsSession)
		req.MaxWaitMillis = 30000
		frame, id := waiting.frame(req)
		waiting.conn.Write(frame)
		synctest.Wait()
		if got := fetch(t, greedy, fetchRequest(ask{"press", 0, 0}), 12); len(got[0].RecordBatches) < 15000 { // one batch, whatever its size
			t.Errorf("the first batch has %d bytes", len(got[0].RecordBatches))
		}
		b.partition("press", 1).Append(batch(1, 100, 0))
		resp, err := waiting.receive(req, id)
		if err != nil {
			t.Fatal(err)
		}
		got := resp.(*kmsg.FetchResponse)
		if got.ThrottleMillis < 5000 || got.ThrottleMillis > 5500 || len(got.Topics) != 0 || got.SessionID != 0 {
			t.Errorf("throttled by %d ms, session %d, %d topics; want some 5s and nothing", got.ThrottleMillis, got.SessionID, len(got.Topics))
		}
		start := time.Now()
		again := call[*kmsg.FetchResponse](t, waiting, req, 12)
		if len(again.Topics) != 1 || time.Since(start) != time.Duration(got.ThrottleMillis)*time.Millisecond {
			t.Errorf("afterwards: %d topics after %v, want one after %d ms", len(again.Topics), time.Since(start), got.ThrottleMillis)
		}
	})
}
