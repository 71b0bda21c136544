package pull

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A durable consumer goes on where it was after a restart: what was acknowledged does
// not come again, what was not does, once its time has passed, and counts.
func TestRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBox(t, Config{}, press(0, 10))
		b.consumer("d", durable+`,"ack_wait":2000000000,"metadata":{"owner":"line 7"}`)
		b.consumer("e", `"ack_policy":"none"`)
		b.pull("d", "in", `{"batch":5}`)
		got := b.want("in", "v0", "v1", "v2", "v3", "v4")
		b.ack("+ACK", got[1], got[3])
		b.pull("d", "waits", `{"batch":5,"expires":60000000000,"max_bytes":1}`)
		b.get("waits")
		b.pull("e", "waits", `{"batch":50,"expires":60000000000}`)
		b.get("waits")
		b.stop()
		b.want("waits", "409 Server Shutdown")

		b.start()
		if info := b.info("d"); info.AckFloor.Stream != 0 || info.Delivered.Stream != 5 || info.NumAckPending != 3 || info.Config.Metadata["owner"] != "line 7" || info.Delivered.Consumer != 5 {
			t.Errorf("after a restart: %+v", info)
		}
		b.pull("d", "in", `{"batch":20,"expires":60000000000}`)
		b.want("in", "v5", "v6", "v7", "v8", "v9")
		b.ack("+ACK", got[0]) // of the earlier life
		b.passes(2100 * time.Millisecond)
		again := b.get("in")
		if len(again) < 2 || again[0].text() != "v2" || again[1].text() != "v4" || again[0].deliveries() != "2" {
			t.Errorf("came again: %+v", again)
		}
		if e := b.refused("CONSUMER.INFO.press-0.e", ""); e != "10014 consumer not found" {
			t.Errorf("one that is not durable: %s", e)
		}
	})
}

// A box that ends without a word commits nothing more. What was committed before does
// not come again, and no record is passed over.
func TestPowerCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBox(t, Config{}, press(0, 10))
		b.consumer("d", durable)
		b.pull("d", "in", `{"batch":4}`)
		got := b.want("in", "v0", "v1", "v2", "v3")
		b.ack("+ACK", got[0], got[1])
		b.passes(time.Second)
		b.ack("+ACK", got[2])
		cut := b.positions.copy()
		b.stop()
		b.positions = cut
		b.start()
		b.passes(31 * time.Second)
		b.pull("d", "in", `{"batch":10,"no_wait":true}`)
		b.want("in", "v2", "v3", "v4", "v5", "v6", "v7", "v8", "v9", "404 No Messages")
	})
}

// A name that Kafka consumers use is refused, and their offset is left alone.
func TestNameOfKafkaGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBox(t, Config{}, press(0, 10))
		b.positions.set("d", "other", 3, 42, "")
		e := b.refused("CONSUMER.CREATE.press-0.d", `{"stream_name":"press-0","config":{`+durable+`}}`)
		if !strings.Contains(e, "10012") || !strings.Contains(e, "Kafka consumer group, which has committed offset 42 of partition 3 of other") {
			t.Error(e)
		}
		b.positions.setFail(errors.New("the group has members"))
		e = b.refused("CONSUMER.CREATE.press-0.x", `{"stream_name":"press-0","config":{"durable_name":"x","ack_policy":"explicit"}}`)
		if !strings.Contains(e, "as consumer group x: the group has members") {
			t.Error(e)
		}
		if e := b.refused("CONSUMER.INFO.press-0.x", ""); e != "10014 consumer not found" {
			t.Errorf("it is there all the same: %s", e)
		}
	})
}

// While the disk stands still, whoever makes a consumer waits for it and no longer than
// that is sensible; the next one is told to come again.
func TestMakingOnAStalledDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBox(t, Config{}, press(0, 10))
		b.positions.setHold(true)
		b.take("$JS.API.CONSUMER.CREATE.press-0.d", "first", `{"stream_name":"press-0","config":{`+durable+`}}`)
		b.take("$JS.API.CONSUMER.CREATE.press-0.e", "second", `{"stream_name":"press-0","config":{"ack_policy":"none"}}`)
		b.passes(makingTimeout + time.Millisecond)
		if got := b.get("second"); len(got) != 1 || !strings.Contains(got[0].payload, `"err_code":10023`) {
			t.Errorf("the second: %+v", got)
		}
		b.passes(commitTimeout)
		if got := b.get("first"); len(got) != 1 || !strings.Contains(got[0].payload, `"err_code":10012`) {
			t.Errorf("the first: %+v", got)
		}
		b.positions.letGo()
		b.consumer("d", durable) // what was committed late is in nobody's way
	})
}

// Pulls and acknowledgements that come before consumers are loaded are done then.
func TestBeforeLoaded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBox(t, Config{}, press(0, 10))
		b.consumer("d", durable)
		b.pull("d", "in", `{"batch":2}`)
		got := b.get("in")
		b.stop()
		b.positions.setLoading(errFakeLoading)
		b.start()
		b.take(got[0].ackSubject, "", "+ACK")
		b.pull("d", "in", `{"batch":2}`)
		b.want("in")
		if e := b.refused("CONSUMER.INFO.press-0.d", ""); !strings.HasPrefix(e, "10008") {
			t.Error(e)
		}
		b.positions.setLoading(nil)
		b.passes(2 * loadEvery)
		b.want("in", "v2", "v3")
		if info := b.info("d"); info.AckFloor.Stream != 1 {
			t.Errorf("%+v", info)
		}
	})
}

// A consumer that is not durable goes when nobody uses it; one that is stays.
func TestInactivity(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBox(t, Config{}, press(0, 1))
		b.consumer("d", durable)
		b.consumer("e", `"ack_policy":"none","inactive_threshold":10000000000`)
		b.pull("e", "in", `{"batch":9,"expires":30000000000}`)
		b.passes(39 * time.Second)
		b.info("e")
		if n := b.consumers(stream{name: "press-0"}); n != 2 {
			t.Fatalf("%d consumers, want 2", n)
		}
		b.passes(2 * time.Second)
		if e := b.refused("CONSUMER.INFO.press-0.e", ""); !strings.HasPrefix(e, "10014") {
			t.Error(e)
		}
		b.passes(time.Hour)
		b.info("d")
	})
}

// Where there are no durable consumers, whoever wants one is told why, and the others
// wait for nobody's positions.
func TestNoDurable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBox(t, Config{NoDurable: "durable consumers in a region"}, press(0, 3))
		b.stop()
		b.positions.loading = errors.New("the coordinator is elsewhere")
		b.start()
		b.consumer("e", `"ack_policy":"none"`)
		b.pull("e", "in", `{"batch":3}`)
		b.want("in", "v0", "v1", "v2")
		got := b.refused("CONSUMER.CREATE.press-0.d", `{"stream_name":"press-0","config":{"name":"d",`+durable+`}}`)
		if !strings.HasPrefix(got, "10074 ") || !strings.Contains(got, "durable consumers in a region") || b.positions.commits > 0 {
			t.Errorf("told %q, %d commits", got, b.positions.commits)
		}
	})
}
