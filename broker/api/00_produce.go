package api

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/headwater/headwater/broker/partition"
	"github.com/headwater/headwater/broker/quota"
	"github.com/headwater/headwater/broker/record"
	"github.com/headwater/headwater/broker/server"
	"github.com/headwater/headwater/broker/topic"
	"github.com/headwater/headwater/broker/wire"
)

// minAckWait is the least that an append is given to become durable, whatever the
// request says: a client that says 0 means no replicas, not no disk.
const minAckWait = time.Second

// startProduce appends each partition's batch at once, in the order of arrival,
// and leaves the wait for their syncs to finish: so the requests that a connection
// sends ahead share one. A partition's failure is that partition's error code; the
// others still append.
//
// Nothing keeps pointing into frame, which is on loan: the log has written the
// batches, and what is remembered of their producers was copied.
func (a *API) startProduce(_ context.Context, frame []byte, c server.Conn) (server.Request, error) {
	h, body, err := wire.ParseHeader(frame)
	if err != nil {
		return nil, err
	}
	req, err := wire.DecodeProduce(h.Version, body)
	if err != nil {
		return nil, err
	}
	p := newProducing(a, h, req)
	p.appendAll()
	p.throttle = a.quotas.Charge(a.cluster.Snapshot().Quotas, quota.Produce, h.ClientID, int64(len(frame)), time.Now())
	if p.throttle > 0 {
		c.Mute(p.throttle) // also without an answer that tells it
	}
	if req.Acks != 0 {
		return p, nil
	}
	// Nobody reads an answer. An error is told by closing the connection, as Kafka
	// does: the client asks for metadata, which shows what is wrong.
	if err := p.firstError(); err != nil {
		return nil, err
	}
	return unanswered{}, nil
}

// unanswered is a request that gets no answer.
type unanswered struct{}

// Ready, Finish and Abandon implement server.Request.
func (unanswered) Ready() bool                                   { return true }
func (unanswered) Finish(context.Context) (server.Answer, error) { return server.Answer{}, nil }
func (unanswered) Abandon()                                      {}

// producing is a produce request between its two phases.
type producing struct {
	api    *API
	header wire.Header
	req    *wire.ProduceRequest

	throttle time.Duration // that the client is to wait for having sent too much

	mu      sync.Mutex // guards all below: the committer reports while the request may give up
	results [][]result // by topic and partition, as in req
	open    int        // results that are not settled, and one more while appending
	settled chan struct{}
}

// result is what became of one batch.
type result struct {
	baseOffset     int64
	logStartOffset int64
	settled        bool
	err            error
}

func newProducing(a *API, h wire.Header, req *wire.ProduceRequest) *producing {
	p := &producing{api: a, header: h, req: req, results: make([][]result, len(req.Topics)), open: 1, settled: make(chan struct{})}
	for i, t := range req.Topics {
		p.results[i] = make([]result, len(t.Partitions))
		p.open += len(t.Partitions)
	}
	return p
}

// appendAll appends every batch and returns when that is done; some may be durable
// by then.
func (p *producing) appendAll() {
	snapshot := p.api.cluster.Snapshot()
	for i, t := range p.req.Topics {
		maxBytes, known := int64(0), false
		if found, ok := snapshot.Topic(t.Topic); ok {
			maxBytes, known = found.Settings.MaxMessageBytes, true
		}
		for j, part := range t.Partitions {
			t.Partitions[j].Records = nil // they are the frame's
			if topic.Internal(t.Topic) {
				p.settle(i, j, result{err: fmt.Errorf("%w: %s", topic.ErrInternal, t.Topic)})
				continue
			}
			if !known {
				p.settle(i, j, result{err: fmt.Errorf("topic %.60q: %w", t.Topic, partition.ErrUnknown)})
				continue
			}
			p.appendOne(i, j, t.Topic, part, maxBytes)
		}
	}
	p.settleOne()
}

func (p *producing) appendOne(i, j int, name string, part wire.ProducePartition, maxBytes int64) {
	batch, err := p.batch(part.Records, maxBytes)
	if err != nil {
		p.settle(i, j, result{err: err})
		return
	}
	to, err := p.api.partitions.Get(name, part.Index)
	if err != nil {
		p.settle(i, j, result{err: err})
		return
	}
	if p.req.Acks == 0 {
		baseOffset, _, err := to.Append(batch)
		p.settle(i, j, result{baseOffset: baseOffset, err: err})
		return
	}
	logStartOffset, _ := to.Offsets()
	to.AppendThen(batch, p.req.Acks == -1, func(baseOffset int64, err error) {
		p.settle(i, j, result{baseOffset: baseOffset, logStartOffset: logStartOffset, err: err})
	})
}

// batch returns the one batch that records must be, checked and untouched.
func (p *producing) batch(records []byte, maxBytes int64) (record.Batch, error) {
	switch {
	case p.req.Acks < -1 || p.req.Acks > 1:
		return nil, fmt.Errorf("%w, not %d", errRequiredAcks, p.req.Acks)
	case p.req.Transactional:
		return nil, errTransactional
	case len(records) == 0:
		return nil, fmt.Errorf("%w: no records", record.ErrInvalid)
	case int64(len(records)) > maxBytes:
		return nil, fmt.Errorf("%d bytes are %w, %d", len(records), errTooLarge, maxBytes)
	}
	batch, rest, err := record.Next(records)
	if err != nil {
		return nil, err
	}
	if len(rest) != 0 {
		return nil, fmt.Errorf("%w: %d bytes follow the batch", record.ErrInvalid, len(rest))
	}
	if err := batch.Validate(); err != nil {
		return nil, err
	}
	switch {
	case batch.Transactional():
		return nil, errTransactional
	case batch.Codec() == record.Zstd && p.header.Version < 7:
		return nil, errZstdTooEarly
	}
	return batch, nil
}

// settle notes what became of a batch. It may run on the goroutine that syncs.
func (p *producing) settle(i, j int, r result) {
	p.mu.Lock()
	r.settled = true
	p.results[i][j] = r
	p.mu.Unlock()
	p.settleOne()
}

func (p *producing) settleOne() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.open--; p.open == 0 {
		close(p.settled)
	}
}

// Ready implements server.Request.
func (p *producing) Ready() bool {
	select {
	case <-p.settled:
		return true
	default:
		return false
	}
}

// Finish implements server.Request. It answers when every batch is as durable as
// it is promised to be, or will not be, or takes longer than the client waits.
func (p *producing) Finish(ctx context.Context) (server.Answer, error) {
	if !p.Ready() {
		if err := p.wait(ctx); err != nil {
			return server.Answer{}, err
		}
	}
	return answer(p.header, p.response()), nil
}

func (p *producing) wait(ctx context.Context) error {
	timeout := time.NewTimer(max(time.Duration(p.req.TimeoutMillis)*time.Millisecond, minAckWait))
	defer timeout.Stop()
	select {
	case <-p.settled:
	case <-timeout.C:
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

// Abandon implements server.Request. Batches may still be settled after it.
func (p *producing) Abandon() {}

func (p *producing) response() *kmsg.ProduceResponse {
	p.mu.Lock()
	defer p.mu.Unlock()
	resp := kmsg.NewPtrProduceResponse()
	resp.ThrottleMillis = int32(p.throttle.Milliseconds())
	for i, t := range p.req.Topics {
		topic := kmsg.NewProduceResponseTopic()
		topic.Topic = t.Topic
		for j, part := range t.Partitions {
			topic.Partitions = append(topic.Partitions, p.api.produced(part.Index, p.results[i][j]))
		}
		resp.Topics = append(resp.Topics, topic)
	}
	return resp
}

// produced is the answer for one partition.
func (a *API) produced(index int32, r result) kmsg.ProduceResponseTopicPartition {
	out := kmsg.NewProduceResponseTopicPartition() // log append time -1: the producer's time stays
	out.Partition = index
	if !r.settled {
		r.err = errTimedOut
	}
	if r.err != nil {
		out.ErrorCode, out.ErrorMessage = int16(a.code(r.err)), message(r.err)
		out.BaseOffset = -1
		return out
	}
	out.BaseOffset, out.LogStartOffset = r.baseOffset, r.logStartOffset
	return out
}

func (p *producing) firstError() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, topic := range p.results {
		for _, r := range topic {
			if r.err != nil {
				return r.err
			}
		}
	}
	return nil
}
