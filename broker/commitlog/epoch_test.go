package commitlog

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/headwater/headwater/broker/disk"
)

func TestEndOffset(t *testing.T) {
	some := epochs{{2, 10}, {5, 30}, {6, 40}}
	for _, tc := range []struct {
		in        epochs
		epoch     int32
		wantEpoch int32
		wantEnd   int64
	}{
		{nil, 0, -1, -1},
		{some, -1, -1, -1},
		{some, 0, 0, 10}, // before all: nothing of it is here
		{some, 1, 1, 10},
		{some, 2, 2, 30},
		{some, 3, 2, 30}, // no such epoch: the one before
		{some, 4, 2, 30},
		{some, 5, 5, 40},
		{some, 6, 6, 100}, // the latest ends where the log does
		{some, 7, -1, -1},
		{epochs{{3, 120}}, 3, 3, 120}, // begun after the log's end was looked at
	} {
		if epoch, end := tc.in.endOffset(tc.epoch, 100); epoch != tc.wantEpoch || end != tc.wantEnd {
			t.Errorf("%v: epoch %d ends as %d at %d, want %d at %d", tc.in, tc.epoch, epoch, end, tc.wantEpoch, tc.wantEnd)
		}
	}
}

func TestEpochs(t *testing.T) {
	some := epochs{{2, 10}, {5, 30}, {6, 40}}
	before := slices.Clone(some)
	for name, tc := range map[string]struct{ got, want epochs }{
		"later":            {some.with(7, 50), epochs{{2, 10}, {5, 30}, {6, 40}, {7, 50}}},
		"withoutBatches":   {some.with(7, 40), epochs{{2, 10}, {5, 30}, {7, 40}}},
		"overwrites":       {some.with(7, 20), epochs{{2, 10}, {7, 20}}},
		"goesBack":         {some.with(5, 50), epochs{{2, 10}, {5, 50}}},
		"first":            {epochs(nil).with(3, 0), epochs{{3, 0}}},
		"fromBefore":       {some.from(5), some},
		"fromFirst":        {some.from(10), some},
		"fromInside":       {some.from(25), epochs{{2, 25}, {5, 30}, {6, 40}}},
		"fromStart":        {some.from(30), epochs{{5, 30}, {6, 40}}},
		"fromLast":         {some.from(99), epochs{{6, 99}}},
		"fromNone":         {epochs(nil).from(99), nil},
		"withinAll":        {some.within(10, 50), some},
		"ahead":            {some.within(10, 40), epochs{{2, 10}, {5, 30}}},
		"farAhead":         {some.within(10, 12), epochs{{2, 10}}},
		"allAhead":         {some.within(0, 5), epochs{}},
		"deleted":          {some.within(60, 60), epochs{{6, 60}}},
		"deletedAndAhead":  {some.within(40, 40), epochs{{5, 40}}},
		"deletedNothingBy": {epochs{{6, 40}}.within(40, 40), epochs{{6, 40}}},
		"empty":            {epochs{{6, 40}}.within(30, 30), epochs{}},
	} {
		if !slices.Equal(tc.got, tc.want) {
			t.Errorf("%s: %v, want %v", name, tc.got, tc.want)
		}
	}
	if !slices.Equal(some, before) {
		t.Errorf("a list that was shared is now %v", some)
	}
}

func TestParseEpochs(t *testing.T) {
	for data, want := range map[string]epochs{
		"0\n0\n": {}, "0\n1\n3 7\n": {{3, 7}}, "0\n2\n0 0\n3 7\n": {{0, 0}, {3, 7}}, "0\n1\n3 7": {{3, 7}},
		"": nil, "0\n": nil, "1\n0\n": nil, "0\n1\n": nil, "0\n1\n0 0\n3 7\n": nil, "0\n2\n3 7\n": nil, "0\n1\n3\n": nil,
		"0\n1\n-1 7\n": nil, "0\n1\n3 -7\n": nil, "0\n1\n3 7 9\n": nil, "0\n1\nx 7\n": nil, "0\n1\n2147483648 7\n": nil,
		"0\n2\n3 7\n3 8\n": nil, "0\n2\n3 7\n4 7\n": nil, "0\n2\n3 7\n2 8\n": nil,
	} {
		got, err := parseEpochs([]byte(data))
		if (err == nil) != (want != nil) || !slices.Equal(got, want) {
			t.Errorf("%s: %v, %v, want %v", strings.ReplaceAll(data, "\n", "|"), got, err, want)
		}
		if err == nil && !bytes.Equal(bytes.TrimSpace(formatEpochs(got)), bytes.TrimSpace([]byte(data))) {
			t.Errorf("%q is written as %q", data, formatEpochs(got))
		}
	}
}

// epochLog returns a closed log of several segments and epochs, and those: the
// first changes inside a segment, as most do, others where one begins.
func epochLog(t *testing.T) (fsys *disk.Crash, want epochs) {
	t.Helper()
	fsys = disk.NewCrash(0)
	d := start(t, fsys, Options{})
	l := d.mustOpen(t, "t-0", Settings{SegmentBytes: 2000, RetentionBytes: -1, Retention: -1}) // four batches
	for i, epoch := range []int32{1, 1, 3, 3, 3, 3, 3, 3, 4, 4, 4, 4, 6, 7, 7, 9} {
		if _, err := l.Append(newBatch(1, int64(i), 400, 'a'), epoch); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(l.view.Load().segments); n != 4 {
		t.Fatalf("%d segments", n)
	}
	mustDo(t, d.stop())
	return fsys, epochs{{1, 0}, {3, 2}, {4, 8}, {6, 12}, {7, 13}, {9, 15}}
}

// The file is Kafka's, and when it cannot be used the log tells the same.
func TestEpochFile(t *testing.T) {
	path := logDir + "/" + epochFile
	for name, do := range map[string]func(t *testing.T, fsys disk.FS){
		"whole":   func(*testing.T, disk.FS) {},
		"missing": func(t *testing.T, fsys disk.FS) { mustDo(t, fsys.Remove(path)) },
		"empty":   func(t *testing.T, fsys disk.FS) { put(t, fsys, path, nil) },
		"cut":     func(t *testing.T, fsys disk.FS) { put(t, fsys, path, get(t, fsys, path)[:12]) },
		"stale":   func(t *testing.T, fsys disk.FS) { put(t, fsys, path, []byte("0\n2\n1 0\n3 2\n")) },
		"late":    func(t *testing.T, fsys disk.FS) { put(t, fsys, path, []byte("0\n1\n9 15\n")) },
		"damagedLog": func(t *testing.T, fsys disk.FS) {
			mustDo(t, fsys.Remove(path))
			flipInPlace(t, fsys, firstFile, 473+atMagic) // offset 1
			flipInPlace(t, fsys, segmentPath(8, logExt), 473+atMagic)
		},
	} {
		t.Run(name, func(t *testing.T) {
			fsys, want := epochLog(t)
			if got, want := string(get(t, fsys, path)), "0\n6\n1 0\n3 2\n4 8\n6 12\n7 13\n9 15\n"; got != want {
				t.Fatalf("the file is %q, want %q", got, want)
			}
			do(t, fsys)
			l := start(t, fsys, Options{}).mustOpen(t, "t-0", keepAll)
			for epoch := int32(0); epoch < 11; epoch++ {
				wantEpoch, wantEnd := want.endOffset(epoch, 16)
				if found, end, err := l.EndOffsetForEpoch(epoch); found != wantEpoch || end != wantEnd || err != nil {
					t.Errorf("epoch %d ends as %d at %d, %v; want %d at %d", epoch, found, end, err, wantEpoch, wantEnd)
				}
			}
			if last, err := l.LastEpoch(); last != 9 || err != nil {
				t.Errorf("last epoch %d, %v", last, err)
			}
		})
	}
}

// Where the file cannot be used, what is read does not grow with the log, but with
// its segments and the changes of epoch.
func TestEpochsReadLittle(t *testing.T) {
	crash := disk.NewCrash(0)
	d := start(t, crash, Options{})
	l := d.mustOpen(t, "t-0", Settings{SegmentBytes: 100_000, RetentionBytes: -1, Retention: -1})
	for i := range 1000 {
		if _, err := l.Append(newBatch(1, int64(i), 900, 'a'), int32(i/700)); err != nil {
			t.Fatal(err)
		}
	}
	mustDo(t, d.stop())
	mustDo(t, crash.Remove(logDir+"/"+epochFile))
	fsys := &counting{FS: crash}
	l = start(t, fsys, Options{}).mustOpen(t, "t-0", keepAll)
	if read := fsys.read.Load(); read > 64 { // a header, and what it is rounded up to
		t.Errorf("opening read %d bytes", read)
	}
	fsys.read.Store(0)
	if found, end, err := l.EndOffsetForEpoch(0); found != 0 || end != 700 || err != nil {
		t.Errorf("epoch 0 ends as %d at %d, %v", found, end, err)
	}
	if read, segments := fsys.read.Load(), int64(len(l.view.Load().segments)); read > 100_000+segments*2*walkBytes || segments < 9 {
		t.Errorf("read %d bytes of %d segments", read, segments)
	}
}

// An epoch is on stable storage before its first batch is written, and one whose
// batches a power cut took is forgotten.
func TestEpochBeforeBatch(t *testing.T) {
	for seed := range uint64(20) {
		crash := disk.NewCrash(seed)
		fsys := &faulty{FS: crash}
		d := start(t, fsys, Options{})
		l := d.mustOpen(t, "t-0", keepAll)
		l.mustAppend(t, newBatch(2, 0, 10, 'a')) // of epoch 1
		mustDo(t, l.await(2))
		fsys.onWrite = func(name string, p []byte) (int, error) {
			if strings.HasSuffix(name, logExt) {
				crash.CrashAt(0)
			}
			return len(p), nil
		}
		if _, err := l.Append(newBatch(2, 0, 10, 'a'), 5); !errors.Is(err, disk.ErrCrashed) {
			t.Fatalf("append ended with %v", err)
		}
		after := crash.Restart(seed)
		if got, want := string(get(t, after, logDir+"/"+epochFile)), "0\n2\n1 0\n5 2\n"; got != want {
			t.Fatalf("the file is %q, want %q", got, want)
		}
		l = start(t, after, Options{}).mustOpen(t, "t-0", keepAll)
		wantLast := int32(1)
		if l.EndOffset() > 2 { // all of the write survived
			wantLast = 5
		}
		_, _, err := l.EndOffsetForEpoch(0)
		if last, lastErr := l.LastEpoch(); last != wantLast || err != nil || lastErr != nil {
			t.Errorf("seed %d: the log ends at %d, in epoch %d, %v, %v", seed, l.EndOffset(), last, err, lastErr)
		}
		if _, err := l.Append(newBatch(1, 0, 10, 'a'), 1); err != nil { // the epoch before, again
			t.Fatal(err)
		}
		if got := string(get(t, after, logDir+"/"+epochFile)); wantLast == 1 && got != "0\n1\n1 0\n" {
			t.Errorf("seed %d: the file is %q", seed, got)
		}
	}
}

// A disk that takes no epoch takes no batch of it: a full one for now, another for
// good.
func TestEpochNotKept(t *testing.T) {
	for want, cause := range map[error]error{ErrFull: errNoSpace, ErrOffline: errors.New("broken")} {
		fail := false
		fsys := &faulty{FS: disk.NewCrash(0), onWrite: func(name string, p []byte) (int, error) {
			if fail && strings.Contains(name, epochFile) {
				return 0, cause
			}
			return len(p), nil
		}}
		l := start(t, fsys, Options{}).mustOpen(t, "t-0", keepAll)
		l.mustAppend(t, newBatch(1, 0, 10, 'a'))
		fail = true
		if _, err := l.Append(newBatch(1, 0, 10, 'a'), 2); !errors.Is(err, want) || !errors.Is(err, cause) {
			t.Errorf("%v: append ended with %v, want %v", cause, err, want)
		}
		if l.EndOffset() != 1 {
			t.Errorf("%v: the log ends at %d", cause, l.EndOffset())
		}
		fail = false
		if _, err := l.Append(newBatch(1, 0, 10, 'a'), 2); (err == nil) != (want == ErrFull) {
			t.Errorf("%v: the next append ended with %v", cause, err)
		}
		if found, end, err := l.EndOffsetForEpoch(1); found != 1 || end != 1 || err != nil {
			t.Errorf("%v: epoch 1 ends as %d at %d, %v", cause, found, end, err)
		}
	}
}

// A leader's epoch is known before its first batch is there.
func TestBeginEpoch(t *testing.T) {
	l := start(t, disk.NewCrash(0), Options{}).mustOpen(t, "t-0", keepAll)
	check := func(epoch, wantEpoch int32, wantEnd int64) {
		t.Helper()
		if found, end, err := l.EndOffsetForEpoch(epoch); found != wantEpoch || end != wantEnd || err != nil {
			t.Errorf("epoch %d ends as %d at %d, %v; want %d at %d", epoch, found, end, err, wantEpoch, wantEnd)
		}
	}
	check(3, -1, -1)
	l.BeginEpoch(3)
	check(3, 3, 0)
	check(2, 2, 0)
	check(4, -1, -1)
	l.mustAppend(t, newBatch(5, 0, 10, 'a')) // of epoch 1, which can still be written
	check(1, 1, 5)
	check(2, 1, 5)
	check(3, 3, 5)
	if _, err := l.Append(newBatch(1, 0, 10, 'a'), 3); err != nil {
		t.Fatal(err)
	}
	check(1, 1, 5)
	check(3, 3, 6)
}
