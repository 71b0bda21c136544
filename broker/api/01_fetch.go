package api

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/headwater/headwater/broker/buffer"
	"github.com/headwater/headwater/broker/record"
	"github.com/headwater/headwater/broker/server"
	"github.com/headwater/headwater/broker/topic"
	"github.com/headwater/headwater/broker/wire"
)

// maxWait bounds a long poll. An empty answer before the client's own time is up
// is allowed, and a connection is not to be held for as long as a client likes.
const maxWait = time.Minute

// fetchShare is the part of the budget that one fetch may have: with fewer at a
// time a slow reader would stop the others.
const fetchShare = 4

// startFetch leaves all to the request: what a fetch reads, nothing later depends
// on.
func (a *API) startFetch(_ context.Context, frame []byte, c server.Conn) (server.Request, error) {
	h, req, err := decode[*kmsg.FetchRequest](frame)
	if err != nil {
		return nil, err
	}
	return &fetching{api: a, correlationID: h.CorrelationID, req: req, leaving: c.Leaving()}, nil
}

// fetching is a fetch request while it gathers records. Sessions are not kept:
// every answer is for a request that names all its partitions (KIP-227 allows it).
type fetching struct {
	api           *API
	correlationID int32
	req           *kmsg.FetchRequest
	leaving       <-chan struct{}
	resp          *wire.FetchResponse // nil before the first look
	parts         []fetchPart         // those without an error so far
	ready         bool                // the answer is complete
	failed        bool                // a partition, or the request, has an error: answer at once
	full          bool                // a partition has more than the limits let in: waiting cannot help
	maxBytes      int64               // of all records together, except for a first batch
	size          int64               // of the records gathered
	held          int64               // of the budget; size, except while reading
	buffers       []buffer.Buffer     // that hold the records
}

// fetchPart is a partition that records are read from.
type fetchPart struct {
	from     Partition
	out      *wire.FetchedPartition
	next     int64 // offset to read on from
	left     int64 // of the partition's own limit
	maxBatch int64 // the topic's max.message.bytes
}

// Ready implements server.Request: it reads what is there.
func (f *fetching) Ready() bool {
	if f.resp == nil {
		f.begin()
	}
	f.ready = f.round(noWait) && f.enough()
	return f.ready
}

// noWait is a context that is done.
var noWait = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()

// Finish implements server.Request.
func (f *fetching) Finish(ctx context.Context) (server.Answer, error) {
	if f.resp == nil {
		f.begin()
	}
	if !f.ready {
		if err := f.collect(ctx); err != nil {
			f.Abandon()
			return server.Answer{}, err
		}
	}
	return server.Answer{Pieces: f.resp.Frames(f.correlationID), Release: f.Abandon}, nil
}

// Abandon implements server.Request: it lets go of the records.
func (f *fetching) Abandon() {
	for i := range f.buffers {
		f.buffers[i].Release()
	}
	f.buffers = nil
	f.giveBack(0)
}

// begin finds the partitions that are asked for.
func (f *fetching) begin() {
	a, req := f.api, f.req
	f.resp = &wire.FetchResponse{Version: req.Version}
	f.maxBytes = min(int64(max(req.MaxBytes, 0)), a.cfg.FetchBytes/fetchShare)
	if req.SessionID != 0 {
		f.resp.Code, f.failed = wire.FetchSessionIDNotFound, true
		return
	}
	snapshot := a.cluster.Snapshot()
	f.resp.Topics = make([]wire.FetchedTopic, len(req.Topics))
	for i := range req.Topics {
		t := &req.Topics[i]
		name, maxBatch, err := t.Topic, snapshot.Defaults.MaxMessageBytes, error(nil)
		found, ok := snapshot.Topic(name)
		if req.Version >= 13 {
			found, ok = snapshot.TopicByID(topic.ID(t.TopicID))
		}
		switch {
		case ok:
			name, maxBatch = found.Name, found.Settings.MaxMessageBytes
		case req.Version >= 13:
			err = fmt.Errorf("%w: %s", errUnknownTopicID, topic.ID(t.TopicID))
		}
		f.resp.Topics[i] = wire.FetchedTopic{Topic: t.Topic, ID: t.TopicID, Partitions: make([]wire.FetchedPartition, len(t.Partitions))}
		for j := range t.Partitions {
			f.resolve(name, maxBatch, &t.Partitions[j], &f.resp.Topics[i].Partitions[j], err)
		}
	}
}

// resolve finds the partition that p asks for. err, if set, stands for it.
func (f *fetching) resolve(name string, maxBatch int64, p *kmsg.FetchRequestTopicPartition, out *wire.FetchedPartition, err error) {
	*out = wire.FetchedPartition{Index: p.Partition, HighWatermark: -1, LogStartOffset: -1}
	var from Partition
	if err == nil {
		from, err = f.api.partitions.Get(name, p.Partition)
	}
	if err == nil {
		err = checkEpoch(from, p.CurrentLeaderEpoch)
	}
	if err != nil {
		out.Code, f.failed = f.api.code(err), true
		return
	}
	f.parts = append(f.parts, fetchPart{from: from, out: out, next: p.FetchOffset, left: int64(max(p.PartitionMaxBytes, 0)), maxBatch: maxBatch})
}

// collect gathers records until there are as many as the client asks for, a
// partition fails, or the client has waited long enough. Only an error for which
// nobody is left to be answered is returned.
func (f *fetching) collect(ctx context.Context) error {
	wait, cancel := context.WithTimeout(ctx, min(time.Duration(max(f.req.MaxWaitMillis, 0))*time.Millisecond, maxWait))
	defer cancel()
	f.round(wait)
	if f.enough() || wait.Err() != nil {
		return ctx.Err()
	}
	wake := make(chan struct{}, 1)
	for _, p := range f.parts {
		defer p.from.Watch(wake)()
	}
	for f.round(wait); !f.enough(); f.round(wait) { // once more: it may have moved before the watch
		select {
		case <-wake:
		case <-wait.Done():
			return ctx.Err()
		case <-f.leaving:
			return nil
		}
	}
	return ctx.Err()
}

func (f *fetching) enough() bool {
	return f.failed || f.full || len(f.parts) == 0 || f.size >= int64(f.req.MinBytes)
}

// round reads what is new in each partition, in the order of the request, which
// the client turns so that none is starved (KIP-74). It reserves what it may read
// before it reads, and then gives back what it did not need. It reports whether
// there was room for it.
func (f *fetching) round(ctx context.Context) (room bool) {
	room = true
	if want := f.wanted(); want > f.held {
		if room = f.reserve(ctx, want-f.held); room {
			f.held = want
		} // else only offsets and errors are read
	}
	for i := range f.parts {
		f.read(&f.parts[i])
	}
	f.giveBack(f.size)
	return room
}

// reserve takes n bytes of the budget, and waits for them until ctx is done. A
// request that does not wait is not refused what is there.
func (f *fetching) reserve(ctx context.Context, n int64) bool {
	return f.api.fetchBytes.TryAcquire(n) || f.api.fetchBytes.Acquire(ctx, n) == nil
}

// wanted is how much of the budget this round needs: what the limits allow for
// partitions that have something new, and room for one whole batch, which comes
// first and counts against no limit.
func (f *fetching) wanted() int64 {
	var sum, first int64
	for i := range f.parts {
		p := &f.parts[i]
		if _, highWatermark := p.from.Offsets(); highWatermark <= p.next {
			continue
		}
		sum += p.left
		first = max(first, p.maxBatch)
	}
	want := f.size + max(min(sum, f.maxBytes-f.size), 0)
	if f.size == 0 {
		want = max(want, first)
	}
	return min(want, f.api.cfg.FetchBytes)
}

// read appends to p's answer what is new in it, within what is held.
func (f *fetching) read(p *fetchPart) {
	limit := max(min(p.left, f.maxBytes-f.size, f.held-f.size), 0)
	first := f.size == 0 && f.held > 0
	got, err := p.from.Read(p.next, int(limit), first)
	records := got.Records.Bytes
	p.out.HighWatermark, p.out.LogStartOffset = got.HighWatermark, got.LogStartOffset
	if err != nil {
		p.out.Code, f.failed = f.api.code(err), true
		return
	}
	if len(records) > 0 {
		f.buffers = append(f.buffers, got.Records)
		p.out.Records = append(p.out.Records, records)
		p.left -= int64(len(records))
		f.size += int64(len(records))
		p.next = nextOffset(records, p.next)
	}
	f.full = f.full || f.size > 0 && (p.next < got.HighWatermark || f.size >= f.maxBytes)
}

// nextOffset is the offset behind the last of records, which are whole batches; or
// from, should they not be.
func nextOffset(records []byte, from int64) int64 {
	for len(records) > 0 {
		batch, rest, err := record.Split(records)
		if err != nil {
			break
		}
		from, records = batch.NextOffset(), rest
	}
	return from
}

// giveBack returns all of the budget but keep. A batch from before max.message.bytes
// was lowered can be larger than what was held for it.
func (f *fetching) giveBack(keep int64) {
	if f.held > keep {
		f.api.fetchBytes.Release(f.held - keep)
		f.held = keep
	}
}

// checkEpoch holds what a client believes to be p's leader epoch, -1 for nothing,
// against what it is (KIP-320).
func checkEpoch(p Partition, believed int32) error {
	if believed < 0 {
		return nil
	}
	switch have := p.LeaderEpoch(); {
	case believed < have:
		return fmt.Errorf("%w: %d, not %d", errFencedEpoch, have, believed)
	case believed > have:
		return fmt.Errorf("%w: %d, not %d", errUnknownEpoch, have, believed)
	}
	return nil
}
