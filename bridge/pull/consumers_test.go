package pull

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
)

const durable = `"durable_name":"d","ack_policy":"explicit"`

// A fetch brings messages in order, with their subjects; acknowledged, they are done,
// and the group's committed offset says so.
func TestFetchAndAck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBox(t, Config{}, press(5, 20))
		b.consumer("d", durable)
		if at := b.committed("d"); at != 5 {
			t.Errorf("a new consumer has committed %d, want 5", at)
		}
		b.pull("d", "in", `{"batch":3,"expires":1000000000}`)
		got := b.want("in", "v5", "v6", "v7")
		if m := got[1]; m.subject != "plant.6" || !strings.HasPrefix(m.ackSubject, "$JS.ACK.press-0.d.1.7.2.6000000.") || !strings.HasSuffix(m.ackSubject, ".18") {
			t.Errorf("message %+v", m)
		}
		b.ack("+ACK", got[0], got[2])
		info := b.info("d")
		if info.AckFloor.Stream != 6 || info.AckFloor.Consumer != 1 || info.Delivered.Stream != 8 || info.Delivered.Consumer != 3 || info.NumAckPending != 1 || info.NumPending != 17 {
			t.Errorf("%+v", info)
		}
		b.passes(time.Second)
		if at := b.committed("d"); at != 6 {
			t.Errorf("committed %d, want 6", at)
		}
		b.ack("", got[1])
		b.passes(time.Second)
		if at := b.committed("d"); at != 8 {
			t.Errorf("committed %d, want 8", at)
		}
	})
}

// What nobody acknowledges in time comes again, as often as allowed; then those who
// listen to events are told, once, and it counts as done.
func TestRedelivery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBox(t, Config{}, press(0, 3))
		b.consumer("d", durable+`,"ack_wait":2000000000,"max_deliver":2`)
		b.pull("d", "in", `{"batch":10,"expires":60000000000}`)
		got := b.want("in", "v0", "v1", "v2")
		b.ack("+ACK", got[1])
		b.passes(1900 * time.Millisecond)
		b.want("in")
		b.passes(200 * time.Millisecond)
		again := b.want("in", "v0", "v2")
		if again[0].deliveries() != "2" || again[1].deliveries() != "2" {
			t.Errorf("deliveries %s and %s, want 2", again[0].deliveries(), again[1].deliveries())
		}
		if info := b.info("d"); info.NumRedelivered != 2 || info.NumAckPending != 2 {
			t.Errorf("%+v", info)
		}
		b.ack("+ACK", got[2]) // its first delivery's subject is as good
		b.passes(2100 * time.Millisecond)
		b.want("in")
		if events := b.get("$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.press-0.d"); len(events) != 1 || !strings.Contains(events[0].payload, `"stream_seq":1,"deliveries":2`) {
			t.Errorf("events %+v", events)
		}
		if n := testutil.ToFloat64(b.pulling.counts.exhausted); n != 1 {
			t.Errorf("%v messages are counted as given up, want 1", n)
		}
		if info := b.info("d"); info.AckFloor.Stream != 3 || info.NumAckPending != 0 {
			t.Errorf("%+v", info)
		}
	})
}

// Clients say when a message comes again, or never.
func TestNakProgressTerm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBox(t, Config{}, press(0, 4))
		b.consumer("d", durable+`,"ack_wait":2000000000`)
		b.pull("d", "in", `{"batch":20,"expires":60000000000}`)
		got := b.want("in", "v0", "v1", "v2", "v3")
		b.ack(`-NAK {"delay":5000000000}`, got[0])
		b.ack(`-NAK`, got[1])
		b.want("in", "v1")
		b.ack("+TERM broken", got[3])
		b.passes(1500 * time.Millisecond)
		b.ack("+WPI", got[2])
		b.passes(time.Second) // at 2.5 s: v1 is due, v2 until 3.5
		b.want("in", "v1")
		b.passes(1100 * time.Millisecond)
		b.want("in", "v2")
		b.ack("+ACK", got[1], got[2])
		b.passes(1500 * time.Millisecond) // at 5.1 s
		b.want("in", "v0")
		b.ack("+ACK", got[0])
		if info := b.info("d"); info.AckFloor.Stream != 4 || info.NumAckPending != 0 {
			t.Errorf("%+v", info)
		}
	})
}

// Backoff says how long a message is waited for, by how often it was given.
func TestBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBox(t, Config{}, press(0, 1))
		b.consumer("d", durable+`,"backoff":[1000000000,3000000000]`)
		b.pull("d", "in", `{"batch":20,"expires":60000000000}`)
		for _, wait := range []time.Duration{0, 1, 3, 3} {
			b.passes(wait*time.Second - min(1, wait))
			b.passes(1)
			b.want("in", "v0")
		}
	})
}

// As many messages wait for acknowledgements as max_ack_pending says; one that is
// acknowledged makes room.
func TestMaxAckPending(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBox(t, Config{}, press(0, 20))
		b.consumer("d", durable+`,"max_ack_pending":2`)
		b.pull("d", "in", `{"batch":10,"expires":60000000000}`)
		got := b.want("in", "v0", "v1")
		b.ack("+ACK", got[1])
		b.want("in", "v2")
		b.ack("-NAK", got[0]) // what comes again needs no room
		b.want("in", "v0")
	})
}

// Policy all: an acknowledgement is for what came before, too.
func TestAckAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBox(t, Config{}, press(0, 5))
		b.consumer("d", `"durable_name":"d","ack_policy":"all"`)
		b.pull("d", "in", `{"batch":5}`)
		got := b.want("in", "v0", "v1", "v2", "v3", "v4")
		b.ack("+ACK", got[2])
		if info := b.info("d"); info.AckFloor.Stream != 3 || info.NumAckPending != 2 {
			t.Errorf("%+v", info)
		}
	})
}

// How pulls end when there is nothing, and what they hear while they wait.
func TestPullsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := press(0, 2)
		b := newBox(t, Config{}, l)
		b.consumer("e", `"ack_policy":"none","inactive_threshold":3600000000000`)
		b.pull("e", "a", `{"batch":5,"no_wait":true}`)
		b.want("a", "v0", "v1", "404 No Messages")
		b.pull("e", "a", `{"no_wait":true}`)
		b.want("a", "404 No Messages")
		b.pull("e", "a", `{"batch":5,"no_wait":true,"expires":3000000000}`)
		b.want("a")
		b.reader.append(l, "plant.1", "late")
		synctest.Wait()
		b.want("a", "late", "404 No Messages")
		b.pull("e", "a", `{"batch":5,"expires":3000000000,"idle_heartbeat":1000000000}`)
		b.passes(2500 * time.Millisecond)
		beats := b.want("a", "100 Idle Heartbeat", "100 Idle Heartbeat")
		if want := "Nats-Last-Consumer: 3\r\nNats-Last-Stream: 3\r\n"; !strings.Contains(beats[0].headers, want) {
			t.Errorf("heartbeat %q, want %q", beats[0].headers, want)
		}
		b.passes(time.Second)
		if end := b.want("a", "408 Request Timeout"); !strings.Contains(end[0].headers, "Nats-Pending-Messages: 5\r\nNats-Pending-Bytes: 0\r\n") {
			t.Errorf("timeout %q", end[0].headers)
		}
		b.pull("e", "a", `{"batch":"many"}`)
		if got := b.get("a"); len(got) != 1 || !strings.HasPrefix(got[0].text(), "400 Bad Request - ") {
			t.Errorf("a bad pull: %+v", got)
		}
		b.pull("e", "a", `{"batch":`+strings.Repeat(" ", maxPullBytes)+`1}`)
		if got := b.get("a"); len(got) != 1 || !strings.HasPrefix(got[0].text(), "400 Bad Request - ") {
			t.Errorf("a pull without end: %+v", got)
		}
		long := strings.Repeat("i", maxInboxLen+1)
		b.pull("e", long, "")
		b.want(long)
		if info := b.info("e"); info.NumWaiting != 0 {
			t.Errorf("a pull with an inbox of any length waits: %+v", info)
		}
		b.pull("none", "a", "")
		b.want("a", "503")
	})
}

// Limits of a consumer's configuration for pulls.
func TestPullLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBox(t, Config{}, press(0, 0))
		b.consumer("d", durable+`,"max_batch":5,"max_expires":2000000000,"max_bytes":100,"max_waiting":1`)
		for request, want := range map[string]string{
			`{"batch":6}`:                      "409 Exceeded MaxRequestBatch of 5",
			`{"batch":1,"expires":3000000000}`: "409 Exceeded MaxRequestExpires of 2s",
			`{"batch":1,"max_bytes":101}`:      "409 Exceeded MaxRequestMaxBytes of 100",
		} {
			b.pull("d", "a", request)
			b.want("a", want)
		}
		b.pull("d", "first", `{"batch":5,"expires":2000000000}`)
		b.pull("d", "a", `{"batch":5}`)
		b.want("a", "409 Exceeded MaxWaiting")
		b.pull("d", "a", `{"batch":5,"expires":2000000000,"idle_heartbeat":1000000000}`)
		b.want("a") // silence: it waits for the heartbeat, and asks again then
		if n := testutil.ToFloat64(b.pulling.counts.delivered); n != 0 {
			t.Errorf("%v deliveries", n)
		}
	})
}

// A consumer gets what its filters take, with wildcards, and only headers if it says
// so. At the end of the log it knows that there is no more.
func TestFilters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBox(t, Config{}, press(0, 40))
		b.consumer("f", `"ack_policy":"explicit","filter_subjects":["plant.3","plant.7"],"headers_only":true`)
		b.pull("f", "a", `{"batch":100,"no_wait":true}`)
		got := b.get("a")
		if len(got) != 9 || got[8].text() != "404 No Messages" {
			t.Fatalf("got %d: %+v", len(got), got)
		}
		for i, m := range got[:8] {
			if want := fmt.Sprintf("plant.%d", []int{3, 7}[i%2]); m.subject != want || m.payload != "" || !strings.Contains(m.headers, "Nats-Msg-Size: ") {
				t.Errorf("message %d: %+v, want %s", i, m, want)
			}
		}
		if info := b.info("f"); info.Delivered.Stream != 40 || info.NumPending != 0 {
			t.Errorf("%+v", info)
		}
	})
}

// Where consumers begin.
func TestDeliverPolicies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := press(5, 20)
		b := newBox(t, Config{}, l)
		for policy, want := range map[string]string{
			`"deliver_policy":"all"`:                                                       "v5",
			`"deliver_policy":"last"`:                                                      "v24",
			`"deliver_policy":"last","filter_subject":"plant.2"`:                           "v22",
			`"deliver_policy":"by_start_sequence","opt_start_seq":10`:                      "v9",
			`"deliver_policy":"by_start_sequence","opt_start_seq":1`:                       "v5",
			`"deliver_policy":"by_start_time","opt_start_time":"1970-01-01T00:00:00.017Z"`: "v17",
			`"deliver_policy":"new"`:                                                       "404 No Messages",
		} {
			b.consumer("p", `"ack_policy":"none",`+policy)
			b.pull("p", "a", `{"no_wait":true}`)
			b.want("a", want)
			b.api("CONSUMER.DELETE.press-0.p", "")
		}
		b.consumer("p", `"ack_policy":"explicit","deliver_policy":"last_per_subject","filter_subjects":["plant.1","plant.2","plant.3"]`)
		if info := b.info("p"); info.AckFloor.Stream != 21 || info.NumPending != 3 {
			t.Errorf("%+v", info)
		}
		b.reader.append(l, "plant.2", "new")
		b.pull("p", "a", `{"batch":9,"no_wait":true}`)
		got := b.want("a", "v21", "v22", "v23", "new", "404 No Messages")
		b.ack("+ACK", got[:4]...)
		if info := b.info("p"); info.AckFloor.Stream != 26 || info.NumAckPending != 0 {
			t.Errorf("%+v", info)
		}
	})
}

// A pull that waits is served when something is appended; two that wait share it. Then
// nobody watches the partition.
func TestWaitingPullsShare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := press(0, 0)
		b := newBox(t, Config{}, l)
		b.consumer("d", durable)
		b.pull("d", "a", `{"batch":2,"expires":60000000000}`)
		b.pull("d", "b", `{"batch":2,"expires":60000000000}`)
		for i := range 4 {
			b.reader.append(l, "plant.1", fmt.Sprint(i))
			synctest.Wait()
		}
		b.want("a", "0", "2")
		b.want("b", "1", "3")
		b.passes(2 * tidyEvery)
		if n := b.reader.watching(); n != 0 {
			t.Errorf("%d watch a partition that nobody pulls from", n)
		}
	})
}

// A double acknowledgement is answered when it is durable, and not before; of one that
// is not durable, and what is done already, at once.
func TestDoubleAck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBox(t, Config{}, press(0, 10))
		b.consumer("d", durable)
		b.consumer("e", `"ack_policy":"explicit","inactive_threshold":3600000000000`)
		b.pull("d", "in", `{"batch":4}`)
		got := b.get("in")
		b.passes(5 * time.Second)
		b.positions.setHold(true)
		b.take(got[0].ackSubject, "confirm", "+ACK")
		b.passes(3 * time.Second)
		b.want("confirm")
		b.positions.letGo()
		synctest.Wait()
		b.want("confirm", "")
		if at := b.committed("d"); at != 1 {
			t.Errorf("answered with %d committed, want 1", at)
		}
		b.passes(5 * time.Second)
		b.take(got[0].ackSubject, "confirm", "+ACK")
		b.want("confirm", "")

		b.positions.setFail(errors.New("full"))
		b.take(got[1].ackSubject, "confirm", "+ACK")
		b.passes(3 * time.Second)
		b.want("confirm") // never: its client runs into its timeout
		b.positions.setFail(nil)
		b.passes(2 * time.Second)
		if at := b.committed("d"); at != 2 {
			t.Errorf("%d committed, want 2 once that is possible again", at)
		}

		b.pull("e", "in", `{"batch":1}`)
		b.take(b.get("in")[0].ackSubject, "confirm", "+TERM")
		b.want("confirm", "")
		never := strings.Replace(got[3].ackSubject, ".4.4.", ".9.9.", 1)
		b.take(never, "confirm", "+ACK")
		b.want("confirm") // it was never given
		b.take(got[2].ackSubject, "next", `+NXT {"batch":2}`)
		b.want("next", "v4", "v5")
	})
}

// What can be asked about consumers, and done to them.
func TestConsumerAPI(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBox(t, Config{Consumers: 3}, press(0, 10))
		b.consumer("d", durable)
		b.consumer("b", `"ack_policy":"none"`)
		unnamed := b.api("CONSUMER.CREATE.press-0", `{"stream_name":"press-0","config":{"ack_policy":"none","inactive_threshold":3600000000000}}`)
		if name, _ := unnamed["name"].(string); len(name) != 8 || unnamed["type"] != "io.nats.jetstream.api.v1.consumer_create_response" {
			t.Errorf("%v", unnamed)
		}
		if names := b.api("CONSUMER.NAMES.press-0", ""); fmt.Sprint(names["consumers"]) == "" || names["total"] != 3.0 {
			t.Errorf("%v", names)
		}
		if list := b.api("CONSUMER.LIST.press-0", `{"offset":2}`); len(list["consumers"].([]any)) != 1 || list["total"] != 3.0 {
			t.Errorf("%v", list)
		}
		if info := b.api("STREAM.INFO.press-0", ""); info["state"].(map[string]any)["consumer_count"] != 3.0 {
			t.Errorf("%v", info["state"])
		}
		create := func(action, config string) string {
			return `{"stream_name":"press-0","action":"` + action + `","config":{` + config + `}}`
		}
		for _, tc := range []struct{ subject, payload, want string }{
			{"CONSUMER.CREATE.press-0.x", create("", `"ack_policy":"none"`), "10026 "},
			{"CONSUMER.CREATE.press-0.d", create("create", durable+`,"description":"other"`), "10148 "},
			{"CONSUMER.CREATE.press-0.x", create("update", `"ack_policy":"none"`), "10149 "},
			{"CONSUMER.CREATE.press-0.d", create("", `"durable_name":"d","ack_policy":"all"`), "10012 consumer cannot be made: ack policy can not be updated"},
			{"CONSUMER.CREATE.press-0.d", create("", `"ack_policy":"explicit"`), "10012 consumer cannot be made: durable name can not be updated"},
			{"CONSUMER.CREATE.press-0.other", create("", durable), "10017 "},
			{"CONSUMER.CREATE.press-0.x.plant.1", create("", `"ack_policy":"none"`), "10131 "},
			{"CONSUMER.CREATE.press-0.x.plant.1", create("", `"ack_policy":"none","filter_subjects":["plant.1"]`), "10137 "},
			{"CONSUMER.CREATE.press-1.x", create("", `"ack_policy":"none"`), "10056 "},
			{"CONSUMER.CREATE.none-0.x", `{"stream_name":"none-0","config":{"ack_policy":"none"}}`, "10059 "},
			{"CONSUMER.CREATE.press-0", create("", durable), "10020 "},
			{"CONSUMER.DURABLE.CREATE.press-0.x", create("", `"ack_policy":"none"`), "10018 "},
			{"CONSUMER.CREATE.press-0.x", create("", `"deliver_subject":"y"`), "10112 push consumers are not served here"},
			{"CONSUMER.CREATE.press-0.x", "{", "10025 "},
			{"CONSUMER.CREATE.press-0.x", create("replace", ""), "10003 "},
			{"CONSUMER.INFO.press-0.x", "", "10014 "},
			{"CONSUMER.INFO.none-0.x", "", "10059 "},
			{"CONSUMER.DELETE.press-0.x", "", "10014 "},
			{"CONSUMER.PAUSE.press-0.d", `{"pause_until":"2030-01-01T00:00:00Z"}`, "10074 consumers are not paused here"},
			{"CONSUMER.RESET.press-0.d", "", "10204 "},
			{"CONSUMER.UNPIN.press-0.d", "", "10160 "},
			{"CONSUMER.LEADER.STEPDOWN.press-0.d", "", "10006 "},
		} {
			if got := b.refused(tc.subject, tc.payload); !strings.HasPrefix(got, tc.want) {
				t.Errorf("%s %s: %s, want %s", tc.subject, tc.payload, got, tc.want)
			}
		}
		b.api("CONSUMER.CREATE.press-0.d", create("create", durable)) // the same: no change
		if got := b.api("CONSUMER.DURABLE.CREATE.press-0.d", create("", durable+`,"filter_subject":"plant.4"`)); got["error"] != nil {
			t.Errorf("an update: %v", got)
		}
		b.pull("d", "in", `{"batch":9,"no_wait":true}`)
		b.want("in", "v4", "404 No Messages")
		if at, _ := b.positions.get("d", "press", 0); !strings.Contains(at.metadata, `"filter_subject":"plant.4"`) {
			t.Errorf("the update is not committed: %s", at.metadata)
		}
		b.pull("d", "in", `{"batch":9,"expires":60000000000}`)
		if got := b.api("CONSUMER.DELETE.press-0.d", ""); got["success"] != true {
			t.Errorf("%v", got)
		}
		b.want("in", "409 Consumer Deleted")
		if at := b.committed("d"); at != -1 {
			t.Errorf("the group of a deleted consumer has offset %d", at)
		}
	})
}

// A shorter ack_wait holds for what is waited for already, a longer one does not.
func TestUpdateOfAckWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBox(t, Config{}, press(0, 2))
		b.consumer("d", durable)
		b.pull("d", "in", `{"batch":9,"expires":60000000000}`)
		b.want("in", "v0", "v1")
		b.consumer("d", durable+`,"ack_wait":2000000000`)
		b.passes(1900 * time.Millisecond)
		b.want("in")
		b.passes(200 * time.Millisecond)
		b.want("in", "v0", "v1")
		b.consumer("d", durable+`,"ack_wait":20000000000`)
		b.passes(2 * time.Second)
		b.want("in", "v0", "v1")
	})
}

// A durable consumer's offset is committed again from time to time, so that it does
// not expire while the box runs.
func TestRefresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBox(t, Config{RefreshPositions: time.Hour}, press(0, 1))
		b.consumer("d", durable)
		before := b.positions.count()
		b.passes(5*time.Hour + time.Minute)
		if n := b.positions.count() - before; n != 5 {
			t.Errorf("%d commits in five hours, want 5", n)
		}
	})
}

// What cannot be sent is not lost: the record comes with the next pull, in its order
// and, where nothing is acknowledged, without a gap.
func TestUnsentComesAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBox(t, Config{}, press(0, 3))
		for _, policy := range []string{"none", "explicit"} {
			b.consumer(policy, `"ack_policy":"`+policy+`","inactive_threshold":3600000000000`)
			b.wire.failWith(errors.New("down"))
			b.pull(policy, "in", `{"batch":3,"expires":60000000000}`)
			b.wire.failWith(nil)
			b.passes(2 * time.Second)
			b.want("in") // that pull is over
			b.pull(policy, "in", `{"batch":3,"expires":60000000000}`)
			for _, m := range b.want("in", "v0", "v1", "v2") {
				if m.deliveries() != "1" {
					t.Errorf("%s: %+v, want a first delivery", policy, m)
				}
			}
		}
	})
}

// A client whose connection takes nothing holds up its own consumer alone.
func TestSlowClientHurtsItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBox(t, Config{}, press(0, 3))
		b.consumer("slow", `"ack_policy":"none","inactive_threshold":3600000000000`)
		b.consumer("quick", `"ack_policy":"none","inactive_threshold":3600000000000`)
		blocked := make(chan struct{})
		b.wire.block["stuck"] = blocked
		b.pull("slow", "stuck", `{"batch":3}`)
		b.pull("quick", "in", `{"batch":3}`)
		b.want("in", "v0", "v1", "v2")
		close(blocked)
		synctest.Wait()
		b.want("stuck", "v0", "v1", "v2")
	})
}

// What consumers may hold all together is bounded; each gets a few all the same.
func TestPendingBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBox(t, Config{PendingAcks: 40, WaitingPulls: 3}, press(0, 100))
		b.consumer("a", `"ack_policy":"explicit","inactive_threshold":3600000000000`)
		b.consumer("b", `"ack_policy":"explicit","inactive_threshold":3600000000000`)
		b.pull("a", "in", `{"batch":100}`)
		got := b.get("in")
		if len(got) != 40 {
			t.Fatalf("%d messages, want 40", len(got))
		}
		b.pull("b", "other", `{"batch":100}`)
		if n := len(b.get("other")); n != assuredAcks {
			t.Errorf("%d messages, want %d", n, assuredAcks)
		}
		b.pull("b", "x", `{"batch":1}`)
		b.pull("b", "y", `{"batch":1}`)
		b.want("y", "409 Exceeded MaxWaiting")
		b.ack("+ACK", got...)
		if n := len(b.get("in")); n == 0 {
			t.Error("acknowledgements make no room")
		}
	})
}

// A pull whose client is gone is dropped, and brings nothing to nobody.
func TestNobodyListens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := press(0, 0)
		var gone atomic.Bool
		b := newBox(t, Config{Interest: func(string) bool { return !gone.Load() }}, l)
		b.consumer("e", `"ack_policy":"none","inactive_threshold":3600000000000`)
		b.pull("e", "in", `{"batch":1}`)
		gone.Store(true)
		b.passes(2 * time.Second)
		b.reader.append(l, "plant.1", "x")
		synctest.Wait()
		b.want("in")
		if info := b.info("e"); info.NumWaiting != 0 || info.Delivered.Consumer != 0 {
			t.Errorf("%+v", info)
		}
	})
}

// Many consumers with one worker: each gets its share of turns.
func TestTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := press(0, 5000)
		b := newBox(t, Config{ConsumerWorkers: 1}, l)
		b.reader.perRead = 5000
		for i := range 3 {
			b.consumer(fmt.Sprint("c", i), `"ack_policy":"none","inactive_threshold":3600000000000`)
		}
		for i := range 3 {
			b.Take(&Request{Subject: fmt.Appendf(nil, "$JS.API.CONSUMER.MSG.NEXT.press-0.c%d", i), Reply: []byte("in"), Payload: []byte(`{"batch":5000}`)})
		}
		synctest.Wait()
		got := b.get("in")
		if len(got) != 15000 {
			t.Fatalf("%d messages, want 15000", len(got))
		}
		seen := map[string]bool{}
		for _, m := range got[:3*turnDeliveries] {
			seen[strings.Split(m.ackSubject, ".")[3]] = true
		}
		if len(seen) != 3 {
			t.Errorf("the first turns were those of %v, want all three consumers", seen)
		}
	})
}
