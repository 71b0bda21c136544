package ingest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/headwater/headwater/bridge/subject"
)

// A topic is asked for once. What arrives meanwhile waits, in its order, and the
// reader does not.
func TestTopicIsAskedForOnce(t *testing.T) {
	inBubble(t, Config{}, func(r *rig) {
		answer := make(chan struct{})
		r.log.partitions = func(context.Context, string) (int32, error) { <-answer; return 1, nil }
		var want []string
		for i := range 1000 {
			reply := ""
			if i == 10 {
				reply = "reply.10"
			}
			r.take("telemetry.d1.temp", reply, strconv.Itoa(i))
			want = append(want, strconv.Itoa(i))
		}
		r.idle()
		if len(r.log.all()) != 0 || r.buffered() == 0 {
			t.Fatalf("%d batches and %d bytes buffered before the topic is known", len(r.log.all()), r.buffered())
		}
		close(answer)
		synctest.Wait()
		r.core("telemetry.d1.temp", "1000")
		time.Sleep(time.Second)
		synctest.Wait()
		if got := r.log.values(t); !slices.Equal(got, append(want, "1000")) {
			t.Errorf("%d records, want 1001 in their order: %v", len(got), got)
		}
		if !slices.Equal(r.log.asked, []string{"telemetry"}) {
			t.Errorf("asked for %v, want telemetry once", r.log.asked)
		}
		if got := r.devices.errCodes(t); !maps.Equal(got, map[string]int{"reply.10": 0}) {
			t.Errorf("answers %v", got)
		}
		if got := r.buffered(); got != 0 {
			t.Errorf("%d bytes are still counted as buffered", got)
		}
	})
}

// A key leads to the partition that Kafka's client would choose, and the stream of
// a topic with a dot has a ~ for it.
func TestPartitionByKey(t *testing.T) {
	inBubble(t, Config{}, func(r *rig) {
		r.log.partitions = func(context.Context, string) (int32, error) { return 10, nil }
		for _, key := range []string{"press1", "press2", "press3"} {
			r.take("plant.7."+key+".temp", "reply."+key, "1")
		}
		r.idle()
		for _, a := range r.log.all() {
			for _, rec := range recordsOf(t, a.batch) {
				if want := subject.Partition(rec.Key, 10); a.topic != "plant.7" || a.partition != want {
					t.Errorf("key %s is in %s-%d, want plant.7-%d", rec.Key, a.topic, a.partition, want)
				}
			}
		}
		for _, a := range r.devices.all() {
			p := subject.Partition([]byte(a.reply[len("reply."):]), 10)
			want := fmt.Sprintf(`{"stream":"plant~7-%d","seq":`, p)
			if a.text[:len(want)] != want {
				t.Errorf("%s was answered %s, want %s…", a.reply, a.text, want)
			}
		}
		if got := len(r.devices.all()); got != 3 {
			t.Errorf("%d answers, want 3", got)
		}
	})
}

// A topic that the broker will not have is told to those who wait, is not asked
// for at every message, and works again when the broker has it.
func TestTopicRefused(t *testing.T) {
	errNo := errors.New("too many topics")
	cfg := Config{Permanent: func(err error) bool { return errors.Is(err, errors.ErrUnsupported) }}
	inBubble(t, cfg, func(r *rig) {
		fail := errNo
		r.log.partitions = func(context.Context, string) (int32, error) { return 1, fail }
		for i := range 10 {
			r.take("telemetry.d1.temp", fmt.Sprint("reply.", i), "x")
			r.core("telemetry.d1.temp", "x")
			r.idle()
		}
		for reply, code := range r.devices.errCodes(t) {
			if code != 10008 {
				t.Errorf("%s was answered %d, want 10008", reply, code)
			}
		}
		if got := len(r.devices.all()); got != 10 || len(r.log.asked) != 1 {
			t.Errorf("%d answers after asking %d times, want 10 after 1", got, len(r.log.asked))
		}
		if got := r.counted("headwater_bridge_dropped_total", "topic_unavailable"); got != 10 {
			t.Errorf("%d dropped messages were counted, want 10", got)
		}
		time.Sleep(askInterval)
		fail = errors.ErrUnsupported
		r.take("telemetry.d1.temp", "reply.never", "x")
		r.idle()
		time.Sleep(askInterval)
		fail = nil
		r.take("telemetry.d1.temp", "reply.again", "x")
		r.idle()
		codes := r.devices.errCodes(t)
		if codes["reply.never"] != 10003 || codes["reply.again"] != 0 || len(codes) != 12 {
			t.Errorf("answers %v", codes)
		}
		if got := r.buffered(); got != 0 {
			t.Errorf("%d bytes are still counted as buffered", got)
		}
	})
}

// A topic that gets more partitions while messages go on has them used for keys
// within the interval; nobody waits for the answer, it is asked for no more often than
// that, and an answer that fails takes nothing away.
func TestMorePartitions(t *testing.T) {
	inBubble(t, Config{}, func(r *rig) {
		key := "press0"
		for i := 0; subject.Partition([]byte(key), 10) == 0; i++ {
			key = fmt.Sprint("press", i)
		}
		partitions, answer := int32(1), make(chan struct{})
		var fail error
		r.log.partitions = func(context.Context, string) (int32, error) { <-answer; return partitions, fail }
		say := func(n int) {
			t.Helper()
			r.take("plant.7."+key+".temp", fmt.Sprint("reply.", n), "1")
			r.idle()
		}
		answered := func() {
			select {
			case answer <- struct{}{}:
			default:
				t.Error("nobody asks")
			}
			synctest.Wait()
		}
		say(0)
		answered()
		say(1)
		partitions, fail = 10, errors.New("no coordinator")
		time.Sleep(askInterval)
		say(2) // has it asked for
		say(3)
		answered()
		say(4)
		time.Sleep(askInterval)
		fail = nil
		say(5)
		answered()
		say(6)
		var got []int32
		for _, a := range r.log.all() {
			got = append(got, a.partition)
		}
		if want := []int32{0, 0, 0, 0, 0, 0, subject.Partition([]byte(key), 10)}; !slices.Equal(got, want) {
			t.Errorf("appended to %v, want %v", got, want)
		}
		if len(r.log.asked) != 3 || len(r.devices.all()) != 7 {
			t.Errorf("asked %d times and %d answers, want 3 and 7", len(r.log.asked), len(r.devices.all()))
		}
	})
}

// While topics cannot be asked for, none of those that wait to be is forgotten: the
// list of them would grow without end.
func TestAskedTopicsAreBounded(t *testing.T) {
	inBubble(t, Config{MaxTopics: 3}, func(r *rig) {
		for i := range 3 {
			r.take(fmt.Sprintf("plant.%d.x.y", i), fmt.Sprint("reply.", i), "x")
		}
		r.idle()
		time.Sleep(askInterval)
		answer := make(chan struct{})
		r.log.partitions = func(context.Context, string) (int32, error) { <-answer; return 1, nil }
		for i := range 30 {
			r.take(fmt.Sprintf("plant.%d.x.y", i), fmt.Sprint("reply.again", i), "x")
			r.idle()
		}
		if n := len(r.unresolved); n > 3 {
			t.Errorf("%d topics wait to be asked for, of 3 that are remembered", n)
		}
		close(answer)
		synctest.Wait()
	})
}

// A topic without partitions is a mistake of the broker's and does not divide by
// zero.
func TestTopicWithoutPartitions(t *testing.T) {
	inBubble(t, Config{}, func(r *rig) {
		r.log.partitions = func(context.Context, string) (int32, error) { return 0, nil }
		r.take("plant.a.x.y", "reply.1", "x")
		r.idle()
		if got := r.devices.errCodes(t); !maps.Equal(got, map[string]int{"reply.1": 10008}) {
			t.Errorf("answers %v", got)
		}
	})
}

// A topic whose batches fail may have been deleted: it is asked for again, though
// not at every failure.
func TestFailedBatchAsksForTopicAgain(t *testing.T) {
	inBubble(t, Config{}, func(r *rig) {
		r.warm()
		r.log.set(func() { r.log.fail = errDisk })
		for i := range 50 {
			r.take("telemetry.d1.temp", fmt.Sprint("reply.", i), "x")
			r.idle()
			time.Sleep(100 * time.Millisecond)
		}
		if n := len(r.log.asked); n < 4 || n > 5 {
			t.Errorf("asked %d times in 5s of failures, want once a second", n)
		}
	})
}

// Topics that nothing happens to are forgotten when others need the room; when
// none is such, new ones are refused.
func TestTopicsAreBounded(t *testing.T) {
	inBubble(t, Config{MaxTopics: 3}, func(r *rig) {
		for i := range 10 {
			r.take(fmt.Sprintf("plant.%d.x.y", i), fmt.Sprint("reply.", i), "x")
			r.idle()
			if n := len(r.topics); n > 3 {
				t.Fatalf("%d topics are remembered, the limit is 3", n)
			}
		}
		if got := len(r.log.all()); got != 10 {
			t.Errorf("%d batches, want 10", got)
		}
		r.log.hold()
		for i := range 4 {
			r.take(fmt.Sprintf("plant.busy%d.x.y", i), fmt.Sprint("reply.busy", i), "x")
			r.idle()
		}
		if got := r.devices.errCodes(t)["reply.busy3"]; got != 10023 {
			t.Errorf("the fourth busy topic was answered %d, want 10023", got)
		}
		r.log.release()
	})
}

func TestPartitionsAreBounded(t *testing.T) {
	inBubble(t, Config{MaxPartitions: 4}, func(r *rig) {
		r.log.partitions = func(context.Context, string) (int32, error) { return 100, nil }
		for topic := range 3 {
			for i := range 20 {
				r.take(fmt.Sprintf("plant.%d.key%d.y", topic, i), fmt.Sprintf("reply.%d.%d", topic, i), "x")
				r.idle()
				if r.gathers > 4 {
					t.Fatalf("%d partitions are remembered, the limit is 4", r.gathers)
				}
			}
			// What is remembered is what the topics have.
			sum := 0
			for _, t := range r.topics {
				sum += len(t.gathers)
			}
			if sum != r.gathers {
				t.Fatalf("%d partitions are counted, the topics have %d", r.gathers, sum)
			}
		}
		stored, noRoom := 0, 0
		for _, code := range r.devices.errCodes(t) {
			switch code {
			case 0:
				stored++
			case 10023:
				noRoom++
			}
		}
		if stored+noRoom != 60 || stored < 12 || noRoom == 0 {
			t.Errorf("%d stored, %d refused for want of room", stored, noRoom)
		}
	})
}
