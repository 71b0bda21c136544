package ingest

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// marks are the records' values, in the order of the log, each with what the headers
// say of the clock.
func (r *rig) marks() (marks []string) {
	r.t.Helper()
	synctest.Wait()
	for _, a := range r.log.all() {
		for _, rec := range recordsOf(r.t, a.batch) {
			mark := string(rec.Value)
			for _, h := range rec.Headers {
				if strings.EqualFold(h.Key, headerClock) {
					mark += " " + h.Key + "=" + string(h.Value)
				}
			}
			marks = append(marks, mark)
		}
	}
	return marks
}

func (r *rig) expectMarks(want ...string) {
	r.t.Helper()
	if got := r.marks(); !slices.Equal(got, want) {
		r.t.Errorf("stored %q, want %q", got, want)
	}
}

const marked = " hw-clock=unsynchronized"

// A record is marked by what was known of the clock when it was received, whatever is
// known when its batch goes; a device cannot mark its own.
func TestClockMark(t *testing.T) {
	var synchronized atomic.Bool
	inBubble(t, Config{Synchronized: synchronized.Load}, func(r *rig) {
		r.warm()
		r.core("telemetry.d1", "1")
		r.with("", "2", "hw-clock", "fine", "Hw-Clock", "fine", "HW-CLOCK", "")
		synchronized.Store(true)
		r.core("telemetry.d1", "3")
		r.with("", "4", "hw-clock", "unsynchronized", "Hw-Clock", "unsynchronized")
		synchronized.Store(false)
		r.core("telemetry.d1", "5")
		synchronized.Store(true)
		time.Sleep(time.Second)
		r.expectMarks("1"+marked, "2"+marked, "3", "4", "5"+marked)
		if got := r.log.counts(); !slices.Equal(got, []int{5}) {
			t.Errorf("batches of %v records, want one of 5", got)
		}
	})
}

// The mark stands behind the time that it tells of.
func TestClockMarkFollowsTime(t *testing.T) {
	inBubble(t, Config{Synchronized: func() bool { return false }}, func(r *rig) {
		r.warm()
		r.with("r", "1", "Unit", "C")
		r.idle()
		var got []string
		for _, h := range recordsOf(t, r.log.all()[0].batch)[0].Headers {
			got = append(got, h.Key)
		}
		if want := []string{"hw-subject", "hw-time", "hw-clock", "Unit"}; !slices.Equal(got, want) {
			t.Errorf("headers %q, want %q", got, want)
		}
	})
}

// A message that has to wait, for its topic or for the ids of its partition, is marked by
// when it came.
func TestClockMarkOfWaiting(t *testing.T) {
	var synchronized atomic.Bool
	inBubble(t, Config{DedupWindow: time.Minute, Synchronized: synchronized.Load}, func(r *rig) {
		topicKnown, idsKnown := make(chan struct{}), make(chan struct{})
		r.log.partitions = func(context.Context, string) (int32, error) { <-topicKnown; return 1, nil }
		r.core("telemetry.d1", "1")
		synchronized.Store(true)
		r.core("telemetry.d1", "2")
		r.expectMarks()
		close(topicKnown)
		time.Sleep(time.Second)
		r.expectMarks("1"+marked, "2")

		r.log.set(func() { r.log.gate = idsKnown })
		synchronized.Store(false)
		r.id("", "3")
		synchronized.Store(true)
		r.id("", "4")
		time.Sleep(time.Second)
		r.expectMarks("1"+marked, "2")
		close(idsKnown)
		time.Sleep(time.Second)
		r.expectMarks("1"+marked, "2", "3"+marked, "4")
	})
}

// The clock is set while a message is received: its time, from before, does not go as
// a good one. What is known of the clock is asked first.
func TestClockIsAskedBeforeTheTime(t *testing.T) {
	const took = time.Minute
	inBubble(t, Config{Synchronized: func() bool { time.Sleep(took); return true }}, func(r *rig) {
		r.warm()
		r.take("telemetry.d1", "r", "1")
		r.idle()
		want := strconv.FormatInt(r.start.Add(took).UnixMilli(), 10)
		if got := string(recordsOf(t, r.log.all()[0].batch)[0].Headers[1].Value); got != want {
			t.Errorf("time %s, want %s", got, want)
		}
	})
}

// Which message is too large does not depend on the clock: who is told that it can
// never be stored does not send it again.
func TestLargestByAnyClock(t *testing.T) {
	var synchronized atomic.Bool
	inBubble(t, Config{MaxBatchBytes: 1000, Synchronized: synchronized.Load}, func(r *rig) {
		r.warm()
		var largest [2]int
		for i, is := range []bool{true, false} {
			synchronized.Store(is)
			for size := 750; size < 950; size++ {
				reply := fmt.Sprint(is, size)
				r.take("telemetry.d1", reply, strings.Repeat("x", size))
				r.idle()
				if r.devices.errCodes(t)[reply] == 0 {
					largest[i] = size
				}
			}
		}
		if largest[0] != largest[1] || largest[0] <= 750 || largest[0] >= 949 {
			t.Errorf("the largest has %d bytes, and %d while the clock is in doubt", largest[0], largest[1])
		}
	})
}
