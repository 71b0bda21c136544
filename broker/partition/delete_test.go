package partition

import (
	"errors"
	"testing"
	"testing/synctest"

	"github.com/headwater/headwater/broker/commitlog"
	"github.com/headwater/headwater/broker/disk"
	"github.com/headwater/headwater/broker/record"
)

// Records are deleted up to the high watermark, and no further. Those that share a
// batch with ones that stay are not found by their time either.
func TestDeleteBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := openBox(t, commitlog.Interval)
		p := b.partition(t)
		appendTo(t, p, batch(3, 5000)) // 5000, 5010, 5020 at offsets 0 to 2
		appendTo(t, p, batch(3, 1000)) // 1000, 1010, 1020 at offsets 3 to 5
		if start, err := p.DeleteBefore(1); !errors.Is(err, commitlog.ErrOffsetOutOfRange) {
			t.Errorf("before a sync: deleted before %d, %v", start, err)
		}
		b.leave <- nil
		synctest.Wait()
		if start, err := p.DeleteBefore(2); start != 2 || err != nil {
			t.Fatalf("deleted before %d, %v", start, err)
		}
		if start, highWatermark := p.Offsets(); start != 2 || highWatermark != 6 {
			t.Errorf("offsets %d to %d, want 2 to 6", start, highWatermark)
		}
		if f, err := p.Read(1, 1<<20, true); !errors.Is(err, commitlog.ErrOffsetOutOfRange) || f.LogStartOffset != 2 {
			t.Errorf("reading below the start: %+v, %v", f, err)
		}
		for timestamp, want := range map[int64][2]int64{0: {2, 5020}, 5000: {2, 5020}, 5020: {2, 5020}} {
			if offset, at, found, err := p.OffsetForTime(timestamp); !found || err != nil || offset != want[0] || at != want[1] {
				t.Errorf("time %d: offset %d at %d, found %v, %v; want %v", timestamp, offset, at, found, err, want)
			}
		}
		if start, err := p.DeleteBefore(7); !errors.Is(err, commitlog.ErrOffsetOutOfRange) {
			t.Errorf("above the high watermark: deleted before %d, %v", start, err)
		}
	})
}

// When the record that reaches a time lies before the start, inside a batch, it is
// a later batch that has the answer.
func TestOffsetForTimeBehindStart(t *testing.T) {
	l := mustLive(t, disk.NewCrash(1))
	defer l.end(true)
	var bu record.Builder
	bu.Add(9000, nil, []byte("late"), nil)
	bu.Add(1000, nil, []byte("early"), nil)
	l.mustPut(t, bu.Batch(), 0)
	l.mustPut(t, batch(1, 9500), 2)
	check := func(timestamp, want int64) {
		t.Helper()
		offset, _, found, err := l.p.OffsetForTime(timestamp)
		if !found {
			offset = -1
		}
		if offset != want || err != nil {
			t.Errorf("time %d: offset %d, %v, want %d", timestamp, offset, err, want)
		}
	}
	check(5000, 0)
	if _, err := l.p.DeleteBefore(1); err != nil {
		t.Fatal(err)
	}
	check(500, 1)
	check(5000, 2)
	check(9600, -1)
}

// What idempotent producers sent before the start is known after a kill, and after
// a power cut, as if it were still there.
func TestDeletedIsStillRepeated(t *testing.T) {
	for _, policy := range []commitlog.Policy{commitlog.Sync, commitlog.OS} {
		for name, end := range map[string]func(*disk.Crash) *disk.Crash{
			"kill": (*disk.Crash).Kill,
			"cut":  func(c *disk.Crash) *disk.Crash { return c.Restart(1) },
		} {
			t.Run(policy.String()+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					fsys := disk.NewCrash(1)
					l, err := live(fsys, policy, DefaultProducerLimits())
					if err != nil {
						t.Fatal(err)
					}
					for i := range int32(4) {
						l.mustPut(t, sent(1, 0, 2*i, 2), int64(2*i))
					}
					if err := l.p.log.Flush(); err != nil {
						t.Fatal(err)
					}
					l.mustPut(t, sent(2, 0, 0, 1), 8) // under OS, behind what is synced
					if start, err := l.p.DeleteBefore(8); start != 8 || err != nil {
						t.Fatalf("deleted before %d, %v", start, err)
					}
					fsys = end(fsys)
					l.end(false)
					if l, err = live(fsys, policy, DefaultProducerLimits()); err != nil {
						t.Fatal(err)
					}
					if start, highWatermark := l.p.Offsets(); start != 8 || highWatermark != 9 {
						t.Errorf("offsets %d to %d, want 8 to 9", start, highWatermark)
					}
					l.mustPut(t, sent(1, 0, 6, 2), 6) // a repeated one, though it is gone
					l.mustRefuse(t, sent(1, 0, 12, 2), ErrOutOfOrderSequence)
					l.mustPut(t, sent(1, 0, 8, 2), 9)
					l.end(true)
				})
			})
		}
	}
}

// Epochs end no later than what is durable does.
func TestEndOffsetForEpoch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := openBox(t, commitlog.Interval)
		p := b.partition(t)
		check := func(epoch, wantEpoch int32, wantEnd int64) {
			t.Helper()
			if found, end, err := p.EndOffsetForEpoch(epoch); found != wantEpoch || end != wantEnd || err != nil {
				t.Errorf("epoch %d ends as %d at %d, %v; want %d at %d", epoch, found, end, err, wantEpoch, wantEnd)
			}
		}
		epoch := p.LeaderEpoch()
		check(epoch, epoch, 0)
		appendTo(t, p, batch(3, 0))
		check(epoch, epoch, 0)
		b.leave <- nil
		synctest.Wait()
		check(epoch, epoch, 3)
		check(epoch+1, -1, -1)
		b.set.Lead("press", 0, epoch+2)
		check(epoch+1, epoch, 3)
		check(epoch+2, epoch+2, 3)
	})
}
