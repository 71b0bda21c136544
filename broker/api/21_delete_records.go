package api

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/headwater/headwater/broker/commitlog"
	"github.com/headwater/headwater/broker/topic"
)

// toHighWatermark is the offset that asks for all records to go.
const toHighWatermark = -1

// deleteRecords moves the start of each partition's log up to the offset that the
// request names, and answers when all live replicas start there, or the time is up. A
// partition's failure is that partition's error code.
func (a *API) deleteRecords(ctx context.Context, req *kmsg.DeleteRecordsRequest) kmsg.Response {
	resp := kmsg.NewPtrDeleteRecordsResponse()
	var all []*deletion
	for _, t := range req.Topics {
		for _, part := range t.Partitions {
			all = append(all, a.deleteBefore(t.Topic, part.Partition, part.Offset))
		}
	}
	awaitLow(ctx, all, min(time.Duration(max(req.TimeoutMillis, 0))*time.Millisecond, maxWait))
	for _, t := range req.Topics {
		topic := kmsg.NewDeleteRecordsResponseTopic()
		topic.Topic = t.Topic
		for _, part := range t.Partitions {
			out := kmsg.NewDeleteRecordsResponseTopicPartition()
			out.Partition, out.LowWatermark, out.ErrorCode = part.Partition, all[0].low, int16(a.code(all[0].err))
			topic.Partitions = append(topic.Partitions, out)
			all = all[1:]
		}
		resp.Topics = append(resp.Topics, topic)
	}
	return resp
}

// deletion is what becomes of one partition.
type deletion struct {
	from   Partition // nil: it has an answer
	offset int64
	low    int64 // where the live replicas start, -1 beside an error
	err    error
}

func (a *API) deleteBefore(name string, index int32, offset int64) *deletion {
	d := &deletion{offset: offset, low: -1}
	if topic.Internal(name) {
		d.err = fmt.Errorf("%w: %s", topic.ErrInternal, name)
		return d
	}
	if d.from, d.err = a.partitions.Get(name, index); d.err == nil {
		d.delete()
	}
	if d.err != nil {
		d.from = nil
	}
	return d
}

func (d *deletion) delete() {
	if _, d.err = d.from.LowWatermark(); d.err != nil {
		return // this broker does not lead
	}
	if d.offset == toHighWatermark {
		_, d.offset = d.from.Offsets()
	}
	if d.offset < 0 {
		d.err = fmt.Errorf("%w: %d", commitlog.ErrOffsetOutOfRange, d.offset)
		return
	}
	_, d.err = d.from.DeleteBefore(d.offset)
}

// awaitLow waits until the live replicas of all partitions have deleted what was to be
// deleted.
func awaitLow(ctx context.Context, all []*deletion, most time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	wake := make(chan struct{}, 1)
	for _, d := range all {
		if d.from != nil {
			defer d.from.WatchLow(wake)()
		}
	}
	for {
		left := 0
		for _, d := range all {
			if !d.done() {
				left++
			}
		}
		if left == 0 {
			return
		}
		select {
		case <-wake:
		case <-ctx.Done():
			expire(all)
			return
		}
	}
}

// done reports whether there is an answer.
func (d *deletion) done() bool {
	if d.from == nil {
		return true
	}
	if d.low, d.err = d.from.LowWatermark(); d.err != nil || d.low >= d.offset {
		d.from = nil
	}
	return d.from == nil
}

// expire says of those that still wait that their time is up.
func expire(all []*deletion) {
	for _, d := range all {
		if !d.done() {
			d.err = fmt.Errorf("%w: not all replicas have deleted the records before offset %d", errTimedOut, d.offset)
		}
	}
}
