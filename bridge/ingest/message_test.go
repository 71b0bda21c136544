package ingest

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/headwater/headwater/bridge/subject"
	"github.com/headwater/headwater/broker/record"
)

// A record is the payload, keyed as the rule says, stamped with the time of
// receipt, with our headers first and then the device's as they came.
func TestRecord(t *testing.T) {
	for name, tc := range map[string]struct {
		headers string
		want    string
	}{
		"none":          {"", ""},
		"empty":         {"NATS/1.0\r\n\r\n", ""},
		"one":           {"NATS/1.0\r\nUnit: °C\r\n\r\n", "Unit=°C;"},
		"status line":   {"NATS/1.0 100 Idle\r\nA:b\r\n\r\n", "A=b;"},
		"repeated":      {"NATS/1.0\r\nA: 1\r\nB: 2\r\nA: 3\r\n\r\n", "A=1;B=2;A=3;"},
		"blanks":        {"NATS/1.0\r\nA:  \t b c \r\nB:\r\n\r\n", "A=b c ;B=;"},
		"colon inside":  {"NATS/1.0\r\nA: b:c\r\n\r\n", "A=b:c;"},
		"lone newlines": {"NATS/1.0\r\nA: b\nc\rd\r\n\r\n", "A=b\nc\rd;"},
		"forged":        {"NATS/1.0\r\nhw-time: 0\r\nHW-Subject: x\r\nHw-Other: y\r\nhw: z\r\n\r\n", "hw=z;"},
		"binary value":  {"NATS/1.0\r\nA: \xff\x00\r\n\r\n", "A=\xff\x00;"},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, Config{}, func(r *rig) {
				r.warm()
				r.Take(&Message{Subject: []byte("telemetry.d1.temp"), Reply: []byte("r"), Headers: []byte(tc.headers), Payload: []byte("20.5")})
				r.idle()
				batches := r.log.all()
				if len(batches) != 1 {
					t.Fatalf("%d batches, want 1; answers %v", len(batches), r.devices.all())
				}
				rec := recordsOf(t, batches[0].batch)[0]
				now := strconv.FormatInt(r.start.UnixMilli(), 10)
				var got strings.Builder
				for _, h := range rec.Headers {
					fmt.Fprintf(&got, "%s=%s;", h.Key, h.Value)
				}
				if want := "hw-subject=telemetry.d1.temp;hw-time=" + now + ";" + tc.want; got.String() != want {
					t.Errorf("headers %q, want %q", got.String(), want)
				}
				if string(rec.Value) != "20.5" || string(rec.Key) != "d1" || batches[0].batch.MaxTimestamp() != r.start.UnixMilli() {
					t.Errorf("key %q value %q time %d", rec.Key, rec.Value, batches[0].batch.MaxTimestamp())
				}
			})
		})
	}
}

// An empty payload is an empty value, not a tombstone, also after it has waited
// for its topic.
func TestEmptyPayload(t *testing.T) {
	inBubble(t, Config{}, func(r *rig) {
		for range 2 { // the first waits for the topic
			r.Take(&Message{Subject: []byte("telemetry.d1.temp"), Reply: []byte("r")})
			r.idle()
		}
		for _, a := range r.log.all() {
			if rec := recordsOf(t, a.batch)[0]; rec.Value == nil || len(rec.Value) != 0 {
				t.Errorf("value %v, want an empty one", rec.Value)
			}
		}
		if got := len(r.log.all()); got != 2 {
			t.Errorf("%d batches, want 2", got)
		}
	})
}

// Whatever the block, reading it does not panic; what it accepts is bounded, has
// names that consumers can read, and none of them is forged.
func FuzzHeaders(f *testing.F) {
	for _, s := range []string{
		"", "NATS/1.0\r\n\r\n", "NATS/1.0\r\nA: b\r\n\r\n", "NATS/1.0\r\nA: b\r\nHW-x:\r\n\r\n", "NATS/1.0",
		"NATS/1.0\r\n\r\nmore", "NATS/1.0\r\n:\r\n\r\n", "\r\n\r\n", "NATS/1.0 503\r\n\r\n", "NATS/1.0\r\nA\r\n\r\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, block []byte) {
		before := bytes.Clone(block)
		headers, why, _ := appendHeaders(nil, block, new(subject.Route))
		if !bytes.Equal(before, block) {
			t.Fatal("the block was changed")
		}
		if why != taken {
			return
		}
		size := 0
		for _, h := range headers {
			if h.Key == "" || !utf8.ValidString(h.Key) || own(h.Key) {
				t.Fatalf("name %q", h.Key)
			}
			size += len(h.Key) + len(h.Value)
		}
		if len(headers) > maxHeaders || size > len(block) {
			t.Fatalf("%d headers with %d bytes out of %d", len(headers), size, len(block))
		}
		bound := recordBound(nil, block, headers)
		var b record.Builder
		b.Add(1<<60, nil, block, headers)
		if got := len(b.Batch()) - record.HeaderLen; got > bound {
			t.Fatalf("a record of %d bytes, the bound is %d", got, bound)
		}
	})
}
