package pull

import (
	"bytes"
	"encoding/json"
	"math"
	"strconv"
	"time"
)

// ackKind is what an acknowledgement says.
type ackKind int8

const (
	ackDone     ackKind = iota // +ACK, or nothing
	ackNext                    // +NXT: done, and here is a pull
	ackAgain                   // -NAK: give it again
	ackProgress                // +WPI: work in progress
	ackNever                   // +TERM: never give it again
)

// ack is an acknowledgement of a delivery.
type ack struct {
	stream, consumer []byte
	offset           int64
	kind             ackKind
	delay            time.Duration // of ackAgain
	rest             []byte        // of ackNext: the pull
}

// parseAck reads an acknowledgement from its subject behind "ACK." and its payload.
// ok is false when it is none.
func parseAck(subject, payload []byte) (a ack, ok bool) {
	var tokens [7][]byte // stream, consumer, deliveries, two sequences, time, pending
	for i := range tokens {
		var more bool
		tokens[i], subject, more = bytes.Cut(subject, dot)
		if more != (i < len(tokens)-1) {
			return ack{}, false
		}
	}
	sequence, ok := parseNumber(tokens[3])
	if !ok || sequence == 0 {
		return ack{}, false
	}
	a = ack{stream: tokens[0], consumer: tokens[1], offset: offsetOf(sequence)}
	return a, a.parse(payload)
}

var (
	sayDone     = []byte("+ACK")
	sayOK       = []byte("+OK")
	sayNext     = []byte("+NXT")
	sayAgain    = []byte("-NAK")
	sayProgress = []byte("+WPI")
	sayNever    = []byte("+TERM")
)

func (a *ack) parse(payload []byte) (ok bool) {
	switch {
	case len(payload) == 0, bytes.Equal(payload, sayDone), bytes.Equal(payload, sayOK):
		a.kind = ackDone
	case bytes.HasPrefix(payload, sayNext):
		a.kind, a.rest = ackNext, payload[len(sayNext):]
	case bytes.HasPrefix(payload, sayAgain):
		a.kind, a.delay = ackAgain, parseDelay(payload[len(sayAgain):])
	case bytes.Equal(payload, sayProgress):
		a.kind = ackProgress
	case bytes.HasPrefix(payload, sayNever): // the reason is for those who read events
		a.kind = ackNever
	default:
		return false
	}
	return true
}

// parseDelay reads how long a client wants to wait: JSON or a duration. What it is not
// able to read is no delay, as with JetStream.
func parseDelay(arg []byte) time.Duration {
	arg = bytes.TrimSpace(arg)
	var d time.Duration
	switch {
	case len(arg) == 0:
	case arg[0] == '{':
		var r struct {
			Delay time.Duration `json:"delay"`
		}
		if json.Unmarshal(arg, &r) == nil {
			d = r.Delay
		}
	default:
		if parsed, err := time.ParseDuration(string(arg)); err == nil {
			d = parsed
		}
	}
	return min(max(d, 0), longestWait)
}

// parseNumber reads a decimal number without a sign.
func parseNumber(text []byte) (n uint64, ok bool) {
	if len(text) == 0 || len(text) > 19 { // what has 19 digits fits
		return 0, false
	}
	for _, c := range text {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = 10*n + uint64(c-'0')
	}
	return n, true
}

// appendAckSubject appends where a delivery is acknowledged. Clients read from it
// what the message is: how often it was given, its two sequences, its time in
// nanoseconds, and how many are left.
func appendAckSubject(dst []byte, stream, consumer string, count int, offset int64, sequenceOfConsumer uint64, timestamp int64, pending int64) []byte {
	dst = append(dst, "$JS.ACK."...)
	dst = append(dst, stream...)
	dst = append(dst, '.')
	dst = append(dst, consumer...)
	for _, n := range [...]uint64{uint64(count), sequence(offset), sequenceOfConsumer, uint64(nanoseconds(timestamp)), uint64(pending)} {
		dst = append(dst, '.')
		dst = strconv.AppendUint(dst, n, 10)
	}
	return dst
}

// nanoseconds are a timestamp's, as far as such numbers reach: to the year 2262.
func nanoseconds(timestamp int64) int64 {
	const perMilli = int64(time.Millisecond)
	return min(max(timestamp, 0), math.MaxInt64/perMilli) * perMilli
}
