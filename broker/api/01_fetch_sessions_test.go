package api

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/headwater/headwater/broker/commitlog"
	"github.com/headwater/headwater/broker/wire"
)

// told lists what an answer has: its partitions with their errors and the bytes of
// their records.
func told(resp *kmsg.FetchResponse, name func(kmsg.FetchResponseTopic) string) string {
	var out []string
	for _, topic := range resp.Topics {
		for _, p := range topic.Partitions {
			s := fmt.Sprintf("%s-%d", name(topic), p.Partition)
			if p.ErrorCode != 0 {
				s += fmt.Sprintf(":%v", code(p.ErrorCode))
			}
			if len(p.RecordBatches) > 0 {
				s += "+"
			}
			out = append(out, s)
		}
	}
	return strings.Join(out, " ")
}

// A consumer with a session, over the wire, in the first version that has sessions,
// the last that names topics, and those that have ids: it names its partitions once,
// and is told news alone.
func TestFetchInASession(t *testing.T) {
	for _, version := range []int16{7, 12, 13, 17} {
		synctest.Test(t, func(t *testing.T) {
			b := newBox(t)
			press := b.create(t, "press", 39, nil)
			oven := b.create(t, "oven", 1, nil)
			b.fill(t, "press", 3, batch(1, 10, 0))
			names := map[[16]byte]string{press.ID: "press", oven.ID: "oven"}
			name := func(topic kmsg.FetchResponseTopic) string {
				if version < topicIDVersion {
					return topic.Topic
				}
				return names[topic.TopicID]
			}
			c := b.dial(t)
			var session, epoch int32
			poll := func(req *kmsg.FetchRequest, want string, wantWait time.Duration) {
				t.Helper()
				req.MaxWaitMillis = 5000
				req.SessionID, req.SessionEpoch = session, epoch
				start := time.Now()
				resp := call[*kmsg.FetchResponse](t, c, b.byID(req), version)
				if got := told(resp, name); got != want || resp.ErrorCode != 0 || time.Since(start) != wantWait {
					t.Errorf("version %d, epoch %d: %q, %v after %v; want %q after %v", version, epoch, got, code(resp.ErrorCode), time.Since(start), want, wantWait)
				}
				if epoch > 0 && resp.SessionID != session || resp.SessionID == 0 {
					t.Errorf("version %d, epoch %d: session %d, was %d", version, epoch, resp.SessionID, session)
				}
				session, epoch = resp.SessionID, epoch+1
			}
			var all []ask
			want := ""
			for i := range int32(39) {
				all = append(all, ask{"press", i, 0})
				want += fmt.Sprintf(" press-%d", i)
				if i == 3 {
					want += "+"
				}
			}
			poll(fetchRequest(all...), want[1:], 0)
			poll(fetchRequest(ask{"press", 3, 1}), "", 5*second) // it has read the one record
			time.AfterFunc(second, func() { b.partition("press", 20).Append(batch(1, 10, 0)) })
			poll(fetchRequest(), "press-20+", second)
			poll(fetchRequest(), "press-20+", 0) // it was not moved on
			poll(fetchRequest(ask{"press", 20, 1}, ask{"oven", 0, 0}), "oven-0", 5*second)
			time.AfterFunc(second, func() {
				p := b.partition("press", 7)
				p.mu.Lock()
				p.failRead = fmt.Errorf("press-7: %w", commitlog.ErrOffline)
				p.mu.Unlock()
				p.sync()
			})
			poll(fetchRequest(), "press-7:KAFKA_STORAGE_ERROR", second)
			forget := kmsg.NewFetchRequestForgottenTopic()
			forget.Topic, forget.TopicID, forget.Partitions = "press", press.ID, []int32{7}
			req := fetchRequest()
			req.ForgottenTopics = append(req.ForgottenTopics, forget)
			poll(req, "", 5*second)
		})
	}
}

// A fetch that comes over a session while another still waits over it ends that one,
// with Kafka's error for an epoch that has passed.
func TestFetchOvertakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBox(t)
		b.create(t, "press", 1, nil)
		p := &pipes{conns: make(chan net.Conn), closed: make(chan struct{})}
		b.serve(t, p)
		first, second := p.dial(t), p.dial(t)
		begin := call[*kmsg.FetchResponse](t, first, inSession(fetchRequest(ask{"press", 0, 0}), 0, wantsSession), 12)
		waiting := inSession(fetchRequest(), begin.SessionID, 1)
		waiting.MaxWaitMillis = 30000
		frame, id := first.frame(waiting)
		first.conn.Write(frame)
		synctest.Wait()
		start := time.Now()
		if resp := call[*kmsg.FetchResponse](t, second, inSession(fetchRequest(), begin.SessionID, 2), 12); resp.ErrorCode != 0 {
			t.Errorf("the second: %v", code(resp.ErrorCode))
		}
		resp, err := first.receive(waiting, id)
		if err != nil {
			t.Fatal(err)
		}
		if got := resp.(*kmsg.FetchResponse); code(got.ErrorCode) != wire.InvalidFetchSessionEpoch || time.Since(start) != 0 {
			t.Errorf("the first: %v after %v", code(got.ErrorCode), time.Since(start))
		}
		if n := len(b.partition("press", 0).watchers); n != 0 {
			t.Errorf("%d watchers are left", n)
		}
	})
}

// Topics whose ids are not known, or no longer, are an error in each answer, until
// they are forgotten.
func TestFetchSessionOfDeletedTopic(t *testing.T) {
	b := newBox(t)
	press := b.create(t, "press", 1, nil)
	c := b.dial(t)
	begin := call[*kmsg.FetchResponse](t, c, inSession(b.byID(fetchRequest(ask{"press", 0, 0})), 0, wantsSession), 13)
	if err := b.solo.DeleteTopic(t.Context(), "press"); err != nil {
		t.Fatal(err)
	}
	b.create(t, "press", 1, nil) // another of that name
	for epoch := int32(1); epoch < 3; epoch++ {
		resp := call[*kmsg.FetchResponse](t, c, inSession(fetchRequest(), begin.SessionID, epoch), 13)
		if len(resp.Topics) != 1 || resp.Topics[0].TopicID != press.ID || code(resp.Topics[0].Partitions[0].ErrorCode) != wire.UnknownTopicID {
			t.Errorf("epoch %d: %+v", epoch, resp.Topics)
		}
	}
	resp := call[*kmsg.FetchResponse](t, c, inSession(fetchRequest(), begin.SessionID, 9), 13)
	if code(resp.ErrorCode) != wire.InvalidFetchSessionEpoch || resp.SessionID != 0 {
		t.Errorf("a wrong epoch: %v, session %d", code(resp.ErrorCode), resp.SessionID)
	}
	resp = call[*kmsg.FetchResponse](t, c, inSession(fetchRequest(), begin.SessionID, 3), 12)
	if code(resp.ErrorCode) != wire.FetchSessionTopicIDError {
		t.Errorf("without ids: %v", code(resp.ErrorCode))
	}
}
