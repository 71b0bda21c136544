package wire

import "github.com/twmb/franz-go/pkg/kmsg"

// NewRequest returns an empty request of key, with the defaults of Kafka's message
// definitions; nil if headwater neither answers nor sends such requests.
//
// kmsg.RequestForKey does that for every key there is, and links the code of some
// fifty more requests and their answers, which is a megabyte.
func NewRequest(key int16) kmsg.Request {
	if key < 0 || int(key) >= len(requests) || requests[key] == nil {
		return nil
	}
	return requests[key]()
}

// requests make a request of each key.
var requests = [...]func() kmsg.Request{
	Produce:                     maker(kmsg.NewPtrProduceRequest),
	Fetch:                       maker(kmsg.NewPtrFetchRequest),
	ListOffsets:                 maker(kmsg.NewPtrListOffsetsRequest),
	Metadata:                    maker(kmsg.NewPtrMetadataRequest),
	LeaderAndISR:                maker(kmsg.NewPtrLeaderAndISRRequest),
	StopReplica:                 maker(kmsg.NewPtrStopReplicaRequest),
	UpdateMetadata:              maker(kmsg.NewPtrUpdateMetadataRequest),
	ControlledShutdown:          maker(kmsg.NewPtrControlledShutdownRequest),
	OffsetCommit:                maker(kmsg.NewPtrOffsetCommitRequest),
	OffsetFetch:                 maker(kmsg.NewPtrOffsetFetchRequest),
	FindCoordinator:             maker(kmsg.NewPtrFindCoordinatorRequest),
	JoinGroup:                   maker(kmsg.NewPtrJoinGroupRequest),
	Heartbeat:                   maker(kmsg.NewPtrHeartbeatRequest),
	LeaveGroup:                  maker(kmsg.NewPtrLeaveGroupRequest),
	SyncGroup:                   maker(kmsg.NewPtrSyncGroupRequest),
	DescribeGroups:              maker(kmsg.NewPtrDescribeGroupsRequest),
	ListGroups:                  maker(kmsg.NewPtrListGroupsRequest),
	APIVersions:                 maker(kmsg.NewPtrApiVersionsRequest),
	CreateTopics:                maker(kmsg.NewPtrCreateTopicsRequest),
	DeleteTopics:                maker(kmsg.NewPtrDeleteTopicsRequest),
	DeleteRecords:               maker(kmsg.NewPtrDeleteRecordsRequest),
	InitProducerID:              maker(kmsg.NewPtrInitProducerIDRequest),
	OffsetForLeaderEpoch:        maker(kmsg.NewPtrOffsetForLeaderEpochRequest),
	DescribeACLs:                maker(kmsg.NewPtrDescribeACLsRequest),
	DescribeConfigs:             maker(kmsg.NewPtrDescribeConfigsRequest),
	AlterConfigs:                maker(kmsg.NewPtrAlterConfigsRequest),
	AlterReplicaLogDirs:         maker(kmsg.NewPtrAlterReplicaLogDirsRequest),
	DescribeLogDirs:             maker(kmsg.NewPtrDescribeLogDirsRequest),
	CreatePartitions:            maker(kmsg.NewPtrCreatePartitionsRequest),
	DeleteGroups:                maker(kmsg.NewPtrDeleteGroupsRequest),
	ElectLeaders:                maker(kmsg.NewPtrElectLeadersRequest),
	IncrementalAlterConfigs:     maker(kmsg.NewPtrIncrementalAlterConfigsRequest),
	AlterPartitionReassignments: maker(kmsg.NewPtrAlterPartitionAssignmentsRequest),
	ListPartitionReassignments:  maker(kmsg.NewPtrListPartitionReassignmentsRequest),
	OffsetDelete:                maker(kmsg.NewPtrOffsetDeleteRequest),
	DescribeClientQuotas:        maker(kmsg.NewPtrDescribeClientQuotasRequest),
	AlterClientQuotas:           maker(kmsg.NewPtrAlterClientQuotasRequest),
	AlterPartition:              maker(kmsg.NewPtrAlterPartitionRequest),
	DescribeCluster:             maker(kmsg.NewPtrDescribeClusterRequest),
	DescribeProducers:           maker(kmsg.NewPtrDescribeProducersRequest),
	AllocateProducerIDs:         maker(kmsg.NewPtrAllocateProducerIDsRequest),
	DescribeTopicPartitions:     maker(kmsg.NewPtrDescribeTopicPartitionsRequest),
}

// maker fits a constructor of kmsg's to the table.
func maker[R kmsg.Request](construct func() R) func() kmsg.Request {
	return func() kmsg.Request { return construct() }
}
