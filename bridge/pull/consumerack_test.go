package pull

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

func TestParseAck(t *testing.T) {
	const subject = "press-0.c1.2.101.7.1700000000000000000.5"
	for payload, want := range map[string]ack{
		"":                           {kind: ackDone},
		"+ACK":                       {kind: ackDone},
		"+OK":                        {kind: ackDone},
		"+NXT":                       {kind: ackNext, rest: []byte{}},
		`+NXT {"batch":3}`:           {kind: ackNext, rest: []byte(` {"batch":3}`)},
		"-NAK":                       {kind: ackAgain},
		`-NAK {"delay": 1500000000}`: {kind: ackAgain, delay: 1500 * time.Millisecond},
		"-NAK 2s":                    {kind: ackAgain, delay: 2 * time.Second},
		"-NAK soon":                  {kind: ackAgain},
		`-NAK {"delay": -5}`:         {kind: ackAgain},
		"+WPI":                       {kind: ackProgress},
		"+TERM":                      {kind: ackNever},
		"+TERM broken sensor":        {kind: ackNever},
	} {
		got, ok := parseAck([]byte(subject), []byte(payload))
		if !ok || string(got.stream) != "press-0" || string(got.consumer) != "c1" || got.offset != 100 ||
			got.kind != want.kind || got.delay != want.delay || !bytes.Equal(got.rest, want.rest) {
			t.Errorf("%q: %+v, ok %v; want %+v", payload, got, ok, want)
		}
	}
	for _, bad := range [][2]string{
		{subject, "hello"},
		{subject, "+ACKNOWLEDGED"},
		{"", ""},
		{"press-0.c1.2.101.7.1", ""},
		{subject + ".6", ""},
		{"press-0.c1.2.0.7.1.5", ""},
		{"press-0.c1.2.-1.7.1.5", ""},
		{"press-0.c1.2.x.7.1.5", ""},
		{"press-0.c1.2.99999999999999999999.7.1.5", ""},
	} {
		if got, ok := parseAck([]byte(bad[0]), []byte(bad[1])); ok {
			t.Errorf("%q with %q is taken for %+v", bad[0], bad[1], got)
		}
	}
}

// What clients are told to acknowledge with is what parseAck reads.
func FuzzAckSubject(f *testing.F) {
	f.Add(int64(0), int64(0), uint64(1), int64(0))
	f.Add(int64(1<<61), int64(-5), uint64(1<<63), int64(1<<62))
	f.Fuzz(func(t *testing.T, offset, timestamp int64, sequence uint64, pending int64) {
		offset, pending = max(offset, 0)>>1, max(pending, 0)
		subject := appendAckSubject(nil, "press-0", "c_1", 3, offset, sequence, timestamp, pending)
		if n := strings.Count(string(subject), ".") + 1; n != 9 {
			t.Fatalf("%s has %d tokens, want 9", subject, n)
		}
		a, ok := parseAck(bytes.TrimPrefix(subject, []byte("$JS.ACK.")), nil)
		if !ok || a.offset != offset || string(a.stream) != "press-0" || string(a.consumer) != "c_1" {
			t.Fatalf("%s: %+v, ok %v; want offset %d", subject, a, ok, offset)
		}
	})
}
