package replication

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/headwater/headwater/broker/cluster"
	"github.com/headwater/headwater/broker/record"
	"github.com/headwater/headwater/broker/replica"
	"github.com/headwater/headwater/broker/topic"
	"github.com/headwater/headwater/broker/wire"
)

// take gives each partition what the leader has answered for it, then waits for the
// disk, once for all.
func (ft *fetcher) take(asks []ask, resp *kmsg.FetchResponse) {
	byName := make(map[cluster.TopicPartition]ask, len(asks))
	names := map[topic.ID]string{}
	for _, a := range asks {
		byName[a.TopicPartition] = a
		names[a.id] = a.Topic
	}
	var grown, lost []ask
	byTopicPartition(resp, names, func(tp cluster.TopicPartition, part *kmsg.FetchResponseTopicPartition) {
		a, ok := byName[tp]
		if !ok || !ft.of.current(a.p) {
			return // another order has come meanwhile
		}
		switch code := wire.ErrorCode(part.ErrorCode); {
		case code == wire.OffsetOutOfRange:
			lost = append(lost, a)
		case code != wire.None:
			ft.of.refused(a.p, code)
		case part.DivergingEpoch.Epoch >= 0:
			ft.diverged(a, replica.EpochEnd{Epoch: part.DivergingEpoch.Epoch, EndOffset: part.DivergingEpoch.EndOffset})
		case ft.append(a, part):
			grown, ft.turn = append(grown, a), tp
		}
	})
	ft.await(grown)
	if len(lost) > 0 {
		ft.recover(lost)
	}
}

// append gives the partition its batches, and tells whether there were any.
func (ft *fetcher) append(a ask, part *kmsg.FetchResponseTopicPartition) (grown bool) {
	f := ft.of
	f.fetched(a.p, len(part.RecordBatches))
	got, bad := check(part.RecordBatches, a.offset, a.leaderEpoch)
	if err := ft.alignStart(a, got); err != nil {
		f.failedHere(a.p, err)
		return false
	}
	if err := a.replica.AppendFetched(a.leaderEpoch, got.bytes, part.HighWatermark, part.LogStartOffset); err != nil {
		f.failedHere(a.p, err)
		return false
	}
	f.metrics.bytes.Add(float64(len(got.bytes)))
	if bad != nil {
		f.metrics.corrupt.Inc()
		f.corrupt(a.p, bad)
	} else {
		f.followedTo(a.p, max(part.HighWatermark-got.nextOffset, 0))
	}
	return len(got.bytes) > 0
}

// alignStart lets an empty log begin where the leader's first batch does, which may
// be before the leader's log start: records are deleted by offset, and sent by batch.
func (ft *fetcher) alignStart(a ask, got batches) error {
	switch {
	case got.baseOffset >= a.offset:
		return nil
	case a.offset != a.logStartOffset:
		return fmt.Errorf("%w: the leader has a batch at offset %d that goes beyond our end, %d", record.ErrCorrupt, got.baseOffset, a.offset)
	}
	return a.replica.Restart(a.leaderEpoch, got.baseOffset)
}

// diverged removes what the leader does not have. The next fetch tells whether that
// was all.
func (ft *fetcher) diverged(a ask, end replica.EpochEnd) {
	if err := ft.truncate(a, end); err != nil {
		ft.of.failedHere(a.p, err)
	}
}

func (ft *fetcher) truncate(a ask, end replica.EpochEnd) error {
	if err := a.replica.Diverged(a.leaderEpoch, end); err != nil {
		return err
	}
	ft.of.unsynced(a.p)
	to, lastEpoch, _ := a.replica.Position()
	if to == a.offset && lastEpoch == a.lastEpoch {
		return fmt.Errorf("%w: epoch %d ends at offset %d there, and our log still ends at %d", errDiverged, end.Epoch, end.EndOffset, to)
	}
	ft.of.metrics.truncated.Inc()
	ft.of.log.Info("records that the leader does not have were removed", "partition", a.TopicPartition.String(),
		"leader", ft.at.leader.ID, "leaderEpoch", a.leaderEpoch, "from", a.offset, "to", to)
	return nil
}

// await waits until the logs that have grown are durable.
func (ft *fetcher) await(grown []ask) {
	done := make(chan struct{}, len(grown))
	for _, a := range grown {
		end, _, _ := a.replica.Position()
		ft.of.sync(a.p, a.replica, end, func() { done <- struct{}{} })
	}
	for range grown {
		select {
		case <-done:
		case <-ft.ctx.Done():
			return
		}
	}
}

// recover finds out how to go on where the leader does not have the offset that was
// asked for: it starts later, or ends earlier.
func (ft *fetcher) recover(lost []ask) {
	starts, err := ft.offsets(lost, earliest)
	if err == nil {
		var ends map[cluster.TopicPartition]offset
		if ends, err = ft.offsets(lost, latest); err == nil {
			for _, a := range lost {
				ft.recoverOne(a, starts[a.TopicPartition], ends[a.TopicPartition])
			}
			return
		}
	}
	if ft.ctx.Err() == nil {
		for _, a := range lost {
			ft.of.failedThere(a.p, err)
		}
	}
}

func (ft *fetcher) recoverOne(a ask, start, end offset) {
	switch {
	case !ft.of.current(a.p):
		return
	case start.code != wire.None:
		ft.of.refused(a.p, start.code)
		return
	case end.code != wire.None:
		ft.of.refused(a.p, end.code)
		return
	}
	if err := ft.goOn(a, start.at, end.at); err != nil {
		ft.of.failedHere(a.p, err)
	}
}

// goOn fits the partition's log to a leader's that is start to end.
func (ft *fetcher) goOn(a ask, start, end int64) error {
	r := replica.Recover(start, end, a.offset)
	switch {
	case r.Restart:
		if err := a.replica.Restart(a.leaderEpoch, r.FetchOffset); err != nil {
			return err
		}
		ft.of.unsynced(a.p)
		ft.of.metrics.restarted.Inc()
		ft.of.log.Warn("log emptied: the leader's starts behind its end", "partition", a.TopicPartition.String(),
			"leader", ft.at.leader.ID, "leaderEpoch", a.leaderEpoch, "logEndOffset", a.offset, "startOffset", r.FetchOffset)
		return nil
	case r.FetchOffset < a.offset:
		return ft.truncate(a, replica.EpochEnd{Epoch: replica.Unknown, EndOffset: r.FetchOffset})
	default: // it has the offset by now
		ft.of.failedThere(a.p, errOutOfRange)
		return nil
	}
}

// offset is an end of a leader's log.
type offset struct {
	at   int64
	code wire.ErrorCode
}

// offsets asks for an end of the leader's logs. One that is not in the answer is
// UNKNOWN_SERVER_ERROR.
func (ft *fetcher) offsets(asks []ask, timestamp int64) (map[cluster.TopicPartition]offset, error) {
	offered, err := ft.conn.MaxVersion(ft.ctx, wire.ListOffsets)
	if err != nil {
		return nil, err
	}
	out := make(map[cluster.TopicPartition]offset, len(asks))
	wants := make([]want, len(asks))
	for i, a := range asks {
		wants[i] = a.want
		out[a.TopicPartition] = offset{-1, wire.UnknownServerError}
	}
	resp, err := ft.conn.Call(ft.ctx, listOffsetsRequest(ft.of.cfg.Self, min(max(offered, 1), listOffsetsMax), wants, timestamp))
	if err != nil {
		return nil, err
	}
	for _, t := range resp.(*kmsg.ListOffsetsResponse).Topics {
		for _, p := range t.Partitions {
			o := offset{p.Offset, wire.ErrorCode(p.ErrorCode)}
			if o.at < 0 && o.code == wire.None {
				o.code = wire.UnknownServerError
			}
			out[cluster.TopicPartition{Topic: t.Topic, Index: p.Partition}] = o
		}
	}
	return out, nil
}
