package broker_test

import (
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/headwater/headwater/broker"
	"github.com/headwater/headwater/broker/brokertest"
	"github.com/headwater/headwater/broker/commitlog"
	"github.com/headwater/headwater/broker/topic"
)

// appendAt puts a batch at an offset or nowhere.
func appendAt(b *brokertest.Box, name string, offset int64, numbers ...int) (int64, error) {
	type outcome struct {
		offset int64
		err    error
	}
	stored := make(chan outcome, 1)
	b.AppendAt(name, 0, batchOf(numbers...), offset, func(offset int64, err error) { stored <- outcome{offset, err} })
	got := <-stored
	return got.offset, got.err
}

// A batch that belongs at one offset is appended there, or not at all.
func TestAppendAt(t *testing.T) {
	b := brokertest.Start(t, brokertest.Config(t.TempDir()))
	appendBatches(t, b, "press", batchOf(0, 1))
	for _, tc := range []struct {
		offset int64
		next   int64 // where the log ends, if it is not there
	}{{2, 0}, {2, 4}, {5, 4}, {0, 4}, {4, 0}} {
		got, err := appendAt(b, "press", tc.offset, int(tc.offset), int(tc.offset)+1)
		var mismatch *commitlog.OffsetMismatch
		switch {
		case tc.next == 0 && (err != nil || got != tc.offset):
			t.Errorf("at %d: %d, %v", tc.offset, got, err)
		case tc.next != 0 && (!errors.As(err, &mismatch) || mismatch.Next != tc.next || mismatch.Wanted != tc.offset):
			t.Errorf("at %d: got %v, want that the log ends at %d", tc.offset, err, tc.next)
		}
	}
	got := readAll(t, b, "press", 0)
	want := []string{"0@1000 k0=v0", "1@1001 k1=v1", "2@1002 k2=v2", "3@1003 k3=v3", "4@1004 k4=v4", "5@1005 k5=v5"}
	if !slices.Equal(got, want) {
		t.Errorf("stored %q\nwant %q", got, want)
	}
	if _, err := appendAt(b, "nobody", 0, 1); !errors.Is(err, broker.ErrUnknownPartition) {
		t.Errorf("an unknown partition: %v", err)
	}
	if _, err := appendAt(b, "__consumer_offsets", 0, 1); !errors.Is(err, topic.ErrInternal) {
		t.Errorf("an internal topic: %v", err)
	}
}

// Of many that want the same offset at the same time, one gets it.
func TestAppendAtRace(t *testing.T) {
	b := brokertest.Start(t, brokertest.Config(t.TempDir()))
	appendBatches(t, b, "press", batchOf(0))
	for offset := int64(1); offset < 50; offset++ {
		var won atomic.Int64
		var all sync.WaitGroup
		for i := range 8 {
			all.Go(func() {
				if _, err := appendAt(b, "press", offset, i); err == nil {
					won.Add(1)
				}
			})
		}
		all.Wait()
		if won.Load() != 1 {
			t.Fatalf("offset %d: %d were appended, want 1", offset, won.Load())
		}
	}
}
