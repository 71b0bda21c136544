package commitlog

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/headwater/headwater/broker/disk"
	"github.com/headwater/headwater/broker/record"
)

// Too little memory for the keys takes several rounds, and each says that it was
// too little.
func TestCompactWithLittleMemory(t *testing.T) {
	d := start(t, disk.NewCrash(1), Options{})
	l := d.mustOpen(t, "t-0", compacting)
	for range 2 {
		for i := range 40 {
			l.mustAppend(t, keyedBatch(t, record.Snappy, keyed{key: fmt.Sprint(i), value: strings.Repeat("v", 90)}))
		}
	}
	seal(t, l)
	o := cleanerOptions
	o.BufferBytes = 12 * slotBytes // 9 keys
	compact(t, d.Dir, o, whole(l))
	if full, rounds := testutil.ToFloat64(d.metrics.fullRounds), testutil.ToFloat64(d.metrics.rounds); full < 7 || rounds != full+1 {
		t.Errorf("%v rounds, %v of them full", rounds, full)
	}
	checkCompacted(t, l.Log, contents(t, l.Log))
}

// The settings say when a log is compacted, and what of it.
func TestCompactWhen(t *testing.T) {
	clock := newFakeClock()
	d := start(t, disk.NewCrash(1), Options{Clock: clock})
	l := d.mustOpen(t, "t-0", compacting)
	batch := func() { // some 800 bytes: one in each segment
		l.mustAppend(t, keyedBatch(t, record.None, keyed{key: "a", value: strings.Repeat("v", 700)}))
	}
	batch()
	batch()
	batch()
	seal(t, l)
	clock.pass(time.Minute)
	batch()
	seal(t, l)
	end := l.EndOffset()
	for name, tc := range map[string]struct {
		cleanEnd, highWatermark int64
		change                  func(*Settings)
		due                     bool
		until                   int64
	}{
		"all":           {0, end, func(*Settings) {}, true, 4},
		"clean":         {4, end, func(*Settings) {}, false, 4},
		"highWatermark": {0, 3, func(*Settings) {}, true, 3},
		"inside":        {0, 2, func(*Settings) {}, true, 2},
		"beyond":        {99, end, func(*Settings) {}, true, 4},
		"enough":        {2, end, func(s *Settings) { s.MinDirtyRatio = 0.4 }, true, 4},
		"tooLittle":     {2, end, func(s *Settings) { s.MinDirtyRatio = 0.6 }, false, 4},
		"overdue":       {2, end, func(s *Settings) { s.MinDirtyRatio, s.MaxCompactionLag = 0.6, 30*time.Second }, true, 4},
		"notOverdue":    {2, end, func(s *Settings) { s.MinDirtyRatio, s.MaxCompactionLag = 0.6, 2*time.Minute }, false, 4},
		"young":         {0, end, func(s *Settings) { s.MinCompactionLag = 30 * time.Second }, true, 3},
		"allYoung":      {0, end, func(s *Settings) { s.MinCompactionLag = 2 * time.Minute }, false, 0},
	} {
		s := compacting
		tc.change(&s)
		l.Configure(s)
		now := d.clock.now()
		got := l.dirt(tc.cleanEnd, tc.highWatermark, now)
		if got.due(&s) != tc.due {
			t.Errorf("%s: due %v, %+v, ratio %v", name, got.due(&s), got, got.ratio())
		}
		if until := l.cleanableEnd(l.view.Load(), got.from, tc.highWatermark, now); until != tc.until {
			t.Errorf("%s: up to %d, want %d", name, until, tc.until)
		}
	}
	s := compacting
	s.Compact = false
	l.Configure(s)
	compact(t, d.Dir, cleanerOptions, whole(l))
	if n := testutil.ToFloat64(d.metrics.rounds); n != 0 {
		t.Errorf("%v rounds over a log that is not to be compacted", n)
	}
}

func TestGroups(t *testing.T) {
	seg := func(base, end, size int64, horizon time.Duration) part {
		return part{sizeBytes: size, baseOffset: base, endOffset: end, horizon: horizon}
	}
	alone := seg(10, 20, 10, 0)
	alone.alone = true
	for name, tc := range map[string]struct {
		parts []part
		want  string
	}{
		"none":     {nil, "[]"},
		"fit":      {[]part{seg(0, 10, 50, 0), seg(10, 20, 50, 0)}, "[{0 2}]"},
		"tooLarge": {[]part{seg(0, 10, 50, 0), seg(10, 20, 51, 0), seg(20, 30, 49, 0)}, "[{0 1} {1 3}]"},
		"oneLarge": {[]part{seg(0, 10, 500, 0), seg(10, 20, 1, 0)}, "[{0 1} {1 2}]"},
		"tooFar":   {[]part{seg(0, 10, 1, 0), seg(10, 10+1<<31, 1, 0), seg(10+1<<31, 20+1<<31, 1, 0)}, "[{0 1} {1 2} {2 3}]"},
		"sameTime": {[]part{seg(0, 10, 1, 60), seg(10, 20, 1, 69)}, "[{0 2}]"},
		"later":    {[]part{seg(0, 10, 1, 69), seg(10, 20, 1, 70)}, "[{0 1} {1 2}]"},
		"without":  {[]part{seg(0, 10, 1, 0), seg(10, 20, 1, 69), seg(20, 30, 1, 0), seg(30, 40, 1, 71)}, "[{0 3} {3 4}]"},
		"alone":    {[]part{seg(0, 10, 1, 0), alone, seg(20, 30, 1, 0)}, "[{0 1} {1 2} {2 3}]"},
	} {
		if got := fmt.Sprint(groups(tc.parts, 100, 10)); got != tc.want {
			t.Errorf("%s: %s, want %s", name, got, tc.want)
		}
	}
}

// Of several logs the dirtiest is first; those that are deleted leave no trace for
// another of their name.
func TestCompactPicksDirtiest(t *testing.T) {
	d := start(t, disk.NewCrash(1), Options{})
	var logs []Compactable
	for i := range 3 {
		l := d.mustOpen(t, fmt.Sprint("t-", i), compacting)
		for range 1 + i {
			l.mustAppend(t, keyedBatch(t, record.None, keyed{key: "a", value: strings.Repeat("v", 1000)}))
			seal(t, l)
		}
		if err := d.cleanPoints.set(l.name, 1); err != nil {
			t.Fatal(err)
		}
		logs = append(logs, whole(l))
	}
	c := NewCleaner(d.Dir, cleanerOptions)
	if got, from, found := c.pick(logs); !found || got.Log != logs[2].Log || from != 1 {
		t.Errorf("picked %s from %d, %v", got.Log.name, from, found)
	}
	if got := testutil.ToFloat64(d.metrics.dirtiest); int(got) != 66 {
		t.Errorf("the dirtiest is %v percent dirty, want 66", got)
	}
	if err := d.DeleteLog("t-2"); err != nil {
		t.Fatal(err)
	}
	points, err := parseOffsets(get(t, d.fs, "data/"+cleanerFile))
	if err != nil || !maps.Equal(points, map[string]int64{"t-0": 1, "t-1": 1}) {
		t.Errorf("the checkpoint has %v, %v", points, err)
	}
}

// A stop does not wait for a compaction that is throttled.
func TestCompactStops(t *testing.T) {
	d := start(t, disk.NewCrash(1), Options{})
	l := d.mustOpen(t, "t-0", compacting)
	for range 10 {
		l.mustAppend(t, keyedBatch(t, record.None, keyed{key: "a", value: strings.Repeat("v", 700)}))
	}
	o := cleanerOptions
	o.BytesPerSecond = 1
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan bool)
	go func() { ended <- NewCleaner(d.Dir, o).CleanDirtiest(ctx, []Compactable{whole(l)}) }()
	cancel()
	if <-ended {
		t.Error("the cleaner wants to go on")
	}
	if n := testutil.ToFloat64(d.metrics.writtenBytes); n != 0 {
		t.Errorf("%v bytes written", n)
	}
}

// A log that is deleted while it is compacted leaves no checkpoint to the next one
// of its name.
func TestCompactOfADeletedLog(t *testing.T) {
	d := start(t, disk.NewCrash(1), Options{})
	l := d.mustOpen(t, "t-0", compacting)
	l.mustAppend(t, keyedBatch(t, record.None, keyed{key: "a", value: "1"}))
	seal(t, l)
	c := NewCleaner(d.Dir, cleanerOptions)
	c.keys = newOffsetMap(cleanerOptions.BufferBytes)
	r := newRound(context.Background(), c, whole(l), 0)
	if err := d.DeleteLog("t-0"); err != nil {
		t.Fatal(err)
	}
	r.view = &view{r.view.segments[1:]} // it has been through all by then
	if err := r.run(); !errors.Is(err, ErrClosed) || d.cleanPoints.get("t-0") != 0 {
		t.Errorf("compaction ends with %v; the checkpoint says %d", err, d.cleanPoints.get("t-0"))
	}
}

// What was compacted and then cut off is dirty again, also when it is cut off while a
// compaction runs: that gives up, and takes no record for the sake of one that is gone.
func TestCompactionOfATruncatedLog(t *testing.T) {
	for _, during := range []int{0, 7, 12} { // after it; when all keys are noted; when the last batch was looked at
		d := start(t, disk.NewCrash(0), Options{})
		l := d.mustOpen(t, "t-0", compacting)
		write := func(value string) {
			t.Helper()
			for _, key := range []string{"a", "b", "c"} {
				l.mustAppend(t, keyedBatch(t, record.None, keyed{key: key, value: strings.Repeat(value, 80)}))
			}
			seal(t, l)
		}
		write("one")
		write("two")
		o, calls := cleanerOptions, 0
		o.Decompress = func(c record.Codec, src []byte, maxBytes int64) ([]byte, error) {
			if calls++; calls == during {
				mustDo(t, l.Truncate(4))
			}
			return cleanerOptions.Decompress(c, src, maxBytes)
		}
		NewCleaner(d.Dir, o).CleanDirtiest(t.Context(), []Compactable{whole(l)})
		if during == 0 {
			mustDo(t, l.Truncate(4))
		}
		if at := d.cleanPoints.get("t-0"); at > 4 || l.EndOffset() != 4 {
			t.Errorf("during %d: compacted before %d, and the log ends at %d", during, at, l.EndOffset())
		}
		if got := latest(contents(t, l.Log)); during == 7 && (got["a"][:3] != "two" || got["b"] == "" || got["c"] == "") {
			t.Errorf("the log has %.5q", got)
		}
		write("three")
		write("four")
		compact(t, d.Dir, cleanerOptions, whole(l))
		all := contents(t, l.Log)
		checkCompacted(t, l.Log, all)
		if got := latest(all); len(all) != 3 || got["a"][:4] != "four" {
			t.Errorf("during %d: %d records are left, %.5q", during, len(all), got)
		}
	}
}
