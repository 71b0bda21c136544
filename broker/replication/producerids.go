package replication

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/headwater/headwater/broker/partition"
	"github.com/headwater/headwater/broker/wire"
)

// ProducerIDs hands out producer ids that the controller has given this broker, a
// block at a time (KIP-730). A controller of Kafka before 3.0 gives none: then they are
// taken from ZooKeeper, where all controllers take them. What is left of a block when the
// process ends is never used. It may be used from any goroutine.
type ProducerIDs struct {
	take      TakeProducerIDs
	turn      chan struct{} // held by who uses what follows
	link      link
	next, end int64 // the ids that are left
}

// TakeProducerIDs takes the next block of producer ids from ZooKeeper.
type TakeProducerIDs func(ctx context.Context) (first, count int64, err error)

// NewProducerIDs returns ProducerIDs without any yet.
func NewProducerIDs(c Controller, take TakeProducerIDs) *ProducerIDs {
	return &ProducerIDs{take: take, turn: make(chan struct{}, 1), link: link{Controller: c}}
}

// Next returns an id that nobody had before and nobody gets after. Without a
// controller it is partition.ErrNoProducerID.
func (p *ProducerIDs) Next(ctx context.Context) (int64, error) {
	select {
	case p.turn <- struct{}{}:
		defer func() { <-p.turn }()
	case <-ctx.Done():
		return -1, ctx.Err()
	}
	if p.next == p.end {
		err := p.allocate(ctx)
		if err != nil && ctx.Err() == nil {
			err = p.allocate(ctx) // the connection may only have been idle for too long
		}
		if err != nil {
			return -1, fmt.Errorf("%w: %w", partition.ErrNoProducerID, err)
		}
	}
	id := p.next
	p.next++
	return id, nil
}

func (p *ProducerIDs) allocate(ctx context.Context) error {
	conn, brokerEpoch, err := p.link.open()
	if err != nil {
		return err
	}
	offered, err := conn.MaxVersion(ctx, wire.AllocateProducerIDs)
	if err != nil {
		return err
	}
	var first, count int64
	if offered < 0 {
		first, count, err = p.take(ctx)
	} else {
		first, count, err = p.ask(ctx, conn, brokerEpoch)
	}
	if err != nil {
		return err
	}
	if first < 0 || count <= 0 || first+count < 0 {
		return fmt.Errorf("%w: %d producer ids from %d on", wire.ErrBadAnswer, count, first)
	}
	p.next, p.end = first, first+count
	return nil
}

// ask has the controller give a block.
func (p *ProducerIDs) ask(ctx context.Context, conn Caller, brokerEpoch int64) (first, count int64, err error) {
	req := kmsg.NewPtrAllocateProducerIDsRequest()
	req.BrokerID, req.BrokerEpoch = p.link.Self, brokerEpoch
	resp, err := conn.Call(ctx, req)
	if err != nil {
		return 0, 0, err
	}
	r := resp.(*kmsg.AllocateProducerIDsResponse)
	return r.ProducerIDStart, int64(r.ProducerIDLen), codeError(r.ErrorCode)
}

// Close ends the connection to the controller. Nobody may wait for an id any more.
func (p *ProducerIDs) Close() { p.link.close() }
