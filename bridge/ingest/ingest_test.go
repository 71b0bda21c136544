package ingest

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// Nobody is told "stored" before the Appender said so.
func TestAnswerComesAfterDone(t *testing.T) {
	inBubble(t, Config{AckTimeout: time.Hour}, func(r *rig) {
		r.warm()
		r.log.hold()
		r.take("telemetry.d1.temp", "reply.1", "20")
		r.take("telemetry.d1.temp", "reply.2", "21")
		r.idle()
		if got := r.log.counts(); !slices.Equal(got, []int{2}) {
			t.Fatalf("batches of %v records, want one of 2", got)
		}
		time.Sleep(time.Minute)
		if got := r.devices.all(); len(got) != 0 {
			t.Fatalf("answered before the record was durable: %v", got)
		}
		r.log.release()
		synctest.Wait()
		got := r.devices.all()
		if len(got) != 2 ||
			got[0].text != `{"stream":"telemetry-0","seq":1,"partition":0,"offset":0}` || got[0].reply != "reply.1" ||
			got[1].text != `{"stream":"telemetry-0","seq":2,"partition":0,"offset":1}` || got[1].reply != "reply.2" {
			t.Errorf("answers %v", got)
		}
	})
}

// A best-effort message waits for neighbours, but no longer than the linger.
func TestLinger(t *testing.T) {
	inBubble(t, Config{}, func(r *rig) {
		r.warm()
		r.core("telemetry.d1.temp", "20")
		r.idle()
		time.Sleep(15 * time.Millisecond)
		r.core("telemetry.d1.temp", "21")
		r.idle()
		time.Sleep(time.Hour)
		got := r.log.all()
		if len(got) != 1 || got[0].batch.Count() != 2 {
			t.Fatalf("batches of %v records, want one of 2", r.log.counts())
		}
		if waited := got[0].at.Sub(r.start); waited != 20*time.Millisecond {
			t.Errorf("appended after %v, want 20ms", waited)
		}
	})
}

// Each batch lingers on its own clock.
func TestLingerOfTwoPartitions(t *testing.T) {
	inBubble(t, Config{}, func(r *rig) {
		r.core("plant.a.x.y", "warm")
		r.warm()
		r.core("telemetry.d1.temp", "20")
		time.Sleep(5 * time.Millisecond)
		r.core("plant.a.x.y", "1")
		time.Sleep(time.Hour)
		var waited []time.Duration
		for _, a := range r.log.all() {
			waited = append(waited, a.at.Sub(r.start))
		}
		if want := []time.Duration{20 * time.Millisecond, 25 * time.Millisecond}; !slices.Equal(waited, want) {
			t.Errorf("appended after %v, want %v", waited, want)
		}
	})
}

// With nothing in flight an awaited message goes when the input is drained, and
// takes its neighbours along. With a batch in flight it goes when that completes.
// No timer is part of it.
func TestAwaitedMessageWaitsForNoTimer(t *testing.T) {
	inBubble(t, Config{}, func(r *rig) {
		r.warm()
		r.log.hold()
		r.core("telemetry.d1.temp", "20")
		r.take("telemetry.d1.temp", "reply.1", "21")
		r.idle()
		for i := range 3 {
			r.take("telemetry.d1.temp", fmt.Sprint("reply.", 2+i), "22")
			r.idle()
		}
		if got := r.log.counts(); !slices.Equal(got, []int{2}) {
			t.Fatalf("batches of %v records while one is in flight, want one of 2", got)
		}
		r.log.release()
		synctest.Wait()
		if got := r.log.counts(); !slices.Equal(got, []int{2, 3}) {
			t.Fatalf("batches of %v records after it completed, want 2 and 3", got)
		}
		if now := time.Since(r.start); now != 0 {
			t.Errorf("%v passed, want none", now)
		}
		r.log.release()
	})
}

// A partition in flight does not hold up another.
func TestPartitionsDoNotWaitForEachOther(t *testing.T) {
	inBubble(t, Config{}, func(r *rig) {
		r.core("plant.a.x.y", "warm")
		r.warm()
		r.log.hold()
		r.take("telemetry.d1.temp", "reply.1", "20")
		r.idle()
		r.take("plant.a.x.y", "reply.2", "1")
		r.idle()
		if got := r.log.counts(); !slices.Equal(got, []int{1, 1}) {
			t.Errorf("batches of %v records, want two of 1", got)
		}
		r.log.release()
	})
}

func TestBatchBounds(t *testing.T) {
	inBubble(t, Config{BufferBytes: 64 << 20}, func(r *rig) {
		r.warm()
		for i := range 1200 {
			r.core("telemetry.d1.temp", strconv.Itoa(i))
		}
		synctest.Wait()
		if got := r.log.counts(); !slices.Equal(got, []int{500, 500}) {
			t.Errorf("small messages: batches of %v records before the linger, want 500 and 500", got)
		}
		r.warm()
		for range 100 {
			r.core("telemetry.d1.temp", strings.Repeat("v", 1000))
		}
		r.core("telemetry.d1.temp", strings.Repeat("v", 200_000))
		r.core("telemetry.d1.temp", "after the big one")
		time.Sleep(time.Second)
		var sizes []int
		for _, a := range r.log.all() {
			sizes = append(sizes, len(a.batch))
		}
		if len(sizes) != 4 || sizes[0] < 60<<10 || sizes[0] > 64<<10 || sizes[1] > 64<<10 || sizes[2] < 200_000 || sizes[3] > 200 {
			t.Errorf("batches of %v bytes, want a full one, the rest, the big one alone, and what came after", sizes)
		}
	})
}

// However messages are mixed and whenever batches go, a partition has them in the
// order in which they came, and every answer has its own offset.
func TestOrder(t *testing.T) {
	inBubble(t, Config{BatchRecords: 7}, func(r *rig) {
		const n = 1000
		r.log.hold()
		var want []string
		for i := range n {
			reply := ""
			if i%3 == 0 {
				reply = "reply." + strconv.Itoa(i)
			}
			r.take("telemetry.d1.temp", reply, strconv.Itoa(i))
			want = append(want, strconv.Itoa(i))
			switch i % 11 {
			case 3:
				r.idle()
			case 7:
				r.log.release()
			case 9:
				time.Sleep(3 * time.Millisecond)
			}
		}
		r.log.set(func() { r.log.heldBack = false })
		r.log.release()
		time.Sleep(time.Second)
		synctest.Wait()
		if got := r.log.values(t); !slices.Equal(got, want) {
			t.Errorf("%d records, want %d in their order: %v", len(got), n, got)
		}
		for _, a := range r.devices.all() {
			i := strings.TrimPrefix(a.reply, "reply.")
			if !strings.HasSuffix(a.text, `"offset":`+i+`}`) {
				t.Errorf("message %s was answered %s", i, a.text)
			}
		}
		if got := len(r.devices.all()); got != (n+2)/3 {
			t.Errorf("%d answers, want %d", got, (n+2)/3)
		}
		if got := r.buffered(); got != 0 {
			t.Errorf("%d bytes are still counted as buffered", got)
		}
	})
}

// A message that several rules' subscriptions bring is taken once, for the first.
func TestOtherRulesCopiesArePassedOver(t *testing.T) {
	inBubble(t, Config{}, func(r *rig) {
		r.Take(&Message{Rule: 1, Subject: []byte("telemetry.d1.temp"), Payload: []byte("copy")})
		r.Take(&Message{Rule: 0, Subject: []byte("_INBOX.x"), Payload: []byte("nobody's")})
		r.Take(&Message{Rule: 0, Subject: []byte("telemetry.d1.temp"), Payload: []byte("original")})
		time.Sleep(time.Second)
		if got := r.log.values(t); !slices.Equal(got, []string{"original"}) {
			t.Errorf("stored %q, want the original alone", got)
		}
		if got := r.counted("headwater_bridge_messages_total"); got != 1 {
			t.Errorf("%d messages were counted, want 1", got)
		}
	})
}

func TestMessagesAreCounted(t *testing.T) {
	inBubble(t, Config{}, func(r *rig) {
		r.core("telemetry.d1.temp", "1")
		r.take("telemetry.d1.temp", "reply.1", "2")
		r.take("plant.a.x.y", "reply.2", "3")
		r.idle()
		for _, tc := range []struct {
			rule, kind string
			want       int
		}{{"telemetry.>", "core", 1}, {"telemetry.>", "acked", 1}, {"plant.*.>", "core", 0}, {"plant.*.>", "acked", 1}} {
			if got := r.counted("headwater_bridge_messages_total", tc.rule, tc.kind); got != tc.want {
				t.Errorf("%s %s: %d, want %d", tc.rule, tc.kind, got, tc.want)
			}
		}
		if got := r.counted("headwater_bridge_batches_total"); got != 2 {
			t.Errorf("%d batches, want 2", got)
		}
	})
}
