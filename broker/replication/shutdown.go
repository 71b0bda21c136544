package replication

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/headwater/headwater/broker/cluster"
	"github.com/headwater/headwater/broker/wire"
)

// shutdownMax is the version of ControlledShutdown that is used where it is offered.
const shutdownMax = 3

// ErrNoOthers is returned by Shutdown when nobody is left who could take over.
var ErrNoOthers = errors.New("no broker with other replicas is alive")

// Shutdown has the controller give this broker's leaderships to others, so that it
// can go without anyone noticing. It asks up to attempts times, with pauses between,
// for as long as there are others, and returns what this broker still leads when it
// gives up.
func Shutdown(ctx context.Context, c Controller, others func() bool, attempts int, pause time.Duration) (remaining []cluster.TopicPartition, err error) {
	l := link{Controller: c}
	defer l.close()
	for i := range attempts {
		if i > 0 && !rest(ctx, pause) {
			return remaining, context.Cause(ctx)
		}
		if !others() {
			return remaining, ErrNoOthers
		}
		remaining, err = shutdown(ctx, &l)
		if err == nil && len(remaining) == 0 || ctx.Err() != nil {
			return remaining, err
		}
	}
	return remaining, err
}

func shutdown(ctx context.Context, l *link) ([]cluster.TopicPartition, error) {
	conn, brokerEpoch, err := l.open()
	if err != nil {
		return nil, err
	}
	offered, err := version(ctx, conn, wire.ControlledShutdown)
	if err != nil {
		return nil, err
	}
	req := kmsg.NewPtrControlledShutdownRequest()
	req.Version, req.BrokerID, req.BrokerEpoch = min(offered, shutdownMax), l.Self, brokerEpoch
	resp, err := conn.Call(ctx, req)
	if err != nil {
		return nil, err
	}
	r := resp.(*kmsg.ControlledShutdownResponse)
	if err := codeError(r.ErrorCode); err != nil {
		return nil, err
	}
	var remaining []cluster.TopicPartition
	for _, p := range r.PartitionsRemaining {
		remaining = append(remaining, cluster.TopicPartition{Topic: p.Topic, Index: p.Partition})
	}
	return remaining, nil
}

// rest waits for d, and reports whether ctx let it.
func rest(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// codeError is an error for what the controller answers to a request as a whole.
func codeError(code int16) error {
	switch c := wire.ErrorCode(code); c {
	case wire.None:
		return nil
	case wire.NotController:
		return fmt.Errorf("%w: %v", cluster.ErrNotController, c)
	case wire.StaleBrokerEpoch:
		return fmt.Errorf("%w: %v", cluster.ErrStaleBrokerEpoch, c)
	default:
		return fmt.Errorf("the controller answers %v", c)
	}
}
