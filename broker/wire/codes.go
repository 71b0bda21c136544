package wire

import "fmt"

// The API keys that headwater names.
const (
	Produce                     int16 = 0
	Fetch                       int16 = 1
	ListOffsets                 int16 = 2
	Metadata                    int16 = 3
	ControlledShutdown          int16 = 7
	FindCoordinator             int16 = 10
	APIVersions                 int16 = 18
	CreateTopics                int16 = 19
	DeleteTopics                int16 = 20
	DeleteRecords               int16 = 21
	InitProducerID              int16 = 22
	DescribeACLs                int16 = 29
	DescribeConfigs             int16 = 32
	AlterConfigs                int16 = 33
	AlterReplicaLogDirs         int16 = 34
	DescribeLogDirs             int16 = 35
	CreatePartitions            int16 = 37
	ElectLeaders                int16 = 43
	IncrementalAlterConfigs     int16 = 44
	AlterPartitionReassignments int16 = 45
	ListPartitionReassignments  int16 = 46
	DescribeCluster             int16 = 60
	DescribeProducers           int16 = 61
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
	CoordinatorLoadInProgress    ErrorCode = 14
	InvalidTopic                 ErrorCode = 17
	InvalidRequiredAcks          ErrorCode = 21
	InvalidGroupID               ErrorCode = 24
	UnsupportedVersion           ErrorCode = 35
	TopicAlreadyExists           ErrorCode = 36
	InvalidPartitions            ErrorCode = 37
	InvalidReplicationFactor     ErrorCode = 38
	InvalidReplicaAssignment     ErrorCode = 39
	InvalidConfig                ErrorCode = 40
	InvalidRequest               ErrorCode = 42
	UnsupportedForMessageFormat  ErrorCode = 43
	PolicyViolation              ErrorCode = 44
	OutOfOrderSequenceNumber     ErrorCode = 45
	InvalidProducerEpoch         ErrorCode = 47
	TransactionalIDAuthorization ErrorCode = 53
	SecurityDisabled             ErrorCode = 54
	KafkaStorageError            ErrorCode = 56
	LogDirNotFound               ErrorCode = 57
	FetchSessionIDNotFound       ErrorCode = 70
	FencedLeaderEpoch            ErrorCode = 74
	UnknownLeaderEpoch           ErrorCode = 75
	UnsupportedCompressionType   ErrorCode = 76
	ElectionNotNeeded            ErrorCode = 84
	NoReassignmentInProgress     ErrorCode = 85
	InvalidRecord                ErrorCode = 87
	UnknownTopicID               ErrorCode = 100
	MismatchedEndpointType       ErrorCode = 114
	UnsupportedEndpointType      ErrorCode = 115
)

var codeNames = map[ErrorCode]string{
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
	CoordinatorLoadInProgress:    "COORDINATOR_LOAD_IN_PROGRESS",
	InvalidTopic:                 "INVALID_TOPIC_EXCEPTION",
	InvalidRequiredAcks:          "INVALID_REQUIRED_ACKS",
	InvalidGroupID:               "INVALID_GROUP_ID",
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
	LogDirNotFound:               "LOG_DIR_NOT_FOUND",
	FetchSessionIDNotFound:       "FETCH_SESSION_ID_NOT_FOUND",
	FencedLeaderEpoch:            "FENCED_LEADER_EPOCH",
	UnknownLeaderEpoch:           "UNKNOWN_LEADER_EPOCH",
	UnsupportedCompressionType:   "UNSUPPORTED_COMPRESSION_TYPE",
	ElectionNotNeeded:            "ELECTION_NOT_NEEDED",
	NoReassignmentInProgress:     "NO_REASSIGNMENT_IN_PROGRESS",
	InvalidRecord:                "INVALID_RECORD",
	UnknownTopicID:               "UNKNOWN_TOPIC_ID",
	MismatchedEndpointType:       "MISMATCHED_ENDPOINT_TYPE",
	UnsupportedEndpointType:      "UNSUPPORTED_ENDPOINT_TYPE",
}

// String returns Kafka's name for the code.
func (c ErrorCode) String() string {
	if name, ok := codeNames[c]; ok {
		return name
	}
	return fmt.Sprintf("error code %d", int16(c))
}
