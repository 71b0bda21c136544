package ingest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/headwater/headwater/bridge/subject"
)

// padded is a value that tells its number, n bytes long.
func padded(i, n int) string {
	number := strconv.Itoa(i)
	return number + strings.Repeat(" ", n-len(number))
}

func numbers(t testing.TB, values []string) (numbers []int) {
	t.Helper()
	for _, v := range values {
		n, err := strconv.Atoi(strings.TrimSpace(v))
		if err != nil {
			t.Fatal(err)
		}
		numbers = append(numbers, n)
	}
	return numbers
}

// While the log stands still, the newest best-effort messages take the place of the
// oldest that the log does not have yet: what is missing at the end is one stretch
// between what the log had and the newest, and every one of it was counted.
func TestOldestBestEffortGoFirst(t *testing.T) {
	const limit, n = 256 << 10, 3000
	inBubble(t, Config{BufferBytes: limit, BatchBytes: 8 << 10}, func(r *rig) {
		r.warm()
		r.log.hold()
		for i := range n {
			r.core("telemetry.d1.temp", padded(i, 300))
			if i%10 == 0 {
				r.idle()
			}
			if got := r.buffered(); got > limit {
				t.Fatalf("%d bytes are buffered after %d messages, the limit is %d", got, i, limit)
			}
		}
		synctest.Wait()
		had := len(r.log.values(t))
		r.log.goOn()
		time.Sleep(time.Second)
		synctest.Wait()
		stored := numbers(t, r.log.values(t))
		if had == 0 || len(stored) <= had {
			t.Fatalf("the log had %d records before it went on, and has %d", had, len(stored))
		}
		want := make([]int, 0, n)
		for i := range had {
			want = append(want, i)
		}
		for i := n - (len(stored) - had); i < n; i++ {
			want = append(want, i)
		}
		if !slices.Equal(stored, want) {
			t.Errorf("stored %v, want the first %d and the newest", stored, had)
		}
		if got := r.counted("headwater_bridge_dropped_total", "telemetry.>", "buffer_full"); got != n-len(stored) {
			t.Errorf("%d dropped messages were counted, %d are missing", got, n-len(stored))
		}
		if got := r.buffered(); got != 0 {
			t.Errorf("%d bytes are still counted as buffered", got)
		}
	})
}

// Best-effort messages make room for those that somebody waits for, also out of the
// batches that they share: those all keep their order and their places, and what is
// missing is counted for its rule.
func TestBestEffortMakesRoomForAcked(t *testing.T) {
	rules := []subject.Rule{{Subject: "telemetry.>", Topic: "shared"}, {Subject: "plant.>", Topic: "shared"}}
	const limit, n = 256 << 10, 1800 // of which those that somebody waits for have room
	inBubbleBy(t, rules, Config{BufferBytes: limit, BatchBytes: 8 << 10}, func(r *rig) {
		r.core("telemetry.warm.up", "-1")
		time.Sleep(time.Second)
		synctest.Wait()
		r.log.hold()
		caller := &fakeCaller{}
		sent := map[string]int{"telemetry.": 1}
		for i := range n {
			subject := []string{"telemetry.", "plant."}[i/3%2]
			switch i % 12 {
			case 4:
				r.take(subject+"x", "reply."+strconv.Itoa(i), padded(i, 300))
			case 7:
				r.Take(&Message{Rule: AnyRule, Subject: []byte(subject + "x"), Payload: []byte(padded(i, 300)), Answerer: caller, Token: uint64(i)})
			default:
				r.core(subject+"x", padded(i, 300))
				sent[subject]++
			}
			if i%50 == 0 {
				r.idle()
			}
		}
		synctest.Wait()
		r.log.goOn()
		time.Sleep(time.Second)
		synctest.Wait()
		stored := numbers(t, r.log.values(t))
		if !slices.IsSorted(stored) {
			t.Errorf("stored in another order than taken: %v", stored)
		}
		for _, a := range r.devices.all() {
			i, _ := strconv.Atoi(strings.TrimPrefix(a.reply, "reply."))
			if at := slices.Index(stored, i); !strings.HasSuffix(a.text, fmt.Sprintf(`"offset":%d}`, at)) {
				t.Errorf("message %d was answered %s, and has offset %d", i, a.text, at)
			}
		}
		for token, got := range caller.all() {
			if at := slices.Index(stored, int(token)); got.err != nil || got.offset != int64(at) {
				t.Errorf("message %d was told %+v, and has offset %d", token, got, at)
			}
		}
		if len(r.devices.all()) != n/12 || len(caller.all()) != n/12 {
			t.Errorf("%d and %d answers, want %d of each", len(r.devices.all()), len(caller.all()), n/12)
		}
		kept := map[string]int{}
		for _, i := range stored {
			if i < 0 {
				kept["telemetry."]++
			} else if i%12 != 4 && i%12 != 7 {
				kept[[]string{"telemetry.", "plant."}[i/3%2]]++
			}
		}
		for subject, n := range sent {
			if got := r.counted("headwater_bridge_dropped_total", subject+">", "buffer_full"); got == 0 || got != n-kept[subject] {
				t.Errorf("%s>: %d dropped messages were counted, %d of %d are missing", subject, got, n-kept[subject], n)
			}
		}
		if got := r.buffered(); got != 0 {
			t.Errorf("%d bytes are still counted as buffered", got)
		}
	})
}

// Those who are acked wait while there is room, and those who come when there is none
// are refused: the newest. Once the log goes on, all goes on.
func TestAckedWaitThenAreRefused(t *testing.T) {
	const limit, n = 256 << 10, 2000
	inBubble(t, Config{BufferBytes: limit, BatchBytes: 8 << 10}, func(r *rig) {
		r.warm()
		r.log.hold()
		for i := range n {
			r.take("telemetry.d1.temp", "reply."+strconv.Itoa(i), padded(i, 300))
			r.idle()
		}
		refused := r.devices.errCodes(t)
		if len(refused) == 0 || len(refused) == n {
			t.Fatalf("%d of %d were refused", len(refused), n)
		}
		for i := range n {
			if code, answered := refused["reply."+strconv.Itoa(i)]; answered != (i >= n-len(refused)) || answered && code != 10023 {
				t.Fatalf("%d was answered with error %d; answered %v, want the newest %d refused for want of room", i, code, answered, len(refused))
			}
		}
		r.log.goOn()
		synctest.Wait()
		r.take("telemetry.d1.temp", "reply.after", padded(n, 300))
		r.idle()
		stored := numbers(t, r.log.values(t))
		ok := 0
		for _, code := range r.devices.errCodes(t) {
			if code == 0 {
				ok++
			}
		}
		if len(r.devices.all()) != n+1 || ok != n+1-len(refused) || len(stored) != ok || stored[ok-1] != n {
			t.Errorf("%d answers, %d of them stored, and %d records, the last %d", len(r.devices.all()), ok, len(stored), stored[len(stored)-1])
		}
	})
}

// The log has no more of a partition that stands still than a quarter of the memory,
// and of all partitions together half; but one batch of each.
func TestInFlightIsBounded(t *testing.T) {
	const limit, batch = 1 << 20, 8 << 10
	inBubble(t, Config{BufferBytes: limit, BatchBytes: batch}, func(r *rig) {
		r.log.hold()
		for i := range 5000 {
			r.core("telemetry.d1.temp", padded(i, 300))
		}
		time.Sleep(time.Second)
		if got := r.log.unsettled(""); got > limit/4 || got < limit/5 {
			t.Errorf("the log has %d bytes of one partition, want a quarter of %d", got, limit)
		}
		const partitions = 40
		for i := range 4000 {
			r.core(fmt.Sprintf("plant.p%d.x.y", i%partitions), padded(i, 300))
		}
		time.Sleep(time.Second)
		if got := r.log.unsettled(""); got > limit/2+partitions*batch || got < limit/2 {
			t.Errorf("the log has %d bytes, want half of %d and what is first of each partition", got, limit)
		}
		for i := range partitions {
			if r.log.unsettled(fmt.Sprintf("plant.p%d", i)) == 0 {
				t.Errorf("the log has nothing of partition %d", i)
			}
		}
		r.log.goOn()
		time.Sleep(time.Second)
		if got := r.buffered(); got != 0 {
			t.Errorf("%d bytes are still counted as buffered", got)
		}
	})
}

// A partition that stands still does not keep the others' messages from being stored,
// however many wait for it.
func TestStuckPartitionLeavesRoom(t *testing.T) {
	inBubble(t, Config{BufferBytes: 256 << 10}, func(r *rig) {
		r.core("plant.a.x.y", "warm")
		r.warm()
		r.log.set(func() { r.log.stuck = "telemetry" })
		for i := range 2000 {
			r.take("telemetry.d1.temp", "reply.stuck", padded(i, 300))
		}
		r.idle()
		if r.counted("headwater_bridge_refused_total", "telemetry.>", "buffer_full") == 0 {
			t.Fatal("nothing was refused: the memory is not full")
		}
		before := len(r.devices.all())
		for i := range 20 {
			r.take("plant.a.x.y", "reply.a"+strconv.Itoa(i), padded(i, 300))
			r.idle()
		}
		for i, a := range r.devices.all()[before:] {
			if want := fmt.Sprintf(`{"stream":"plant~a-0","seq":%d,`, i+1); !strings.HasPrefix(a.text, want) {
				t.Errorf("%s was answered %s", a.reply, a.text)
			}
		}
		if got := len(r.devices.all()) - before; got != 20 {
			t.Errorf("%d of 20 messages of another partition were answered", got)
		}
		r.log.goOn()
	})
}

// A flood of one partition's pushes out its own messages, not the few of another.
func TestFloodPushesOutItsOwn(t *testing.T) {
	inBubble(t, Config{BufferBytes: 256 << 10, BatchBytes: 8 << 10}, func(r *rig) {
		r.core("plant.a.x.y", "warm")
		r.warm()
		r.log.hold()
		for i := range 60 { // more than the log gets at once, and older than the flood
			r.core("plant.a.x.y", padded(i, 300))
			if i%5 == 0 {
				time.Sleep(50 * time.Millisecond)
			}
		}
		for i := range 3000 {
			r.core("telemetry.d1.temp", padded(i, 300))
		}
		r.log.goOn()
		time.Sleep(time.Second)
		few, flood := r.counted("headwater_bridge_dropped_total", "plant.*.>"), r.counted("headwater_bridge_dropped_total", "telemetry.>")
		if few != 0 || flood == 0 {
			t.Errorf("dropped %d of the few and %d of the flood, want none and some", few, flood)
		}
	})
}

// When the partition that holds most has nothing that may go, the oldest of all goes.
func TestOldestOfAllMakesRoom(t *testing.T) {
	inBubble(t, Config{BufferBytes: 256 << 10, BatchBytes: 8 << 10}, func(r *rig) {
		for _, topic := range []string{"a", "b", "c"} {
			r.core("plant."+topic+".x.y", "-1")
		}
		r.warm()
		r.log.hold()
		for _, topic := range []string{"a", "b", "c"} { // the log gets all of a, and of the others what comes first
			r.core("plant."+topic+".x.y", "-1")
			time.Sleep(time.Second)
			for i := range 40 {
				r.core("plant."+topic+".x.y", padded(i, 1000))
			}
		}
		for i := range 600 {
			r.take("telemetry.d1.temp", "reply."+strconv.Itoa(i), padded(i, 300))
			if r.counted("headwater_bridge_dropped_total") > 0 {
				break
			}
		}
		r.log.goOn()
		time.Sleep(time.Second)
		stored := map[string]int{}
		for _, a := range r.log.all() {
			stored[a.topic] += int(a.batch.Count())
		}
		if stored["plant.a"] != 41 || stored["plant.b"] >= 41 || stored["plant.c"] != 41 {
			t.Errorf("stored %v, want 41 of plant.a and plant.c, and fewer of plant.b", stored)
		}
	})
}

// Best-effort messages whose topic is not known yet go first as well.
func TestWaitingForTopicMakesRoom(t *testing.T) {
	const limit = 256 << 10
	inBubble(t, Config{BufferBytes: limit}, func(r *rig) {
		known := make(chan struct{})
		r.log.partitions = func(context.Context, string) (int32, error) { <-known; return 1, nil }
		const n = 1000
		for i := range n {
			r.core("plant.a.x.y", padded(i, 300))
			if got := r.buffered(); got > limit {
				t.Fatalf("%d bytes are buffered, the limit is %d", got, limit)
			}
		}
		for i := range 100 {
			r.take("plant.a.x.y", "reply."+strconv.Itoa(i), padded(n+i, 300))
		}
		close(known)
		time.Sleep(time.Second)
		stored := numbers(t, r.log.values(t))
		first := n + 100 - len(stored)
		if first == 0 || len(stored) <= 100 {
			t.Fatalf("%d of %d are stored, want some of the best-effort ones", len(stored), n+100)
		}
		for i, number := range stored {
			if number != first+i {
				t.Fatalf("stored %v, want the newest in their order", stored)
			}
		}
		if got := r.counted("headwater_bridge_dropped_total", "plant.*.>", "buffer_full"); got != first {
			t.Errorf("%d dropped messages were counted, %d are missing", got, first)
		}
		if got := len(r.devices.errCodes(t)); got != 100 || r.counted("headwater_bridge_refused_total") != 0 {
			t.Errorf("%d answers, want 100 and no refusal", got)
		}
	})
}

// Nobody waits for an answer much longer than the bound: what the log does not have is
// refused and let go; of what it has, nobody knows, and it keeps its place in memory.
func TestAckTimeout(t *testing.T) {
	const n = 400
	inBubble(t, Config{BufferBytes: 256 << 10, BatchBytes: 8 << 10, AckTimeout: 20 * time.Second}, func(r *rig) {
		r.warm()
		r.log.hold()
		caller := &fakeCaller{}
		for i := range n {
			r.take("telemetry.d1.temp", "reply."+strconv.Itoa(i), padded(i, 300))
		}
		r.Take(&Message{Rule: AnyRule, Subject: []byte("telemetry.d1.temp"), Payload: []byte(padded(n, 300)), Answerer: caller})
		r.idle()
		time.Sleep(20*time.Second - time.Nanosecond)
		synctest.Wait()
		if got := len(r.devices.all()) + len(caller.all()); got != 0 {
			t.Fatalf("%d were answered before their time", got)
		}
		time.Sleep(5*time.Second + 2*time.Nanosecond)
		synctest.Wait()
		codes := r.devices.errCodes(t)
		for reply, code := range codes {
			if code != 10077 {
				t.Errorf("%s was answered with error %d, want 10077", reply, code)
			}
		}
		if len(codes) != n || len(caller.all()) != 1 {
			t.Errorf("%d and %d answers, want %d and 1", len(codes), len(caller.all()), n)
		}
		inDoubt, letGo := r.counted("headwater_bridge_refused_total", "unconfirmed"), r.counted("headwater_bridge_refused_total", "timed_out")
		if inDoubt == 0 || letGo == 0 || inDoubt+letGo != n+1 {
			t.Errorf("%d in doubt and %d let go, want some of each and %d in all", inDoubt, letGo, n+1)
		}
		if got, has := r.buffered(), r.log.unsettled(""); got < has {
			t.Errorf("%d bytes are counted as buffered, the log alone has %d", got, has)
		}
		r.log.goOn()
		r.take("telemetry.d1.temp", "reply.after", padded(n, 300))
		r.idle()
		if got := len(r.log.values(t)); got != inDoubt+1 || r.devices.errCodes(t)["reply.after"] != 0 || len(r.devices.all()) != n+1 {
			t.Errorf("%d are stored, want the %d in doubt and one more, which is answered: %d answers", got, inDoubt, len(r.devices.all()))
		}
		if got := r.buffered(); got != 0 {
			t.Errorf("%d bytes are still counted as buffered", got)
		}
	})
}

// The bound holds also for who waits for a topic to be known, and for a batch that
// gathers behind one that stands still.
func TestAckTimeoutOfWhatGathers(t *testing.T) {
	rules := []subject.Rule{{Subject: "telemetry.>", Topic: "telemetry", Linger: time.Minute}, {Subject: "plant.>", Topic: "plant"}}
	inBubbleBy(t, rules, Config{AckTimeout: 20 * time.Second, TopicTimeout: time.Hour}, func(r *rig) {
		r.core("telemetry.warm.up", "x")
		time.Sleep(2 * time.Minute)
		r.log.hold()
		asked := make(chan struct{})
		r.log.partitions = func(context.Context, string) (int32, error) { <-asked; return 1, nil }
		r.take("telemetry.x", "reply.sent", "1")
		r.idle()
		r.take("telemetry.x", "reply.gathering", "2")
		r.take("plant.x", "reply.waiting", "3")
		r.core("plant.x", "4")
		time.Sleep(26 * time.Second)
		synctest.Wait()
		if want := map[string]int{"reply.sent": 10077, "reply.gathering": 10077, "reply.waiting": 10077}; !maps.Equal(r.devices.errCodes(t), want) {
			t.Errorf("answers %v, want %v", r.devices.errCodes(t), want)
		}
		close(asked)
		r.log.goOn()
		time.Sleep(2 * time.Minute)
		if got := r.log.values(t); !slices.Equal(got, []string{"x", "1", "4"}) {
			t.Errorf("stored %q, want what the log had and the best-effort one", got)
		}
	})
}

// A list does what a slice does.
func TestList(t *testing.T) {
	var l list[int]
	var want []int
	places := make([]place[int], 8)
	random := uint32(1)
	for range 10_000 {
		random = random*1664525 + 1013904223
		i := int(random >> 29)
		if at := slices.Index(want, i); at >= 0 {
			places[i].leave()
			want = slices.Delete(want, at, at+1)
		} else {
			l.push(&places[i], i)
			want = append(want, i)
		}
		places[i%3].leave() // whether it is in or not
		want = slices.DeleteFunc(want, func(j int) bool { return j == i%3 })
		var forth, back []int
		for p := l.front; p != nil; p = p.next {
			forth = append(forth, p.item)
		}
		for p := l.back; p != nil; p = p.prev {
			back = append(back, p.item)
		}
		slices.Reverse(back)
		if !slices.Equal(forth, want) || !slices.Equal(back, want) || l.len != len(want) {
			t.Fatalf("%v forth, %v back, %d long, want %v", forth, back, l.len, want)
		}
	}
}
