package api

import (
	"context"
	"errors"

	"github.com/headwater/headwater/broker/cluster"
	"github.com/headwater/headwater/broker/controller"
	"github.com/headwater/headwater/broker/region"
	"github.com/headwater/headwater/broker/wire"
)

// Member does what the controller of a region orders; region.Region does.
type Member interface {
	LeaderAndISR(region.From, []region.Order, []cluster.Broker) (map[cluster.TopicPartition]error, error)
	StopReplica(region.From, []region.StopOrder) (map[cluster.TopicPartition]error, error)
	UpdateMetadata(region.From, region.Update) error
}

// Controller answers what brokers ask the controller; controller.Controller does,
// and refuses while this broker is not it.
type Controller interface {
	AlterPartition(ctx context.Context, brokerID int32, brokerEpoch int64, changes []controller.ISRChange) ([]controller.ISRAnswer, error)
	ControlledShutdown(ctx context.Context, brokerID int32, brokerEpoch int64) (remaining []cluster.TopicPartition, err error)
	AllocateProducerIDs(ctx context.Context, brokerID int32, brokerEpoch int64) (controller.ProducerIDs, error)
}

// alterCode is code, but that brokers which speak AlterPartition before version 2 do
// not know what an ineligible replica is.
func (a *API) alterCode(version int16, err error) wire.ErrorCode {
	if version < 2 && errors.Is(err, cluster.ErrIneligibleReplica) {
		return wire.OperationNotAttempted
	}
	return a.code(err)
}
