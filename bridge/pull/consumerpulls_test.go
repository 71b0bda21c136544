package pull

import (
	"strings"
	"testing"
	"time"
)

func TestParsePull(t *testing.T) {
	const now = 100 * time.Second
	for payload, want := range map[string]pull{
		"":                 {batch: 1},
		" 5 ":              {batch: 5},
		"{}":               {batch: 1},
		`{"batch":7}`:      {batch: 7},
		`{"no_wait":true}`: {batch: 1, noWait: true},
		`{"expires":5000000000,"batch":500,"max_bytes":4096,"idle_heartbeat":2500000000}`: {batch: 500, maxBytes: 4096, expires: now + 5*time.Second, heartbeat: 2500 * time.Millisecond, beat: now + 2500*time.Millisecond},
	} {
		want.inbox, want.arrived = "_INBOX.1", now
		if got, err := parsePull([]byte("_INBOX.1"), []byte(payload), now); err != nil || got != want {
			t.Errorf("%q: %+v and error %v, want %+v", payload, got, err, want)
		}
	}
	for _, payload := range []string{
		"0", "-1", "x", "1.5", "{", `{"batch":-1}`, `{"expires":-1}`, `{"max_bytes":-1}`, `{"batch":"1"}`,
		`{"expires":1000000000,"idle_heartbeat":600000000}`, `{"expires":1000000000,"idle_heartbeat":1}`, `{"idle_heartbeat":100000000}`, `{"group":"a"}`, `{"id":"a"}`, `{"priority":1}`, `{"min_pending":1}`,
	} {
		if got, err := parsePull([]byte("_INBOX.1"), []byte(payload), now); err == nil {
			t.Errorf("%q is taken for %+v", payload, got)
		}
	}
}

// heard collects what is said, by its status line and what is left open.
type heard []string

func (h *heard) say(s saying) {
	first, rest, _ := strings.Cut(strings.TrimPrefix(s.headers, "NATS/1.0 "), "\r\n")
	line := s.to + ": " + first
	for _, header := range strings.Split(rest, "\r\n") {
		if _, value, ok := strings.Cut(header, ": "); ok {
			line += " " + value
		}
	}
	*h = append(*h, line)
}

func (h *heard) want(t *testing.T, want ...string) {
	t.Helper()
	if got, wanted := strings.Join(*h, "; "), strings.Join(want, "; "); got != wanted {
		t.Errorf("said %q, want %q", got, wanted)
	}
	*h = nil
}

// Messages go to those who wait in turn, until each has what it asked for.
func TestPullsInTurn(t *testing.T) {
	var w pulls
	var h heard
	w.add(&pull{inbox: "a", batch: 2})
	w.add(&pull{inbox: "b", batch: 1})
	w.add(&pull{inbox: "c", batch: 3})
	got := ""
	for p := w.next(10, 1, h.say); p != nil; p = w.next(10, 1, h.say) {
		got += p.inbox
		w.took(10, 1, h.say)
	}
	if got != "abcacc" {
		t.Errorf("messages went to %s, want abcacc", got)
	}
	h.want(t)
}

// A limit of bytes ends a pull: at the message that exceeds it, when it is used up,
// and, told, when the messages are complete before.
func TestPullsOfBytes(t *testing.T) {
	var w pulls
	var h heard
	w.add(&pull{inbox: "small", batch: 5, maxBytes: 9})
	w.add(&pull{inbox: "exact", batch: 5, maxBytes: 20})
	w.add(&pull{inbox: "full", batch: 2, maxBytes: 100})
	got := ""
	for p := w.next(10, 1, h.say); p != nil; p = w.next(10, 1, h.say) {
		got += p.inbox + " "
		w.took(10, 1, h.say)
	}
	if got != "exact full exact full " {
		t.Errorf("messages went to %s", got)
	}
	h.want(t, "small: 409 Message Size Exceeds MaxBytes 5 9", "full: 409 Batch Completed 0 80")
}

// What time and the end of the log do to pulls that wait.
func TestPullsLook(t *testing.T) {
	var w pulls
	var h heard
	w.add(&pull{inbox: "a", batch: 2, expires: 50})
	w.add(&pull{inbox: "b", batch: 2, noWait: true})
	w.add(&pull{inbox: "c", batch: 2, noWait: true, expires: 60})
	w.add(&pull{inbox: "d", batch: 2, noWait: true, expires: 60, given: 1})
	w.add(&pull{inbox: "e", batch: 9, expires: 200, heartbeat: 20, beat: 20})
	w.add(&pull{inbox: "f", batch: 1})
	if next := w.look(1, false, 7, 9, h.say); next != 20 {
		t.Errorf("looks again at %d, want 20", next)
	}
	h.want(t)
	if next := w.look(25, true, 7, 9, h.say); next != 45 {
		t.Errorf("looks again at %d, want 45", next)
	}
	h.want(t, "b: 404 No Messages", "d: 404 No Messages", "e: 100 Idle Heartbeat 7 9")
	w.look(60, true, 7, 9, h.say)
	h.want(t, "a: 408 Request Timeout 2 0", "c: 408 Request Timeout 2 0", "e: 100 Idle Heartbeat 7 9")
	if w.next(1, 200, h.say).inbox != "f" { // one whose time is over gets nothing more
		t.Error("a pull whose time is over gets a message")
	}
	h.want(t, "e: 408 Request Timeout 9 0")
	w.endAll(409, "Consumer Deleted", h.say)
	h.want(t, "f: 409 Consumer Deleted")
	if next := w.look(70, true, 7, 9, h.say); next != 0 {
		t.Errorf("looks again at %d, with nobody there", next)
	}
}

// A message puts the next heartbeat off.
func TestPullsBeat(t *testing.T) {
	var w pulls
	var h heard
	w.add(&pull{inbox: "a", batch: 9, heartbeat: 20, beat: 20})
	w.next(1, 15, h.say)
	w.took(1, 15, h.say)
	if next := w.look(20, true, 1, 1, h.say); next != 35 {
		t.Errorf("beats at %d, want 35", next)
	}
	h.want(t)
}
