package pull

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
)

// Where a Kafka tool puts the committed offset, a consumer goes on, and keeps its
// configuration.
func TestResetByKafka(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBox(t, Config{}, press(0, 10))
		b.consumer("d", durable+`,"max_deliver":7`)
		b.pull("d", "in", `{"batch":9}`)
		b.ack("+ACK", b.get("in")...)
		b.passes(2 * time.Second)
		b.positions.set("d", "press", 0, 3, "")
		b.passes(tidyEvery)
		b.pull("d", "in", `{"batch":2}`)
		b.want("in", "v3", "v4")
		b.positions.set("d", "press", 0, 8, "")
		b.stop()
		b.start()
		b.pull("d", "in", `{"batch":9,"no_wait":true}`)
		b.want("in", "v8", "v9", "404 No Messages")
		if info := b.info("d"); info.Config.MaxDeliver != 7 {
			t.Errorf("%+v", info.Config)
		}
	})
}

// Where retention was faster than a consumer, it goes on with what there is, and the
// loss is counted.
func TestLateForRetention(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := press(0, 30)
		b := newBox(t, Config{}, l)
		b.consumer("d", durable)
		b.pull("d", "in", `{"batch":3}`)
		b.get("in")
		b.reader.mu.Lock()
		l.start, l.records = 10, l.records[10:]
		b.reader.mu.Unlock()
		b.pull("d", "in", `{"batch":2}`)
		b.want("in", "v10", "v11")
		if n := testutil.ToFloat64(b.pulling.counts.missed); n != 10 {
			t.Errorf("%v records are counted as missed, want 10", n)
		}
		b.passes(40 * time.Second)
		if info := b.info("d"); info.AckFloor.Stream != 10 {
			t.Errorf("%+v", info)
		}
	})
}

// A record that was to come again and is gone from within the log is not waited for.
func TestCompactedAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := press(0, 10)
		b := newBox(t, Config{}, l)
		b.consumer("d", durable)
		b.pull("d", "in", `{"batch":4}`)
		b.get("in")
		b.reader.mu.Lock()
		l.without(1, 2)
		b.reader.mu.Unlock()
		b.passes(31 * time.Second)
		b.pull("d", "in", `{"batch":3}`)
		b.want("in", "v0", "v3", "v4")
		if info := b.info("d"); info.NumAckPending != 3 {
			t.Errorf("%+v", info)
		}
	})
}

// A consumer of a topic that is deleted goes with it; one of a partition that is
// offline waits.
func TestTopicDeleted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := press(0, 2)
		b := newBox(t, Config{}, l)
		b.consumer("d", durable)
		b.reader.mu.Lock()
		l.err = errors.New("offline")
		b.reader.mu.Unlock()
		b.pull("d", "in", `{"batch":1,"expires":60000000000}`)
		b.passes(5 * time.Second)
		b.want("in")
		b.reader.mu.Lock()
		l.err = nil
		b.reader.mu.Unlock()
		b.passes(2 * time.Second)
		b.want("in", "v0")
		b.reader.mu.Lock()
		b.reader.logs = nil
		b.reader.mu.Unlock()
		b.pull("d", "in", `{"batch":1,"expires":60000000000}`)
		b.want("in", "409 Consumer Deleted")
	})
}

// Consumers of a deleted topic go also when nobody pulls. One that is ahead of a topic
// that was made anew waits, and can be deleted.
func TestTopicMadeAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBox(t, Config{}, press(0, 20))
		b.consumer("d", durable)
		b.pull("d", "in", `{"batch":15}`)
		b.get("in")
		b.reader.mu.Lock()
		b.reader.logs = []*fakeLog{press(0, 3)}
		b.reader.mu.Unlock()
		b.pull("d", "in", `{"batch":15,"expires":2000000000}`)
		b.passes(3 * time.Second)
		b.want("in", "408 Request Timeout")
		b.reader.mu.Lock()
		b.reader.logs = nil
		b.reader.mu.Unlock()
		b.passes(tidyEvery)
		if n := b.consumers(stream{name: "press-0"}); n != 0 {
			t.Errorf("%d consumers of a topic that is deleted", n)
		}
	})
}

// A message that NATS would not take comes without its payload, and says its size.
func TestTooLargeForNATS(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := press(0, 1)
		b := newBox(t, Config{MaxPayload: 1000}, l)
		b.reader.append(l, "plant.1", strings.Repeat("x", 1000))
		b.consumer("d", durable)
		b.pull("d", "a", `{"batch":2}`)
		got := b.want("a", "v0", "")
		if !strings.Contains(got[1].headers, "hw-subject: plant.1\r\nNats-Msg-Size: 1000\r\n\r\n") {
			t.Errorf("headers %q", got[1].headers)
		}
		if n := testutil.ToFloat64(b.pulling.counts.cut); n != 1 {
			t.Errorf("%v messages are counted as cut, want 1", n)
		}
	})
}
