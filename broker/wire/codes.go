package wire

import "fmt"

// The API keys that headwater names.
const (
	Produce                     int16 = 0
	Fetch                       int16 = 1
	ListOffsets                 int16 = 2
	Metadata                    int16 = 3
	LeaderAndISR                int16 = 4
	StopReplica                 int16 = 5
	UpdateMetadata              int16 = 6
	ControlledShutdown          int16 = 7
	OffsetCommit                int16 = 8
	OffsetFetch                 int16 = 9
	FindCoordinator             int16 = 10
	JoinGroup                   int16 = 11
	Heartbeat                   int16 = 12
	LeaveGroup                  int16 = 13
	SyncGroup                   int16 = 14
	DescribeGroups              int16 = 15
	ListGroups                  int16 = 16
	APIVersions                 int16 = 18
	CreateTopics                int16 = 19
	DeleteTopics                int16 = 20
	DeleteRecords               int16 = 21
	InitProducerID              int16 = 22
	OffsetForLeaderEpoch        int16 = 23
	DescribeACLs                int16 = 29
	DescribeConfigs             int16 = 32
	AlterConfigs                int16 = 33
	AlterReplicaLogDirs         int16 = 34
	DescribeLogDirs             int16 = 35
	CreatePartitions            int16 = 37
	DeleteGroups                int16 = 42
	ElectLeaders                int16 = 43
	IncrementalAlterConfigs     int16 = 44
	AlterPartitionReassignments int16 = 45
	ListPartitionReassignments  int16 = 46
	OffsetDelete                int16 = 47
	DescribeClientQuotas        int16 = 48
	AlterClientQuotas           int16 = 49
	AlterPartition              int16 = 56
	DescribeCluster             int16 = 60
	DescribeProducers           int16 = 61
	AllocateProducerIDs         int16 = 67
	DescribeTopicPartitions     int16 = 75
)

// ErrorCode is how an answer says what went wrong; 0 is no error.
type ErrorCode int16

// Kafka's error codes, by the names of its documentation.
const (
	UnknownServerError           ErrorCode = -1
	None                         ErrorCode = 0
	OffsetOutOfRange             ErrorCode = 1
	CorruptMessage               ErrorCode = 2
	UnknownTopicOrPartition      ErrorCode = 3
	LeaderNotAvailable           ErrorCode = 5
	NotLeaderOrFollower          ErrorCode = 6
	RequestTimedOut              ErrorCode = 7
	ReplicaNotAvailable          ErrorCode = 9
	MessageTooLarge              ErrorCode = 10
	StaleControllerEpoch         ErrorCode = 11
	OffsetMetadataTooLarge       ErrorCode = 12
	CoordinatorLoadInProgress    ErrorCode = 14
	CoordinatorNotAvailable      ErrorCode = 15
	NotCoordinator               ErrorCode = 16
	InvalidTopic                 ErrorCode = 17
	NotEnoughReplicas            ErrorCode = 19
	NotEnoughReplicasAfterAppend ErrorCode = 20
	InvalidRequiredAcks          ErrorCode = 21
	IllegalGeneration            ErrorCode = 22
	InconsistentGroupProtocol    ErrorCode = 23
	InvalidGroupID               ErrorCode = 24
	UnknownMemberID              ErrorCode = 25
	InvalidSessionTimeout        ErrorCode = 26
	RebalanceInProgress          ErrorCode = 27
	ClusterAuthorizationFailed   ErrorCode = 31
	UnsupportedVersion           ErrorCode = 35
	TopicAlreadyExists           ErrorCode = 36
	InvalidPartitions            ErrorCode = 37
	InvalidReplicationFactor     ErrorCode = 38
	InvalidReplicaAssignment     ErrorCode = 39
	InvalidConfig                ErrorCode = 40
	NotController                ErrorCode = 41
	InvalidRequest               ErrorCode = 42
	UnsupportedForMessageFormat  ErrorCode = 43
	PolicyViolation              ErrorCode = 44
	OutOfOrderSequenceNumber     ErrorCode = 45
	InvalidProducerEpoch         ErrorCode = 47
	TransactionalIDAuthorization ErrorCode = 53
	SecurityDisabled             ErrorCode = 54
	OperationNotAttempted        ErrorCode = 55
	KafkaStorageError            ErrorCode = 56
	LogDirNotFound               ErrorCode = 57
	ReassignmentInProgress       ErrorCode = 60
	NonEmptyGroup                ErrorCode = 68
	GroupIDNotFound              ErrorCode = 69
	FetchSessionIDNotFound       ErrorCode = 70
	InvalidFetchSessionEpoch     ErrorCode = 71
	FencedLeaderEpoch            ErrorCode = 74
	UnknownLeaderEpoch           ErrorCode = 75
	UnsupportedCompressionType   ErrorCode = 76
	StaleBrokerEpoch             ErrorCode = 77
	OffsetNotAvailable           ErrorCode = 78
	MemberIDRequired             ErrorCode = 79
	PreferredLeaderNotAvailable  ErrorCode = 80
	GroupMaxSizeReached          ErrorCode = 81
	FencedInstanceID             ErrorCode = 82
	EligibleLeadersNotAvailable  ErrorCode = 83
	ElectionNotNeeded            ErrorCode = 84
	NoReassignmentInProgress     ErrorCode = 85
	GroupSubscribedToTopic       ErrorCode = 86
	InvalidRecord                ErrorCode = 87
	UnstableOffsetCommit         ErrorCode = 88
	InvalidUpdateVersion         ErrorCode = 95
	UnknownTopicID               ErrorCode = 100
	InconsistentTopicID          ErrorCode = 103
	FetchSessionTopicIDError     ErrorCode = 106
	IneligibleReplica            ErrorCode = 107
	NewLeaderElected             ErrorCode = 108
	MismatchedEndpointType       ErrorCode = 114
	UnsupportedEndpointType      ErrorCode = 115
)

var codeNames = map[ErrorCode]string{
	NewLeaderElected:             "NEW_LEADER_ELECTED",
	IneligibleReplica:            "INELIGIBLE_REPLICA",
	InconsistentTopicID:          "INCONSISTENT_TOPIC_ID",
	InvalidUpdateVersion:         "INVALID_UPDATE_VERSION",
	UnstableOffsetCommit:         "UNSTABLE_OFFSET_COMMIT",
	EligibleLeadersNotAvailable:  "ELIGIBLE_LEADERS_NOT_AVAILABLE",
	PreferredLeaderNotAvailable:  "PREFERRED_LEADER_NOT_AVAILABLE",
	OffsetNotAvailable:           "OFFSET_NOT_AVAILABLE",
	StaleBrokerEpoch:             "STALE_BROKER_EPOCH",
	ReassignmentInProgress:       "REASSIGNMENT_IN_PROGRESS",
	OperationNotAttempted:        "OPERATION_NOT_ATTEMPTED",
	NotController:                "NOT_CONTROLLER",
	ClusterAuthorizationFailed:   "CLUSTER_AUTHORIZATION_FAILED",
	NotEnoughReplicasAfterAppend: "NOT_ENOUGH_REPLICAS_AFTER_APPEND",
	NotEnoughReplicas:            "NOT_ENOUGH_REPLICAS",
	StaleControllerEpoch:         "STALE_CONTROLLER_EPOCH",
	UnknownServerError:           "UNKNOWN_SERVER_ERROR",
	None:                         "NONE",
	OffsetOutOfRange:             "OFFSET_OUT_OF_RANGE",
	CorruptMessage:               "CORRUPT_MESSAGE",
	UnknownTopicOrPartition:      "UNKNOWN_TOPIC_OR_PARTITION",
	LeaderNotAvailable:           "LEADER_NOT_AVAILABLE",
	NotLeaderOrFollower:          "NOT_LEADER_OR_FOLLOWER",
	RequestTimedOut:              "REQUEST_TIMED_OUT",
	ReplicaNotAvailable:          "REPLICA_NOT_AVAILABLE",
	MessageTooLarge:              "MESSAGE_TOO_LARGE",
	OffsetMetadataTooLarge:       "OFFSET_METADATA_TOO_LARGE",
	CoordinatorLoadInProgress:    "COORDINATOR_LOAD_IN_PROGRESS",
	CoordinatorNotAvailable:      "COORDINATOR_NOT_AVAILABLE",
	NotCoordinator:               "NOT_COORDINATOR",
	InvalidTopic:                 "INVALID_TOPIC_EXCEPTION",
	InvalidRequiredAcks:          "INVALID_REQUIRED_ACKS",
	IllegalGeneration:            "ILLEGAL_GENERATION",
	InconsistentGroupProtocol:    "INCONSISTENT_GROUP_PROTOCOL",
	InvalidGroupID:               "INVALID_GROUP_ID",
	UnknownMemberID:              "UNKNOWN_MEMBER_ID",
	InvalidSessionTimeout:        "INVALID_SESSION_TIMEOUT",
	RebalanceInProgress:          "REBALANCE_IN_PROGRESS",
	UnsupportedVersion:           "UNSUPPORTED_VERSION",
	TopicAlreadyExists:           "TOPIC_ALREADY_EXISTS",
	InvalidPartitions:            "INVALID_PARTITIONS",
	InvalidReplicationFactor:     "INVALID_REPLICATION_FACTOR",
	InvalidReplicaAssignment:     "INVALID_REPLICA_ASSIGNMENT",
	InvalidConfig:                "INVALID_CONFIG",
	InvalidRequest:               "INVALID_REQUEST",
	UnsupportedForMessageFormat:  "UNSUPPORTED_FOR_MESSAGE_FORMAT",
	PolicyViolation:              "POLICY_VIOLATION",
	OutOfOrderSequenceNumber:     "OUT_OF_ORDER_SEQUENCE_NUMBER",
	InvalidProducerEpoch:         "INVALID_PRODUCER_EPOCH",
	TransactionalIDAuthorization: "TRANSACTIONAL_ID_AUTHORIZATION_FAILED",
	SecurityDisabled:             "SECURITY_DISABLED",
	KafkaStorageError:            "KAFKA_STORAGE_ERROR",
	GroupIDNotFound:              "GROUP_ID_NOT_FOUND",
	LogDirNotFound:               "LOG_DIR_NOT_FOUND",
	NonEmptyGroup:                "NON_EMPTY_GROUP",
	FetchSessionIDNotFound:       "FETCH_SESSION_ID_NOT_FOUND",
	InvalidFetchSessionEpoch:     "INVALID_FETCH_SESSION_EPOCH",
	FencedLeaderEpoch:            "FENCED_LEADER_EPOCH",
	UnknownLeaderEpoch:           "UNKNOWN_LEADER_EPOCH",
	UnsupportedCompressionType:   "UNSUPPORTED_COMPRESSION_TYPE",
	ElectionNotNeeded:            "ELECTION_NOT_NEEDED",
	FencedInstanceID:             "FENCED_INSTANCE_ID",
	GroupMaxSizeReached:          "GROUP_MAX_SIZE_REACHED",
	GroupSubscribedToTopic:       "GROUP_SUBSCRIBED_TO_TOPIC",
	MemberIDRequired:             "MEMBER_ID_REQUIRED",
	NoReassignmentInProgress:     "NO_REASSIGNMENT_IN_PROGRESS",
	InvalidRecord:                "INVALID_RECORD",
	UnknownTopicID:               "UNKNOWN_TOPIC_ID",
	MismatchedEndpointType:       "MISMATCHED_ENDPOINT_TYPE",
	FetchSessionTopicIDError:     "FETCH_SESSION_TOPIC_ID_ERROR",
	UnsupportedEndpointType:      "UNSUPPORTED_ENDPOINT_TYPE",
}

// String returns Kafka's name for the code.
func (c ErrorCode) String() string {
	if name, ok := codeNames[c]; ok {
		return name
	}
	return fmt.Sprintf("error code %d", int16(c))
}
