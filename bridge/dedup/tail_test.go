package dedup

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/headwater/headwater/broker/record"
)

// fakeLog is a partition in memory. Record n has id "n", unless its id is taken out.
type fakeLog struct {
	start, end int64
	valueBytes int
	timestamp  func(offset int64) int64
	bad        map[int64]bool // batches, here records, that cannot be read
	without    map[int64]bool // records without an id
	fail       error

	reads   int
	records int // that were yielded
}

func (f *fakeLog) Offsets(string, int32) (int64, int64, int64, error) {
	return f.start, f.end, 0, f.fail
}

func (f *fakeLog) ReadRecords(_ string, _ int32, from int64, maxBytes int, yield func(offset, timestamp int64, r record.Record) bool) (int64, error) {
	f.reads++
	if f.fail != nil || from < f.start || from > f.end {
		return from, errors.Join(f.fail, errors.New("out of range"))
	}
	for read := 0; from < f.end && (read == 0 || read < maxBytes); from++ {
		if f.bad[from] {
			return from, errors.New("bad batch")
		}
		r := record.Record{Value: make([]byte, f.valueBytes), Headers: []record.Header{{Key: "Other", Value: []byte("x")}}}
		if !f.without[from] {
			r.Headers = append(r.Headers, record.Header{Key: Header, Value: fmt.Append(nil, from)}, record.Header{Key: Header, Value: []byte("second")})
		}
		read += 100 + f.valueBytes
		f.records++
		if !yield(from, f.timestamp(from), r) {
			return from, nil
		}
	}
	return from, nil
}

func TestTail(t *testing.T) {
	const now = 1_700_000_000_000
	everySecond := func(offset int64) int64 { return now + 1000*offset }
	bounds := Bounds{LeastRecords: 100, Records: 5000, Bytes: 1 << 20, Age: 2 * time.Minute}
	for name, tc := range map[string]struct {
		log        fakeLog
		bounds     Bounds
		start, end int64
		first      int64 // the first that must be found, up to end
		atMost     int64 // records that may be found beyond that
	}{
		"empty":             {fakeLog{timestamp: everySecond}, bounds, 0, 0, 0, 0},
		"whole":             {fakeLog{end: 90, timestamp: everySecond}, bounds, 0, 90, 0, 0},
		"between":           {fakeLog{end: 90, timestamp: everySecond}, bounds, 10, 50, 10, 0},
		"starts later":      {fakeLog{start: 1000, end: 1050, timestamp: everySecond}, bounds, 1000, 1050, 1000, 0},
		"by age":            {fakeLog{end: 10_000, timestamp: everySecond}, bounds, 0, 10_000, 10_000 - 120, 400},
		"by records":        {fakeLog{end: 10_000, timestamp: func(int64) int64 { return now }}, bounds, 0, 10_000, 5000, 0},
		"by bytes":          {fakeLog{end: 10_000, valueBytes: 1 << 10, timestamp: func(int64) int64 { return now }}, bounds, 0, 10_000, 10_000 - 900, 300},
		"large records":     {fakeLog{end: 1000, valueBytes: 1 << 20, timestamp: everySecond}, bounds, 0, 1000, 1000 - 16, 0},
		"the clock was set": {fakeLog{end: 1000, timestamp: func(o int64) int64 { return o / 990 * now }}, bounds, 0, 1000, 1000 - 100, 300},
		"skips bad batches": {fakeLog{end: 90, timestamp: everySecond, bad: map[int64]bool{0: true, 41: true, 42: true, 89: true}}, bounds, 0, 90, 0, 0},
		"records without":   {fakeLog{end: 90, timestamp: everySecond, without: map[int64]bool{0: true, 41: true, 89: true}}, bounds, 0, 90, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			w := New(10_000, time.Minute)
			id := func(value []byte) ID { return w.ID(1, value) }
			seen, err := Tail(&tc.log, "t", 3, tc.start, tc.end, tc.bounds, id)
			if err != nil {
				t.Fatal(err)
			}
			found := map[int64]bool{}
			for _, s := range seen {
				if s.ID != id(fmt.Append(nil, s.Offset)) || s.Offset < tc.start || s.Offset >= tc.end {
					t.Fatalf("%+v is no record of the range", s)
				}
				found[s.Offset] = true
			}
			if !slices.IsSortedFunc(seen, func(a, b Seen) int { return int(a.Offset - b.Offset) }) || len(found) != len(seen) {
				t.Error("not in the order of the log, or twice")
			}
			for offset := tc.first; offset < tc.end; offset++ {
				if want := !tc.log.bad[offset] && !tc.log.without[offset]; found[offset] != want {
					t.Fatalf("offset %d: found %v, want %v", offset, found[offset], want)
				}
			}
			if beyond := int64(tc.log.records) - (tc.end - tc.first); beyond > tc.atMost+int64(tc.log.reads) {
				t.Errorf("%d records were read beyond those that count, want at most %d", beyond, tc.atMost)
			}
		})
	}
}

// What retention takes while it is read is passed over; a log that cannot be read
// is an error.
func TestTailErrors(t *testing.T) {
	w := New(10, time.Minute)
	id := func(value []byte) ID { return w.ID(1, value) }
	bounds := Bounds{LeastRecords: 100, Records: 5000, Bytes: 1 << 20, Age: time.Minute}
	log := &fakeLog{start: 50, end: 60, timestamp: func(int64) int64 { return 1 }}
	if seen, err := Tail(log, "t", 3, 0, 60, bounds, id); err != nil || len(seen) != 10 {
		t.Errorf("a log that starts later: %d found, %v", len(seen), err)
	}
	broken := errors.New("disk broke")
	if _, err := Tail(&fakeLog{end: 60, fail: broken}, "t", 3, 0, 60, bounds, id); !errors.Is(err, broken) {
		t.Errorf("got %v, want the log's error", err)
	}
	bad := map[int64]bool{}
	for i := range int64(5000) {
		bad[i] = true
	}
	if _, err := Tail(&fakeLog{end: 5000, bad: bad, timestamp: log.timestamp}, "t", 3, 0, 5000, bounds, id); err == nil {
		t.Error("a log of which nothing can be read is no error")
	}
}
