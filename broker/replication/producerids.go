package replication

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/headwater/headwater/broker/partition"
	"github.com/headwater/headwater/broker/wire"
)

// ProducerIDs hands out producer ids that the controller has given this broker, a
// block at a time (KIP-730). What is left of a block when the process ends is never
// used. It may be used from any goroutine.
type ProducerIDs struct {
	turn      chan struct{} // held by who uses what follows
	link      link
	next, end int64 // the ids that are left
}

// NewProducerIDs returns ProducerIDs without any yet.
func NewProducerIDs(c Controller) *ProducerIDs {
	return &ProducerIDs{turn: make(chan struct{}, 1), link: link{Controller: c}}
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
	req := kmsg.NewPtrAllocateProducerIDsRequest()
	req.BrokerID, req.BrokerEpoch = p.link.Self, brokerEpoch
	resp, err := conn.Call(ctx, req)
	if err != nil {
		return err
	}
	r := resp.(*kmsg.AllocateProducerIDsResponse)
	if err := codeError(r.ErrorCode); err != nil {
		return err
	}
	if r.ProducerIDStart < 0 || r.ProducerIDLen <= 0 || r.ProducerIDStart+int64(r.ProducerIDLen) < 0 {
		return fmt.Errorf("%w: %d producer ids from %d on", wire.ErrBadAnswer, r.ProducerIDLen, r.ProducerIDStart)
	}
	p.next, p.end = r.ProducerIDStart, r.ProducerIDStart+int64(r.ProducerIDLen)
	return nil
}

// Close ends the connection to the controller. Nobody may wait for an id any more.
func (p *ProducerIDs) Close() { p.link.close() }
