package api

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/headwater/headwater/broker/buffer"
	"github.com/headwater/headwater/broker/cluster"
	"github.com/headwater/headwater/broker/record"
	"github.com/headwater/headwater/broker/server"
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
	return &fetching{api: a, header: h, req: req, conn: c}, nil
}

// fetching is a fetch request while it gathers records.
type fetching struct {
	api      *API
	header   wire.Header
	req      *kmsg.FetchRequest
	conn     server.Conn
	begun    bool
	replica  fetchReplica
	scope    fetchScope
	found    []wire.FetchedPartition // by the partitions of scope
	parts    []fetchPart             // those without an error so far
	looked   bool                    // found tells of each partition
	ready    bool                    // the answer is complete
	failed   bool                    // a partition, or the request, has an error: answer at once
	full     bool                    // a partition has more than the limits let in: waiting cannot help
	throttle time.Duration           // the client owes so much time: it gets nothing now
	limit    int64                   // of all records together, except for a first batch
	maxBytes int64                   // limit, or less where the client's rate allows less
	size     int64                   // of the records gathered
	held     int64                   // of the budget; size, except while reading
	buffers  []buffer.Buffer         // that hold the records
}

// fetchPart is a partition that records are read from.
type fetchPart struct {
	from     Partition
	out      *wire.FetchedPartition
	ask      *fetchAsk
	next     int64 // offset to read on from
	left     int64 // of the partition's own limit
	maxBatch int64 // the topic's max.message.bytes
	rate     int64 // bytes a second of throttled replicas, if this is one; 0: it is not
	unread   bool  // there was something to read at the last look
}

// Ready implements server.Request: it reads what is there.
func (f *fetching) Ready() bool {
	f.begin()
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
	f.begin()
	if !f.ready {
		if err := f.collect(ctx); err != nil {
			f.Abandon()
			return server.Answer{}, err
		}
	}
	return server.Answer{Pieces: f.answer(), Release: f.Abandon}, nil
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
	if f.begun {
		return
	}
	f.begun = true
	a := f.api
	f.replica = replicaOf(f.req)
	f.limit = min(int64(max(f.req.MaxBytes, 0)), a.cfg.FetchBytes/fetchShare)
	f.scope = a.sessions.open(f.req, time.Now())
	f.failed = f.scope.code != wire.None
	f.found = make([]wire.FetchedPartition, len(f.scope.asks))
	f.parts = make([]fetchPart, 0, len(f.scope.asks))
	snapshot := a.cluster.Snapshot()
	var of *cluster.Topic // of the ask before
	for i := range f.scope.asks {
		ask := &f.scope.asks[i]
		if i == 0 || !ask.sameTopic(f.scope.asks[i-1].fetchTarget) {
			of = f.scope.topic(snapshot, ask.fetchTarget)
		}
		f.resolve(ask, of, snapshot, &f.found[i])
	}
}

// topic finds the topic of a partition, nil when there is none.
func (s *fetchScope) topic(snapshot *cluster.Snapshot, target fetchTarget) *cluster.Topic {
	found, ok := snapshot.Topic(target.topic)
	if s.byID {
		found, ok = snapshot.TopicByID(target.id)
	}
	if !ok {
		return nil
	}
	return found
}

// resolve finds the partition of topic of, which may be nil, that is asked for.
func (f *fetching) resolve(ask *fetchAsk, of *cluster.Topic, snapshot *cluster.Snapshot, out *wire.FetchedPartition) {
	*out = wire.FetchedPartition{Index: ask.index, HighWatermark: -1, LogStartOffset: -1}
	from, err := f.partition(ask, of)
	if err == nil && f.replica.id < 0 {
		err = f.mayConsume(from, ask)
	}
	if err != nil {
		out.Code, f.failed = f.api.code(err), true
		return
	}
	maxBatch := snapshot.Defaults.MaxMessageBytes
	if of != nil {
		maxBatch = of.Settings.MaxMessageBytes
	}
	if f.replica.id < 0 && f.redirect(from, ask, out) {
		return
	}
	f.parts = append(f.parts, fetchPart{
		from: from, out: out, ask: ask, next: ask.offset, left: int64(max(ask.maxBytes, 0)), maxBatch: maxBatch,
		rate: f.leaderRate(snapshot, of, ask.index),
	})
}

func (f *fetching) partition(ask *fetchAsk, of *cluster.Topic) (Partition, error) {
	switch {
	case of != nil:
		return f.api.partitions.Get(of.Name, ask.index)
	case f.scope.byID:
		return nil, fmt.Errorf("%w: %s", errUnknownTopicID, ask.id)
	}
	return f.api.partitions.Get(ask.topic, ask.index)
}

// collect gathers records until there are as many as the client asks for, a
// partition fails, or the client has waited long enough. Only an error for which
// nobody is left to be answered is returned.
func (f *fetching) collect(ctx context.Context) error {
	wait, cancel := context.WithTimeout(ctx, min(time.Duration(max(f.req.MaxWaitMillis, 0))*time.Millisecond, maxWait))
	defer cancel()
	if !f.looked {
		f.round(wait)
	}
	if f.enough() || wait.Err() != nil {
		return ctx.Err()
	}
	wake := make(chan struct{}, 1)
	for _, p := range f.parts {
		if f.replica.id >= 0 {
			defer p.from.WatchEnd(wake)()
		} else {
			defer p.from.Watch(wake)()
		}
	}
	for f.round(wait); !f.enough(); f.round(wait) { // once more: it may have moved before the watch
		select {
		case <-wake:
		case <-wait.Done():
			return ctx.Err()
		case <-f.conn.Leaving():
			return nil
		case <-f.scope.superseded:
			return nil
		}
	}
	return ctx.Err()
}

func (f *fetching) enough() bool {
	return f.failed || f.full || f.throttle > 0 || len(f.parts) == 0 || f.size >= int64(f.req.MinBytes)
}

// round reads what is new in each partition, in the order of the request, which
// the client turns so that none is starved (KIP-74). It reserves what it may read
// before it reads, and then gives back what it did not need. It reports whether
// there was room for it.
func (f *fetching) round(ctx context.Context) (room bool) {
	room = true
	if f.allow(); f.throttle > 0 {
		return room
	}
	if want := f.look(); want > f.held {
		if room = f.reserve(ctx, want-f.held); room {
			f.held = want
		} // else only errors are read
	}
	before := f.size
	for i := range f.parts {
		if f.parts[i].unread {
			f.read(&f.parts[i])
		}
	}
	f.looked = true
	f.giveBack(f.size)
	f.spend(f.size - before)
	return room
}

// reserve takes n bytes of the budget, and waits for them until ctx is done. A
// request that does not wait is not refused what is there.
func (f *fetching) reserve(ctx context.Context, n int64) bool {
	return f.api.fetchBytes.TryAcquire(n) || f.api.fetchBytes.Acquire(ctx, n) == nil
}

// look finds out in which partitions there is something to read. It returns how
// much of the budget that needs: what the limits allow for those partitions, and
// room for one whole batch, which comes first and counts against no limit. A round
// goes through a consumer's partitions only for this while few of them move.
func (f *fetching) look() (want int64) {
	var sum, first int64
	for i := range f.parts {
		p := &f.parts[i]
		logStartOffset, highWatermark := p.from.Offsets()
		p.out.HighWatermark, p.out.LogStartOffset = highWatermark, logStartOffset
		end := highWatermark
		p.unread = p.next != end || p.from.Err() != nil
		if f.replica.id >= 0 {
			end = p.from.Durable()
			// The first look tells the leader where the follower is, also with nothing
			// new. A read from further on would say that it has what it was just given.
			p.unread = p.next == p.ask.offset && (!f.looked || p.next != end || p.from.Err() != nil)
		}
		if p.next < end {
			sum += p.left
			first = max(first, p.maxBatch)
		}
	}
	want = f.size + max(min(sum, f.maxBytes-f.size), 0)
	if f.size == 0 {
		want = max(want, first)
	}
	return min(want, f.api.cfg.FetchBytes)
}

// read appends to p's answer what is new in it, within what is held.
func (f *fetching) read(p *fetchPart) {
	limit := max(min(p.left, f.maxBytes-f.size, f.held-f.size), 0)
	first := f.size == 0 && f.held > 0
	got, err := f.readFrom(p, int(limit), first)
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
	f.failed = f.failed || p.out.Diverging != nil
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
