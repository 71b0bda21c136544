package api

import (
	"context"
	"errors"
	"io"
	"syscall"

	"github.com/headwater/headwater/broker/cluster"
	"github.com/headwater/headwater/broker/codec"
	"github.com/headwater/headwater/broker/commitlog"
	"github.com/headwater/headwater/broker/group"
	"github.com/headwater/headwater/broker/partition"
	"github.com/headwater/headwater/broker/quota"
	"github.com/headwater/headwater/broker/record"
	"github.com/headwater/headwater/broker/region"
	"github.com/headwater/headwater/broker/replica"
	"github.com/headwater/headwater/broker/topic"
	"github.com/headwater/headwater/broker/wire"
)

// What only requests can get wrong.
var (
	errTooLarge         = errors.New("larger than the topic's max.message.bytes")
	errTransactional    = errors.New("transactions are not supported")
	errZstdTooEarly     = errors.New("zstd needs a produce request of version 7 or later")
	errRequiredAcks     = errors.New("acks must be -1, 0 or 1")
	errTimedOut         = errors.New("not acknowledged in the time that the request allows")
	errUnknownTopicID   = errors.New("unknown topic id")
	errFencedEpoch      = errors.New("the leader has a later epoch")
	errUnknownEpoch     = errors.New("the leader has an earlier epoch")
	errInvalidRequest   = errors.New("invalid request")
	errInvalidConfig    = errors.New("invalid setting")
	errCoordinatorType  = errors.New("coordinators are of groups (0) and transactions (1)")
	errGroupID          = errors.New("a group's id cannot be empty")
	errUnsupportedQuery = errors.New("not supported in this version")
	errLeaving          = errors.New("the broker is stopping, or the client is gone")
	errNoAuthorizer     = errors.New("there is no authorizer: nobody is asked who he is")
	errUnknownLogDir    = errors.New("no log directory of this broker")
	errNoReplica        = errors.New("this broker has no replica of the partition")
	errEndpointMismatch = errors.New("another type of endpoint than was wanted")
	errEndpointType     = errors.New("endpoints are of brokers (1) and controllers (2)")
)

// codes is the only map from the errors of the rooms to Kafka's. The first line
// that an error wraps decides.
var codes = []struct {
	err  error
	code wire.ErrorCode
}{
	{errNoReplica, wire.ReplicaNotAvailable}, // before the partition's own error, which it wraps

	{record.ErrOldFormat, wire.UnsupportedForMessageFormat},
	{record.ErrCorrupt, wire.CorruptMessage},
	{io.ErrUnexpectedEOF, wire.CorruptMessage}, // record.Next's, for a batch that is cut off
	{record.ErrInvalid, wire.InvalidRecord},
	{codec.ErrCorrupt, wire.CorruptMessage},
	{codec.ErrTooLarge, wire.MessageTooLarge},

	{topic.ErrInvalidName, wire.InvalidTopic},
	{topic.ErrInternal, wire.InvalidTopic},
	{topic.ErrInvalidSetting, wire.InvalidConfig},

	{commitlog.ErrOffsetOutOfRange, wire.OffsetOutOfRange},
	{commitlog.ErrFull, wire.PolicyViolation}, // clients fail at once, and show the message
	{syscall.ENOSPC, wire.PolicyViolation},    // to create or delete a topic takes room, too
	{commitlog.ErrOffline, wire.KafkaStorageError},
	{commitlog.ErrDescriptors, wire.KafkaStorageError}, // clients try again
	{commitlog.ErrClosed, wire.NotLeaderOrFollower},    // the broker is stopping: clients ask who leads now

	{partition.ErrUnknown, wire.UnknownTopicOrPartition},
	{partition.ErrNotLeader, wire.NotLeaderOrFollower},
	{partition.ErrOutOfOrderSequence, wire.OutOfOrderSequenceNumber},
	{partition.ErrProducerEpoch, wire.InvalidProducerEpoch},
	{partition.ErrNotEnoughReplicas, wire.NotEnoughReplicas},
	{partition.ErrNotEnoughReplicasAfterAppend, wire.NotEnoughReplicasAfterAppend},
	{partition.ErrFencedLeaderEpoch, wire.FencedLeaderEpoch},
	{partition.ErrUnknownLeaderEpoch, wire.UnknownLeaderEpoch},
	{partition.ErrOffsetNotAvailable, wire.OffsetNotAvailable},
	{partition.ErrISRRefused, wire.IneligibleReplica},
	{partition.ErrISRSuperseded, wire.InvalidUpdateVersion},
	{partition.ErrNoProducerID, wire.CoordinatorLoadInProgress}, // as Kafka's: clients ask again

	{replica.ErrNotReplica, wire.UnknownLeaderEpoch}, // as Kafka's: the replica asks again, and is one by then perhaps
	{replica.ErrStaleBrokerEpoch, wire.StaleBrokerEpoch},

	{cluster.ErrFenced, wire.NotController},
	{cluster.ErrNotController, wire.NotController},
	{cluster.ErrStaleBrokerEpoch, wire.StaleBrokerEpoch},
	{cluster.ErrStaleControllerEpoch, wire.StaleControllerEpoch},
	{cluster.ErrVersion, wire.InvalidUpdateVersion},
	{cluster.ErrFencedLeaderEpoch, wire.FencedLeaderEpoch},
	{cluster.ErrInvalidRequest, wire.InvalidRequest},
	{cluster.ErrUnknownTopicID, wire.UnknownTopicID},
	{cluster.ErrIneligibleReplica, wire.IneligibleReplica},
	{cluster.ErrPreferredNotAvailable, wire.PreferredLeaderNotAvailable},
	{cluster.ErrNoEligibleLeader, wire.EligibleLeadersNotAvailable},
	{region.ErrAway, wire.RequestTimedOut}, // clients ask again
	{region.ErrStaleOrder, wire.StaleControllerEpoch},
	{region.ErrTopicID, wire.InconsistentTopicID},
	{cluster.ErrUnknownTopic, wire.UnknownTopicOrPartition},
	{cluster.ErrTopicExists, wire.TopicAlreadyExists},
	{cluster.ErrInvalidPartitions, wire.InvalidPartitions},
	{cluster.ErrInvalidReplicationFactor, wire.InvalidReplicationFactor},
	{cluster.ErrInvalidAssignment, wire.InvalidReplicaAssignment},
	{cluster.ErrTooManyPartitions, wire.PolicyViolation},
	{cluster.ErrTooManyDeviceTopics, wire.PolicyViolation},
	{cluster.ErrUnknownPartition, wire.UnknownTopicOrPartition},
	{cluster.ErrInternalTopic, wire.PolicyViolation},
	{cluster.ErrElectionNotNeeded, wire.ElectionNotNeeded},
	{quota.ErrInvalid, wire.InvalidRequest},
	{quota.ErrTooMany, wire.PolicyViolation},
	{cluster.ErrNoReassignment, wire.NoReassignmentInProgress},
	{cluster.ErrNoRates, wire.InvalidRequest},

	{group.ErrInvalidID, wire.InvalidGroupID},
	{group.ErrLoading, wire.CoordinatorLoadInProgress},
	{group.ErrNotAvailable, wire.CoordinatorNotAvailable},
	{group.ErrNotHere, wire.NotCoordinator},
	{group.ErrTooLong, wire.InvalidRequest},
	{group.ErrUnknownMember, wire.UnknownMemberID},
	{group.ErrFenced, wire.FencedInstanceID},
	{group.ErrIllegalGeneration, wire.IllegalGeneration},
	{group.ErrInconsistentProtocol, wire.InconsistentGroupProtocol},
	{group.ErrSessionTimeout, wire.InvalidSessionTimeout},
	{group.ErrMemberIDRequired, wire.MemberIDRequired},
	{group.ErrRebalancing, wire.RebalanceInProgress},
	{group.ErrGroupFull, wire.GroupMaxSizeReached},
	{group.ErrTooMuch, wire.PolicyViolation},
	{group.ErrUnknownGroup, wire.GroupIDNotFound},
	{group.ErrNotEmpty, wire.NonEmptyGroup},
	{group.ErrSubscribed, wire.GroupSubscribedToTopic},
	{group.ErrMetadataTooLarge, wire.OffsetMetadataTooLarge},
	{group.ErrNoZooKeeper, wire.UnsupportedVersion},

	{errTooLarge, wire.MessageTooLarge},
	{errTransactional, wire.TransactionalIDAuthorization}, // fatal to every client; after another code librdkafka asks for ever
	{errZstdTooEarly, wire.UnsupportedCompressionType},
	{errRequiredAcks, wire.InvalidRequiredAcks},
	{errTimedOut, wire.RequestTimedOut},
	{errUnknownTopicID, wire.UnknownTopicID},
	{errFencedEpoch, wire.FencedLeaderEpoch},
	{errUnknownEpoch, wire.UnknownLeaderEpoch},
	{errInvalidRequest, wire.InvalidRequest},
	{errInvalidConfig, wire.InvalidConfig},
	{errCoordinatorType, wire.InvalidRequest},
	{errGroupID, wire.InvalidGroupID},
	{errUnsupportedQuery, wire.UnsupportedVersion},
	{errLeaving, wire.CoordinatorNotAvailable},
	{errNoAuthorizer, wire.SecurityDisabled},
	{errUnknownLogDir, wire.LogDirNotFound},
	{errEndpointMismatch, wire.MismatchedEndpointType},
	{errEndpointType, wire.UnsupportedEndpointType},
	{wire.ErrMalformed, wire.InvalidRequest},

	{context.Canceled, wire.RequestTimedOut},
	{context.DeadlineExceeded, wire.RequestTimedOut},
}

// code translates err. An error without a line is a bug of ours, or the world's:
// the client cannot do anything about it, so it is logged here.
func (a *API) code(err error) wire.ErrorCode {
	if err == nil {
		return wire.None
	}
	for _, c := range codes {
		if errors.Is(err, c.err) {
			return c.code
		}
	}
	a.log.Error("request failed", "err", err)
	return wire.UnknownServerError
}

// message is an answer's text for err, null for none.
func message(err error) *string {
	if err == nil {
		return nil
	}
	text := err.Error()
	return &text
}
