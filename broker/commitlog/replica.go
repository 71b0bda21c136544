package commitlog

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/headwater/headwater/broker/record"
)

var (
	// ErrReplicaOffset is returned for a batch of a leader's that begins before the
	// log's end. Nothing of it was appended.
	ErrReplicaOffset = errors.New("batch from the leader begins before the end of the log")
	// ErrReplicaEpoch is returned for a batch of a leader's that is of an earlier epoch
	// than the batch before it. Nothing of it was appended.
	ErrReplicaEpoch = errors.New("batch from the leader goes back in its leader epoch")
)

// maxReplicaBytes bounds what is written at a time of the batches of one fetch.
const maxReplicaBytes = 1 << 20

// AppendReplica is AppendReplicas for one batch.
func (l *Log) AppendReplica(b record.Batch) error {
	if size, err := record.Size(b); err != nil || size != int64(len(b)) {
		return fmt.Errorf("%s: %w: %d bytes", l.name, record.ErrInvalid, len(b))
	}
	return l.AppendReplicas(b)
}

// AppendReplicas puts whole batches at the end of the log as their leader stamped
// them. The caller has held each against its checksum, as record.Next does. A batch
// begins where the log ends or, since a leader's log may be compacted, behind that,
// and is of the last batch's leader epoch or a later one, which begins with it. In
// an empty log the first one may begin before the start: a leader's log may start
// inside a batch.
//
// As with Append, a batch is durable when the durable end has passed it. After an
// error the batches before the one that it is about are appended: EndOffset tells.
func (l *Log) AppendReplicas(batches []byte) error {
	for len(batches) > 0 {
		run, err := firstRun(batches, maxReplicaBytes)
		if err != nil {
			return fmt.Errorf("%s: %w", l.name, err)
		}
		var appended int64
		put := func() (_ int64, err error) {
			appended, err = l.appendRun(run)
			return appended, err
		}
		err = l.admit(int64(len(run)), put)
		if errors.Is(err, errStartInside) {
			if err = l.startInside(run); err == nil {
				err = l.admit(int64(len(run)), put)
			}
		}
		if err != nil {
			return err
		}
		batches = batches[appended:]
	}
	return nil
}

// firstRun returns the batches that buf begins with which can go to the log together:
// of one leader epoch, in order, and of no more than maxBytes, or one. An error is
// about the first.
func firstRun(buf []byte, maxBytes int) (run []byte, err error) {
	n, next, epoch := 0, int64(0), int32(0)
	for n < len(buf) {
		b, _, err := record.Split(buf[n:])
		if err == nil && (b.LastOffsetDelta() < 0 || b.BaseOffset() < next || b.BaseOffset() > math.MaxInt64-math.MaxInt32-1) {
			err = fmt.Errorf("%w: offset %d after %d, and %d to the last", record.ErrInvalid, b.BaseOffset(), next-1, b.LastOffsetDelta())
		}
		switch {
		case n == 0 && err != nil:
			return nil, err
		case n == 0:
			epoch = b.LeaderEpoch()
		case err != nil || b.LeaderEpoch() != epoch || n+len(b) > maxBytes: // next time
			return buf[:n], nil
		}
		n, next = n+len(b), b.NextOffset()
	}
	return buf[:n], nil
}

// appendRun writes as much of a run as fits a segment, for which the budget has room,
// and returns how many bytes that is.
func (l *Log) appendRun(run []byte) (appendedBytes int64, err error) {
	l.appendMu.Lock()
	defer l.appendMu.Unlock()
	if err := l.usable(); err != nil {
		return 0, err
	}
	first, _, err := record.Split(run)
	if err != nil {
		return 0, err
	}
	if err := l.follows(first); err != nil {
		return 0, fmt.Errorf("%s: %w", l.name, err)
	}
	now := l.dir.clock.now()
	active, err := l.prepareAppend(int64(len(first)), first.BaseOffset(), first.LastOffset(), first.LeaderEpoch(), now)
	if err != nil {
		return 0, err
	}
	l.epochs.next.Store(-1) // this broker does not lead
	run = l.thatFit(active, run)
	pos := active.size.Load()
	if err := l.write(active, run, pos); err != nil {
		return 0, err
	}
	l.publishRun(active, run, pos, now)
	return int64(len(run)), nil
}

// errStartInside is for the first batch of an empty log that begins before the log
// does, and reaches into it.
var errStartInside = errors.New("the log starts inside the batch")

// follows reports what keeps a leader's batch from being the next. appendMu is held.
func (l *Log) follows(b record.Batch) error {
	start, end := l.StartOffset(), l.end.Load()
	if b.BaseOffset() < end {
		if start < end || b.NextOffset() <= end {
			return fmt.Errorf("%w: offsets %d to %d, the log ends at %d", ErrReplicaOffset, b.BaseOffset(), b.LastOffset(), end)
		}
		if b.BaseOffset() < l.view.Load().active().baseOffset || l.Size() > 0 {
			return errStartInside
		}
	}
	last := l.epochs.current.Load()
	if last < 0 { // none was appended since the start or a truncation
		known, err := l.epochsToAppend()
		if err != nil {
			return err
		}
		last = known.last()
	}
	if b.LeaderEpoch() < last {
		return fmt.Errorf("%w: epoch %d at offset %d, after epoch %d", ErrReplicaEpoch, b.LeaderEpoch(), b.BaseOffset(), last)
	}
	return nil
}

// startInside makes an empty log, where it is still one, take a run whose first batch
// begins before its start.
func (l *Log) startInside(run []byte) error {
	err := l.whileStill(func() error {
		first, _, err := record.Split(run)
		if err != nil || !errors.Is(l.follows(first), errStartInside) {
			return err
		}
		return l.restart(first.BaseOffset(), l.StartOffset())
	})
	l.awaitTelling()
	return err
}

// thatFit returns the batches of run that go into the active segment together: the
// first one does.
func (l *Log) thatFit(active *segment, run []byte) []byte {
	room := l.settings.Load().SegmentBytes - active.size.Load()
	n := 0
	for n < len(run) {
		b, _, err := record.Split(run[n:])
		if err != nil || n > 0 && (int64(n+len(b)) > room || b.LastOffset()-active.baseOffset > maxRelative) {
			break
		}
		n += len(b)
	}
	return run[:n]
}

// publishRun makes batches that were written at pos the log's.
func (l *Log) publishRun(active *segment, run []byte, pos int64, now time.Duration) {
	x, at := active.index.Load(), pos
	for rest := run; ; {
		b, after, err := record.Split(rest)
		if err != nil { // they were split before
			return
		}
		x.add(b, at, int64(len(b)))
		if len(after) == 0 {
			l.publish(active, len(run), b, at, now)
			return
		}
		rest, at = after, at+int64(len(b))
	}
}
