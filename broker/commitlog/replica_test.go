package commitlog

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/headwater/headwater/broker/disk"
	"github.com/headwater/headwater/broker/record"
)

// stamped is a batch as a leader has stamped it.
func stamped(count int, baseOffset int64, leaderEpoch int32) record.Batch {
	b := newBatch(count, 10*baseOffset, 200, byte(baseOffset))
	b.Stamp(baseOffset, leaderEpoch)
	return b
}

// A follower's log holds what the leader's does, byte for byte, however the batches
// come: one by one or those of a fetch together; over segments, epochs and gaps, and
// after a restart.
func TestAppendReplica(t *testing.T) {
	all := []record.Batch{stamped(2, 0, 0), stamped(1, 2, 0), stamped(3, 3, 1), stamped(2, 6, 1), stamped(2, 9, 4), stamped(2, 11, 4), stamped(5, 100, 5), stamped(1, 105, 5)}
	for name, put := range map[string]func(l *Log) error{
		"each": func(l *Log) error {
			for _, b := range all {
				if err := l.AppendReplica(slices.Clone(b)); err != nil {
					return err
				}
			}
			return nil
		},
		"together": func(l *Log) error { return l.AppendReplicas(bytes.Join(asBytes(all), nil)) },
	} {
		crash := disk.NewCrash(1)
		d := start(t, crash, Options{})
		l := d.mustOpen(t, "t-0", fourASegment)
		l.BeginEpoch(3) // this broker led once, and has appended nothing
		mustDo(t, put(l.Log))
		mustDo(t, l.await(106))
		checkWhole(t, l.Log, 0, 106, all)
		if n := len(l.view.Load().segments); n < 2 {
			t.Errorf("%s: %d segments", name, n)
		}
		l = start(t, crash.Restart(1), Options{}).mustOpen(t, "t-0", fourASegment)
		checkWhole(t, l.Log, 0, 106, all)
	}
}

// What cannot follow is refused, and what came before it in the same fetch stays.
func TestAppendReplicaRefuses(t *testing.T) {
	backwards := newBatch(1, 0, 1, 'x')
	backwards.Stamp(20, 5)
	backwards[23] = 0x80 // last offset delta
	huge := stamped(1, math.MaxInt64-5, 5)
	for name, tc := range map[string]struct {
		bad  record.Batch
		want error
	}{
		"offset":      {stamped(1, 9, 5), ErrReplicaOffset},
		"offsetFirst": {stamped(1, 0, 5), ErrReplicaOffset},
		"reachesIn":   {stamped(5, 8, 5), ErrReplicaOffset},
		"epoch":       {stamped(1, 20, 3), ErrReplicaEpoch},
		"noEpoch":     {stamped(1, 20, -1), ErrReplicaEpoch},
		"delta":       {backwards, record.ErrInvalid},
		"overflow":    {huge, record.ErrInvalid},
	} {
		l := start(t, disk.NewCrash(0), Options{}).mustOpen(t, "t-0", fourASegment)
		good := []record.Batch{stamped(4, 0, 1), stamped(6, 4, 4)}
		err := l.AppendReplicas(bytes.Join(append(asBytes(good), tc.bad), nil))
		if !errors.Is(err, tc.want) {
			t.Errorf("%s ended with %v, want %v", name, err, tc.want)
		}
		if err := l.AppendReplica(tc.bad); !errors.Is(err, tc.want) {
			t.Errorf("%s alone ended with %v, want %v", name, err, tc.want)
		}
		mustDo(t, l.await(10))
		checkWhole(t, l.Log, 0, 10, good)
		if used := l.budget.used.Load(); used != l.Size() {
			t.Errorf("%s: the budget counts %d bytes of %d", name, used, l.Size())
		}
	}
	l := start(t, disk.NewCrash(0), Options{}).mustOpen(t, "t-0", fourASegment)
	for _, odd := range [][]byte{nil, {1, 2, 3}, stamped(1, 0, 0)[:70], append(stamped(1, 0, 0), 7)} {
		if err := l.AppendReplica(odd); !errors.Is(err, record.ErrInvalid) {
			t.Errorf("%d bytes: %v", len(odd), err)
		}
	}
	if l.EndOffset() != 0 {
		t.Errorf("the log ends at %d", l.EndOffset())
	}
}

// A leader's log may start inside a batch, with which its follower begins: the batch is
// there whole, and the log starts where it is to.
func TestAppendReplicaStartsInside(t *testing.T) {
	for name, end := range ends {
		for _, empty := range []func(l *watched){
			func(l *watched) { mustDo(t, l.Reset(15)) },
			func(l *watched) { // all of it deleted, and still there
				mustDo(t, l.AppendReplica(stamped(15, 0, 2)))
				if _, err := l.DeleteBefore(15); err != nil {
					t.Fatal(err)
				}
			},
		} {
			crash := disk.NewCrash(3)
			d := start(t, crash, Options{})
			l := d.mustOpen(t, "t-0", fourASegment)
			empty(l)
			for _, bad := range []record.Batch{stamped(5, 10, 2), stamped(3, 10, 2)} {
				if err := l.AppendReplica(bad); !errors.Is(err, ErrReplicaOffset) {
					t.Errorf("%s: a batch of deleted records: %v", name, err)
				}
			}
			all := []record.Batch{stamped(9, 10, 2), stamped(3, 19, 2)}
			mustDo(t, l.AppendReplicas(bytes.Join(asBytes(all), nil)))
			mustDo(t, l.awaitExactly(22))
			checkWhole(t, l.Log, 15, 22, all)
			if _, err := l.Read(14, 22, 1<<20, true); !errors.Is(err, ErrOffsetOutOfRange) {
				t.Errorf("%s: reading before the start ended with %v", name, err)
			}
			l = start(t, end(t, d, crash), Options{}).mustOpen(t, "t-0", fourASegment)
			checkWhole(t, l.Log, 15, 22, all)
		}
	}
}

// More offsets than an index can hold may be missing. Nothing is taken for lost.
func TestAppendReplicaFarAhead(t *testing.T) {
	const far = 3 << 30
	for _, first := range []record.Batch{nil, stamped(2, 0, 1)} {
		crash := disk.NewCrash(1)
		l := start(t, crash, Options{}).mustOpen(t, "t-0", fourASegment)
		all := []record.Batch{stamped(2, far, 1), stamped(2, far+2, 1), stamped(2, 2*far, 2)}
		if first != nil {
			all = append([]record.Batch{first}, all...)
		}
		mustDo(t, l.AppendReplicas(bytes.Join(asBytes(all), nil)))
		mustDo(t, l.await(2*far+2))
		check := func() {
			t.Helper()
			if got := everything(t, l.Log); !bytes.Equal(got, bytes.Join(asBytes(all), nil)) || l.EndOffset() != 2*far+2 || counted(l.dir) != 0 {
				t.Errorf("%d bytes up to %d, %v gaps", len(got), l.EndOffset(), counted(l.dir))
			}
		}
		check()
		l = start(t, crash.Restart(2), Options{}).mustOpen(t, "t-0", fourASegment)
		check()
	}
}

// A follower deletes what its leader has deleted, though it may have just got it.
func TestDeleteBeforeWhatIsNotDurable(t *testing.T) {
	crash := disk.NewCrash(1)
	d, err := OpenDir("data", Options{FS: crash}) // nothing syncs
	mustDo(t, err)
	l, err := d.OpenLog("t-0", topicA, fourASegment)
	mustDo(t, err)
	all := []record.Batch{stamped(5, 0, 1), stamped(5, 5, 1)}
	mustDo(t, l.AppendReplicas(bytes.Join(asBytes(all), nil)))
	if got, err := l.DeleteBefore(7); got != 7 || err != nil {
		t.Fatalf("deleted before %d, %v", got, err)
	}
	w := start(t, crash.Restart(1), Options{}).mustOpen(t, "t-0", fourASegment)
	checkWhole(t, w.Log, 7, 10, all[1:])
}

func TestFirstRun(t *testing.T) {
	a, b, c, d := stamped(2, 0, 1), stamped(2, 5, 1), stamped(1, 9, 2), stamped(1, 8, 2)
	join := func(batches ...record.Batch) []byte { return bytes.Join(asBytes(batches), nil) }
	for name, tc := range map[string]struct {
		in   []byte
		max  int
		want []byte
		err  error
	}{
		"all":       {join(a, b), 1 << 20, join(a, b), nil},
		"epoch":     {join(a, b, c), 1 << 20, join(a, b), nil},
		"goesBack":  {join(c, d), 1 << 20, c, nil},
		"maximum":   {join(a, b), len(a) + len(b), join(a, b), nil},
		"tooMuch":   {join(a, b), len(a) + len(b) - 1, a, nil},
		"largeOne":  {join(a, b), 1, a, nil},
		"cutOff":    {join(a, b[:80]), 1 << 20, a, nil},
		"badHeader": {append(join(a), make([]byte, 90)...), 1 << 20, a, nil},
		"first":     {b[:80], 1 << 20, nil, io.ErrUnexpectedEOF},
	} {
		got, err := firstRun(tc.in, tc.max)
		if !bytes.Equal(got, tc.want) || !errors.Is(err, tc.err) {
			t.Errorf("%s: %d bytes, %v; want %d, %v", name, len(got), err, len(tc.want), tc.err)
		}
	}
}

// Where the first batch is behind the log's start, its epoch counts from the start on: a
// start finds nothing wrong with that.
func TestAppendReplicaAfterAGap(t *testing.T) {
	crash := disk.NewCrash(1)
	l := start(t, crash, Options{}).mustOpen(t, "t-0", fourASegment)
	mustDo(t, l.AppendReplica(stamped(2, 7, 3)))
	mustDo(t, l.await(9))
	var log strings.Builder
	l = start(t, crash.Restart(1), Options{Log: slog.New(slog.NewTextHandler(&log, nil))}).mustOpen(t, "t-0", fourASegment)
	if epoch, end, err := l.EndOffsetForEpoch(2); epoch != 2 || end != 0 || err != nil {
		t.Errorf("epoch 2 ends as %d at %d, %v", epoch, end, err)
	}
	if strings.Contains(log.String(), "damaged") {
		t.Error(log.String())
	}
}
