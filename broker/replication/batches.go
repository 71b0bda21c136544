package replication

import (
	"errors"
	"fmt"
	"io"

	"github.com/headwater/headwater/broker/record"
)

// batches are what of a fetch's records a log can take.
type batches struct {
	bytes      []byte // whole, checked, in order
	baseOffset int64  // of the first
	nextOffset int64  // behind the last
}

// check returns the batches of records that a log which ends at fetchOffset can take
// from a leader of leaderEpoch. They end before the first that it cannot take, and
// err says why unless it is only that the answer was cut off in the middle of it. The
// first may begin before fetchOffset if it goes beyond: leaders send whole batches.
func check(records []byte, fetchOffset int64, leaderEpoch int32) (batches, error) {
	got := batches{bytes: records[:0:0], baseOffset: fetchOffset, nextOffset: fetchOffset}
	rest := records
	for len(rest) > 0 {
		b, behind, err := record.Next(rest)
		if errors.Is(err, io.ErrUnexpectedEOF) && len(got.bytes) > 0 {
			return got, nil
		}
		if err == nil {
			err = follows(b, got.nextOffset, leaderEpoch, len(got.bytes) == 0)
		}
		if err != nil {
			return got, fmt.Errorf("batch behind offset %d: %w", got.nextOffset, err)
		}
		if len(got.bytes) == 0 {
			got.baseOffset = b.BaseOffset()
		}
		rest, got.nextOffset = behind, b.NextOffset()
		got.bytes = records[:len(records)-len(rest)]
	}
	return got, nil
}

// follows reports whether b can stand where a log ends at logEndOffset.
func follows(b record.Batch, logEndOffset int64, leaderEpoch int32, first bool) error {
	switch {
	case b.LastOffsetDelta() < 0 || b.NextOffset() <= logEndOffset || b.BaseOffset() < 0,
		!first && b.BaseOffset() < logEndOffset:
		return fmt.Errorf("%w: it is of the offsets %d to %d", record.ErrCorrupt, b.BaseOffset(), b.LastOffset())
	case b.LeaderEpoch() > leaderEpoch: // of a leader that we do not follow yet
		return fmt.Errorf("%w: leader epoch %d is later than the leader's own, %d", record.ErrCorrupt, b.LeaderEpoch(), leaderEpoch)
	}
	return nil
}
