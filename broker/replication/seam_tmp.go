package replication

import (
	"errors"

	"github.com/headwater/headwater/broker/topic"
)

type Proposal struct {
	Topic                       string
	Index                       int32
	TopicID                     topic.ID
	LeaderEpoch, PartitionEpoch int32
	ISR                         []int32
	Recovering                  bool
}

type ISRAnswer struct {
	Err                                 error
	Leader, LeaderEpoch, PartitionEpoch int32
	ISR                                 []int32
	Recovering                          bool
}

var (
	errISRRefused    = errors.New("the controller refuses the ISR")
	errISRSuperseded = errors.New("the controller knows better")
)
