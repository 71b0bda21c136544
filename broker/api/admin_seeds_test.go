package api

import "github.com/twmb/franz-go/pkg/kmsg"

// adminSeeds are administration requests that say something.
func adminSeeds(req kmsg.Request) []kmsg.Request {
	value := kmsg.StringPtr("5000")
	partitions := []int32{0, 1, 1, 9}
	switch req := req.(type) {
	case *kmsg.AlterConfigsRequest:
		req.Resources = []kmsg.AlterConfigsRequestResource{
			{ResourceType: kmsg.ConfigResourceTypeTopic, ResourceName: "press", Configs: []kmsg.AlterConfigsRequestResourceConfig{{Name: "retention.ms", Value: value}, {Name: "x"}}},
			{ResourceType: kmsg.ConfigResourceTypeBroker, ResourceName: "7", Configs: []kmsg.AlterConfigsRequestResourceConfig{{Name: "log.retention.ms", Value: value}}},
		}
	case *kmsg.IncrementalAlterConfigsRequest:
		req.Resources = []kmsg.IncrementalAlterConfigsRequestResource{
			{ResourceType: kmsg.ConfigResourceTypeTopic, ResourceName: "press", Configs: []kmsg.IncrementalAlterConfigsRequestResourceConfig{
				{Name: "retention.ms", Value: value}, {Name: "segment.ms", Op: 1}, {Name: "cleanup.policy", Op: 2, Value: value}, {Name: "cleanup.policy", Op: 3, Value: value},
			}},
			{ResourceType: kmsg.ConfigResourceTypeBroker, Configs: []kmsg.IncrementalAlterConfigsRequestResourceConfig{{Name: "log.retention.ms", Value: value}}},
		}
	case *kmsg.DescribeClientQuotasRequest:
		req.Components = []kmsg.DescribeClientQuotasRequestComponent{{EntityType: "client-id", MatchType: kmsg.QuotasMatchTypeAny}, {EntityType: "user", Match: value}}
	case *kmsg.AlterClientQuotasRequest:
		ops := []kmsg.AlterClientQuotasRequestEntryOp{{Key: "producer_byte_rate", Value: 5000}, {Key: "consumer_byte_rate", Remove: true}}
		req.Entries = []kmsg.AlterClientQuotasRequestEntry{
			{Entity: []kmsg.AlterClientQuotasRequestEntryEntity{{Type: "client-id", Name: value}}, Ops: ops},
			{Entity: []kmsg.AlterClientQuotasRequestEntryEntity{{Type: "client-id"}}, Ops: ops},
		}
	case *kmsg.AlterReplicaLogDirsRequest:
		topics := []kmsg.AlterReplicaLogDirsRequestDirTopic{{Topic: "press", Partitions: partitions}}
		req.Dirs = []kmsg.AlterReplicaLogDirsRequestDir{{Dir: "/flash/data", Topics: topics}, {Dir: "/elsewhere", Topics: topics}}
	case *kmsg.DescribeLogDirsRequest:
		req.Topics = []kmsg.DescribeLogDirsRequestTopic{{Topic: "press", Partitions: partitions}, {Topic: "none", Partitions: partitions}}
	case *kmsg.CreatePartitionsRequest:
		req.Topics = []kmsg.CreatePartitionsRequestTopic{
			{Topic: "press", Count: 3, Assignment: []kmsg.CreatePartitionsRequestTopicAssignment{{Replicas: []int32{7}}}},
			{Topic: "none", Count: 1 << 30},
		}
	case *kmsg.ElectLeadersRequest:
		req.Topics = []kmsg.ElectLeadersRequestTopic{{Topic: "press", Partitions: partitions}, {Topic: "none", Partitions: partitions}}
	case *kmsg.AlterPartitionAssignmentsRequest:
		req.Topics = []kmsg.AlterPartitionAssignmentsRequestTopic{{Topic: "press", Partitions: []kmsg.AlterPartitionAssignmentsRequestTopicPartition{
			{Partition: 0, Replicas: []int32{7}}, {Partition: 1}, {Partition: 9, Replicas: []int32{1, 2}},
		}}}
	case *kmsg.ListPartitionReassignmentsRequest:
		req.Topics = []kmsg.ListPartitionReassignmentsRequestTopic{{Topic: "press", Partitions: partitions}}
	case *kmsg.DescribeClusterRequest:
		req.IncludeClusterAuthorizedOperations = true
	case *kmsg.DescribeProducersRequest:
		req.Topics = []kmsg.DescribeProducersRequestTopic{{Topic: "press", Partitions: partitions}, {Topic: "b/ad", Partitions: partitions}}
	case *kmsg.DescribeTopicPartitionsRequest:
		cursor := kmsg.NewDescribeTopicPartitionsRequestCursor()
		cursor.Topic, cursor.Partition = "press", 1
		req.Topics = []kmsg.DescribeTopicPartitionsRequestTopic{{Topic: "press"}, {Topic: "zinc"}}
		req.ResponsePartitionLimit, req.Cursor = 1, &cursor
	}
	return []kmsg.Request{req, kmsg.RequestForKey(req.Key())}
}
