package ingest

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/headwater/headwater/bridge/subject"
)

// told is an Answerer, and what it was told.
type told struct{ answers []string }

func (a *told) Answer(token uint64, partition int32, offset int64, err error) {
	text := fmt.Sprintf("%d at %d/%d", token, partition, offset)
	var refusal *Refusal
	if errors.As(err, &refusal) {
		text = fmt.Sprintf("%d %d temporary=%v full=%v", token, refusal.Code, refusal.Temporary, refusal.Full)
	}
	a.answers = append(a.answers, text)
}

func (r *rig) ask(a Answerer, token uint64, subject, value string) {
	r.Take(&Message{Rule: AnyRule, Subject: []byte(subject), Payload: []byte(value), Answerer: a, Token: token})
}

// An Answerer is told of each of its messages once, in order, beside those that are
// answered by a reply subject, and after the record is durable; also of a message that
// waited for its topic.
func TestAnswerer(t *testing.T) {
	inBubble(t, Config{}, func(r *rig) {
		var a told
		r.log.hold()
		r.ask(&a, 1, "telemetry.d1.temp", "1")
		r.take("telemetry.d1.temp", "reply.1", "2")
		r.ask(&a, 2, "telemetry.d1.temp", "3")
		r.ask(&a, 3, "plant.a.press3", "4")
		r.idle()
		if len(a.answers) != 0 {
			t.Fatalf("told %v before it was durable", a.answers)
		}
		r.log.release()
		synctest.Wait()
		slices.Sort(a.answers)
		if want := []string{"1 at 0/0", "2 at 0/2", "3 at 0/0"}; !slices.Equal(a.answers, want) {
			t.Errorf("told %v, want %v", a.answers, want)
		}
		if got := r.devices.all(); len(got) != 1 || got[0].reply != "reply.1" {
			t.Errorf("replies %v", got)
		}
		if n := r.counted("headwater_bridge_messages_total", "plant.*.>", "acked"); n != 1 {
			t.Errorf("%d messages are counted for the rule that took one", n)
		}
	})
}

// An Answerer is told why a message is not stored, however many those are.
func TestAnswererIsRefused(t *testing.T) {
	inBubble(t, Config{BufferBytes: 2<<20 + 24, Full: func(err error) bool { return errors.Is(err, errFull) }}, func(r *rig) {
		var a told
		r.warm()
		r.ask(&a, 1, "nobody.takes.this", "")
		r.ask(&a, 2, "telemetry..temp", "")
		r.log.set(func() { r.log.fail = errFull })
		r.ask(&a, 3, "telemetry.d1.temp", "x")
		r.idle()
		slices.Sort(a.answers) // refusals at once come by another way than those of the log
		if want := []string{"1 404 temporary=false full=false", "2 400 temporary=false full=false", "3 503 temporary=true full=true"}; !slices.Equal(a.answers, want) {
			t.Errorf("told %v, want %v", a.answers, want)
		}
		a.answers = nil
		const many = maxRefusalBytes/refusalOverhead + 1000
		for i := range uint64(many) {
			r.ask(&a, i, "telemetry..temp", "")
		}
		r.idle()
		if len(a.answers) != many {
			t.Errorf("told of %d refusals, want %d", len(a.answers), many)
		}
	})
}

// Best effort is best effort by any way, and what no rule takes is nobody's.
func TestAnyRuleBestEffort(t *testing.T) {
	inBubble(t, Config{}, func(r *rig) {
		r.Take(&Message{Rule: AnyRule, Subject: []byte("nobody.takes.this")})
		r.Take(&Message{Rule: AnyRule, Subject: []byte("telemetry.d1.temp"), Payload: []byte("1")})
		r.Take(&Message{Rule: AnyRule, Subject: []byte("telemetry..temp"), Payload: []byte("2")})
		if err := r.end(); err != nil {
			t.Fatal(err)
		}
		if got := r.log.values(t); !slices.Equal(got, []string{"1"}) {
			t.Errorf("stored %v", got)
		}
		if n := r.counted("headwater_bridge_dropped_total", "telemetry.>", "unroutable"); n != 1 {
			t.Errorf("%d dropped", n)
		}
	})
}

func TestRefusalIsNoRule(t *testing.T) {
	if err := error(newRefusal(noRule, "")); !errors.Is(err, subject.ErrNoRule) || err.Error() == "" {
		t.Errorf("%v", err)
	}
	if err := error(newRefusal(storeFailed, "disk on fire")); errors.Is(err, subject.ErrNoRule) || err.Error() != "store failed: disk on fire" {
		t.Errorf("%v", err)
	}
}

var errFull = errors.New("full")
