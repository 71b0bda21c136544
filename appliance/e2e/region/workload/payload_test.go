package workload

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/headwater/headwater/appliance/e2e/region/checker"
)

// A record says which value it is of, and not if a byte of it is another, is missing or
// is one too many.
func TestPayload(t *testing.T) {
	sizes := map[int]bool{}
	for v := checker.Value(1); v < 200; v++ {
		data := payload(v)
		sizes[len(data)] = true
		if got := valueOf(&kgo.Record{Value: data}); got != v {
			t.Fatalf("the record of %d is of %d", v, got)
		}
		for i := range data {
			broken := bytes.Clone(data)
			broken[i] ^= 0x10
			if got := valueOf(&kgo.Record{Value: broken}); got == v {
				t.Fatalf("with byte %d changed it is of %d still", i, v)
			}
		}
		for _, other := range [][]byte{data[:len(data)-1], append(bytes.Clone(data), 0), nil} {
			if got := valueOf(&kgo.Record{Value: other}); got == v {
				t.Fatalf("%d bytes in place of %d are of %d still", len(other), len(data), v)
			}
		}
	}
	if len(sizes) < 20 {
		t.Errorf("records have %d sizes", len(sizes))
	}
	if got := valueOf(&kgo.Record{Value: make([]byte, valueBytes)}); got != checker.Foreign {
		t.Errorf("zeros are of %d", got)
	}
}

// What is told of clients is bounded, and a pause is one partition's.
func TestRecorder(t *testing.T) {
	r := NewRecorder(checker.Rules{}, nil)
	for i := range 10 * maxProblems {
		r.problem("refused")
		r.problem(fmt.Sprint("refused ", i))
	}
	if got := r.Problems(); len(got) != maxProblems || got[0] != fmt.Sprint(10*maxProblems, " × refused") {
		t.Errorf("%d problems are kept, want %d; the first is %q", len(got), maxProblems, got[0])
	}
	v := r.send(1, 0)
	r.Take(checker.Event{Kind: checker.Ack, Client: 1, Value: v})
	r.Take(checker.Event{Kind: checker.Start})
	r.Take(checker.Event{Kind: checker.Stored, Value: v})
	if n, pause := r.Acked(); n != 1 || pause != 0 {
		t.Errorf("%d acked with a pause of %v, want 1 and none", n, pause)
	}
	if report, err := r.Report(); err != nil || !report.Sound() || report.Stored != 1 {
		t.Errorf("%v, %v", report, err)
	}
}
