package partition

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"testing"
	"testing/synctest"
	"time"

	"github.com/headwater/headwater/broker/codec"
	"github.com/headwater/headwater/broker/commitlog"
	"github.com/headwater/headwater/broker/disk"
	"github.com/headwater/headwater/broker/record"
	"github.com/headwater/headwater/broker/topic"
)

// compacted are the settings of a topic that is compacted whenever there is
// anything to compact.
func compacted() topic.Settings {
	s := topic.Defaults()
	s.Cleanup, s.SegmentBytes, s.MinDirtyRatio = topic.Compact, 1<<20, 0
	return s
}

// withKeys returns a batch of one record for each key, nil for none, compressed.
func withKeys(t testing.TB, c record.Codec, value []byte, keys ...[]byte) record.Batch {
	t.Helper()
	var bu record.Builder
	for i, key := range keys {
		bu.Add(int64(i), key, value, nil)
	}
	b := bu.Batch()
	packed, err := codec.Compress(c, b.Payload())
	if err != nil {
		t.Fatal(err)
	}
	return b.With(c, packed, b.Count(), b.MaxTimestamp())
}

// sentBy makes b an idempotent producer's.
func sentBy(b record.Batch, producerID int64, sequence int32) record.Batch {
	binary.BigEndian.PutUint64(b[43:], uint64(producerID))
	binary.BigEndian.PutUint16(b[51:], 0)
	binary.BigEndian.PutUint32(b[53:], uint32(sequence))
	return b.With(b.Codec(), b.Payload(), b.Count(), b.MaxTimestamp())
}

// A compacted topic takes no record without a key, however it is compressed, and
// no batch that nobody could look into; another topic takes them.
func TestRecordsWithoutKey(t *testing.T) {
	l := mustLive(t, disk.NewCrash(1))
	defer l.end(true)
	a, none := []byte("a"), []byte(nil)
	for c := record.None; c <= record.Zstd; c++ {
		for name, tc := range map[string]struct {
			batch record.Batch
			want  error // of a compacted topic
		}{
			"keys":     {withKeys(t, c, nil, a, []byte{}, a), nil},
			"first":    {withKeys(t, c, nil, none, a), record.ErrInvalid},
			"last":     {withKeys(t, c, nil, a, a, none), record.ErrInvalid},
			"overlong": {withKeys(t, c, make([]byte, maxCompactedBytes), a), codec.ErrTooLarge},
			"garbage":  {withKeys(t, c, nil, a).With(c, []byte("garbage"), 1, 0), codec.ErrCorrupt},
		} {
			if c == record.None && tc.want != record.ErrInvalid { // what is not compressed was looked into before
				tc.want = nil
			}
			if name == "garbage" && c == record.None {
				continue
			}
			for policy, want := range map[topic.CleanupPolicy]error{topic.Delete: nil, topic.Compact: tc.want, topic.CompactAndDelete: tc.want} {
				s := topic.Defaults()
				s.Cleanup = policy
				l.Configure("press", 0, s)
				end := l.p.log.EndOffset()
				_, _, err := l.p.Append(bytes.Clone(tc.batch))
				if !errors.Is(err, want) || (err == nil) != (want == nil) {
					t.Errorf("%v, %s, %v: got %v, want %v", c, name, policy, err, want)
				}
				if appended := l.p.log.EndOffset() > end; appended != (want == nil) {
					t.Errorf("%v, %s, %v: appended %v", c, name, policy, appended)
				}
			}
		}
	}
}

// What a topic's settings say to its logs.
func TestLogSettings(t *testing.T) {
	base := topic.Defaults()
	base.Retention, base.RetentionBytes, base.SegmentAge = time.Hour, 1<<30, time.Minute
	for name, tc := range map[string]struct {
		change func(*topic.Settings)
		want   func(*commitlog.Settings)
	}{
		"delete": {func(s *topic.Settings) { s.MaxCompactionLag = time.Second }, func(s *commitlog.Settings) { s.MaxCompactionLag = time.Second }},
		"reject": {func(s *topic.Settings) { s.Full = topic.Reject }, func(s *commitlog.Settings) { s.KeepWhenFull = true }},
		"compact": {func(s *topic.Settings) { s.Cleanup = topic.Compact }, func(s *commitlog.Settings) {
			s.Compact, s.KeepWhenFull, s.Retention, s.RetentionBytes = true, true, -1, -1
		}},
		"both": {func(s *topic.Settings) { s.Cleanup = topic.CompactAndDelete }, func(s *commitlog.Settings) { s.Compact = true }},
		"lags": {func(s *topic.Settings) {
			s.Cleanup, s.MinCompactionLag, s.MaxCompactionLag = topic.CompactAndDelete, 3*time.Second, 9*time.Second
		}, func(s *commitlog.Settings) {
			s.Compact, s.MinCompactionLag, s.MaxCompactionLag, s.SegmentAge = true, 3*time.Second, 9*time.Second, 9*time.Second
		}},
	} {
		want := commitlog.Settings{
			SegmentBytes: base.SegmentBytes, SegmentAge: time.Minute, RetentionBytes: 1 << 30, Retention: time.Hour,
			MinDirtyRatio: 0.5, DeleteRetention: 24 * time.Hour, MaxCompactionLag: -1,
		}
		s := base
		tc.change(&s)
		tc.want(&want)
		if got := logSettings(s); got != want {
			t.Errorf("%s: got %+v\nwant %+v", name, got, want)
		}
	}
}

// An idempotent producer goes on where it was after all that it wrote was
// compacted away and the process restarted, also when the log is all that is left
// to tell of it. What it sends again is found, and what it leaves out refused.
func TestProducerAfterCompaction(t *testing.T) {
	for name, lose := range map[string]bool{"snapshots": false, "logAlone": true} {
		t.Run(name, func(t *testing.T) { synctest.Test(t, func(t *testing.T) { producerAfterCompaction(t, lose) }) })
	}
}

func producerAfterCompaction(t *testing.T, loseSnapshots bool) {
	fsys := disk.NewCrash(1)
	l := mustLive(t, fsys)
	l.Configure("press", 0, compacted())
	key := func(sequence int32) record.Batch {
		return sentBy(withKeys(t, record.Gzip, []byte(fmt.Sprint("by 9: ", sequence)), []byte("key")), 9, sequence)
	}
	for sequence := range int32(3) {
		l.mustPut(t, key(sequence), int64(sequence))
	}
	large := withKeys(t, record.None, make([]byte, 600<<10), []byte("key"))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() {
		ended <- l.RunCleaner(ctx, CleanerConfig{BufferBytes: 1 << 20, BytesPerSecond: 1 << 20, Interval: time.Second})
	}()
	for i := range int64(5) { // the second compaction merges what the first has made small
		l.mustPut(t, bytes.Clone(large), 3+i)
		time.Sleep(time.Minute) // of the bubble's: the cleaner has done all that there is to do
	}
	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if left := l.p.Size(); left > int64(len(large))*5/2 { // one in what is sealed, one in the active segment
		t.Fatalf("%d bytes are left", left)
	}
	l.end(true)
	if loseSnapshots {
		for _, name := range snapshots(t, fsys) {
			if err := disk.WriteFile(fsys, "/data/press-0/"+name, []byte("damaged")); err != nil {
				t.Fatal(err)
			}
		}
	}
	l = mustLiveWith(t, fsys, compacted())
	defer l.end(true)
	l.mustPut(t, key(2), 2)
	l.mustRefuse(t, key(4), ErrOutOfOrderSequence)
	l.mustPut(t, key(3), 8)
	if got := values(t, l.p); !maps.Equal(got, map[string]string{"key": "by 9: 3"}) {
		t.Errorf("a reader finds %v", got)
	}
}

// values is what a reader makes of the partition.
func values(t *testing.T, p *Partition) map[string]string {
	t.Helper()
	all := map[string]string{}
	start, end := p.Offsets()
	for at := start; at < end; {
		f, err := p.Read(at, 1<<20, true)
		rest := f.Records.Bytes
		if err != nil || len(rest) == 0 {
			t.Fatalf("read from %d: %d bytes, %v", at, len(rest), err)
		}
		for len(rest) > 0 {
			var b record.Batch
			if b, rest, err = record.Next(rest); err == nil && b.Count() > 0 {
				err = codec.Records(b, 1<<20, func(r record.Record) bool {
					all[string(r.Key)] = string(r.Value)
					return true
				})
			}
			if err != nil {
				t.Fatal(err)
			}
			at = b.NextOffset()
		}
	}
	return all
}

// Of a time that only emptied batches had, nothing is found, and what comes later
// is.
func TestOffsetForTimeAfterCompaction(t *testing.T) {
	l := mustLiveWith(t, disk.NewCrash(1), compacted())
	defer l.end(true)
	l.mustPut(t, sentBy(withKeys(t, record.None, nil, []byte("a"), []byte("a")), 9, 0), 0)
	large := make([]byte, 700<<10)
	l.mustPut(t, withKeys(t, record.None, large, []byte("a")), 2)
	l.mustPut(t, withKeys(t, record.None, large, []byte("b"), []byte("a")), 3)
	cleaner := commitlog.NewCleaner(l.dir, commitlog.CleanerOptions{BufferBytes: 1 << 20, MaxBatchBytes: 1 << 20, Decompress: codec.Decompress, Compress: codec.Compress})
	for cleaner.CleanDirtiest(t.Context(), l.compactable()) {
	}
	if f, err := l.p.Read(0, 1, true); err != nil || record.Batch(f.Records.Bytes).Count() != 0 {
		t.Fatalf("the log begins with %d records, %v; want the producer's last batch, empty", record.Batch(f.Records.Bytes).Count(), err)
	}
	offset, at, found, err := l.p.OffsetForTime(1)
	if err != nil || !found || offset != 4 || at != 1 {
		t.Errorf("found %v: offset %d at %d, %v; want offset 4 at 1", found, offset, at, err)
	}
}
