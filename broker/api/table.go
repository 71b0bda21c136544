package api

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/headwater/headwater/broker/server"
	"github.com/headwater/headwater/broker/wire"
)

// entry is one API: the versions that are spoken, and what starts a request.
type entry struct {
	key, min, max int16
	records       bool // its requests carry records: long frames, several in progress per connection
	between       bool // brokers of a region alone speak it
	start         startFunc
}

// startFunc is server.Handler's Start for one API.
type startFunc func(a *API, ctx context.Context, frame []byte, c server.Conn) (server.Request, error)

// table is every API that headwater speaks, by key. What stands here is what
// ApiVersions announces, what dispatch accepts and what a reader can look up.
var table = []entry{
	{wire.Produce, 3, 9, true, false, (*API).startProduce},                                         // 00_produce.go
	{wire.Fetch, 4, 17, false, false, (*API).startFetch},                                           // 01_fetch.go
	{wire.ListOffsets, 1, 10, false, false, on((*API).listOffsets)},                                // 02_list_offsets.go
	{wire.Metadata, 0, 12, false, false, on((*API).metadata)},                                      // 03_metadata.go
	{wire.LeaderAndISR, 0, 7, false, true, on((*API).leaderAndISR)},                                // 04_leader_and_isr.go
	{wire.StopReplica, 0, 4, false, true, on((*API).stopReplica)},                                  // 05_stop_replica.go
	{wire.UpdateMetadata, 0, 8, false, true, on((*API).updateMetadata)},                            // 06_update_metadata.go
	{wire.ControlledShutdown, 1, 3, false, true, on((*API).controlledShutdown)},                    // 07_controlled_shutdown.go
	{wire.OffsetCommit, 0, 9, false, false, withCaller((*API).offsetCommit)},                       // 08_offset_commit.go
	{wire.OffsetFetch, 0, 9, false, false, withCaller((*API).offsetFetch)},                         // 09_offset_fetch.go
	{wire.FindCoordinator, 0, 6, false, false, on((*API).findCoordinator)},                         // 10_find_coordinator.go
	{wire.JoinGroup, 0, 9, false, false, withCaller((*API).joinGroup)},                             // 11_join_group.go
	{wire.Heartbeat, 0, 4, false, false, on((*API).heartbeat)},                                     // 12_heartbeat.go
	{wire.LeaveGroup, 0, 5, false, false, on((*API).leaveGroup)},                                   // 13_leave_group.go
	{wire.SyncGroup, 0, 5, false, false, withCaller((*API).syncGroup)},                             // 14_sync_group.go
	{wire.DescribeGroups, 0, 6, false, false, on((*API).describeGroups)},                           // 15_describe_groups.go
	{wire.ListGroups, 0, 5, false, false, on((*API).listGroups)},                                   // 16_list_groups.go
	{wire.APIVersions, 0, 3, false, false, on((*API).apiVersions)},                                 // 18_api_versions.go
	{wire.CreateTopics, 0, 7, false, false, on((*API).createTopics)},                               // 19_create_topics.go
	{wire.DeleteTopics, 0, 6, false, false, on((*API).deleteTopics)},                               // 20_delete_topics.go
	{wire.DeleteRecords, 0, 2, false, false, on((*API).deleteRecords)},                             // 21_delete_records.go
	{wire.InitProducerID, 0, 4, false, false, on((*API).initProducerID)},                           // 22_init_producer_id.go
	{wire.OffsetForLeaderEpoch, 0, 4, false, false, on((*API).offsetForLeaderEpoch)},               // 23_offset_for_leader_epoch.go
	{wire.DescribeACLs, 1, 3, false, false, on((*API).describeACLs)},                               // 29_describe_acls.go
	{wire.DescribeConfigs, 0, 4, false, false, on((*API).describeConfigs)},                         // 32_describe_configs.go
	{wire.AlterConfigs, 0, 2, false, false, on((*API).alterConfigs)},                               // 33_alter_configs.go
	{wire.AlterReplicaLogDirs, 1, 2, false, false, on((*API).alterReplicaLogDirs)},                 // 34_alter_replica_log_dirs.go
	{wire.DescribeLogDirs, 1, 4, false, false, on((*API).describeLogDirs)},                         // 35_describe_log_dirs.go
	{wire.CreatePartitions, 0, 3, false, false, on((*API).createPartitions)},                       // 37_create_partitions.go
	{wire.DeleteGroups, 0, 2, false, false, on((*API).deleteGroups)},                               // 42_delete_groups.go
	{wire.ElectLeaders, 0, 2, false, false, on((*API).electLeaders)},                               // 43_elect_leaders.go
	{wire.IncrementalAlterConfigs, 0, 1, false, false, on((*API).incrementalAlterConfigs)},         // 44_incremental_alter_configs.go
	{wire.AlterPartitionReassignments, 0, 0, false, false, on((*API).alterPartitionReassignments)}, // 45_alter_partition_reassignments.go
	{wire.ListPartitionReassignments, 0, 0, false, false, on((*API).listPartitionReassignments)},   // 46_list_partition_reassignments.go
	{wire.OffsetDelete, 0, 0, false, false, on((*API).offsetDelete)},                               // 47_offset_delete.go
	{wire.DescribeClientQuotas, 0, 1, false, false, on((*API).describeClientQuotas)},               // 48_describe_client_quotas.go
	{wire.AlterClientQuotas, 0, 1, false, false, on((*API).alterClientQuotas)},                     // 49_alter_client_quotas.go
	{wire.AlterPartition, 0, 3, false, true, on((*API).alterPartition)},                            // 56_alter_partition.go
	{wire.DescribeCluster, 0, 2, false, false, on((*API).describeCluster)},                         // 60_describe_cluster.go
	{wire.DescribeProducers, 0, 0, false, false, on((*API).describeProducers)},                     // 61_describe_producers.go
	{wire.AllocateProducerIDs, 0, 0, false, true, on((*API).allocateProducerIDs)},                  // 67_allocate_producer_ids.go
	{wire.DescribeTopicPartitions, 0, 0, false, false, on((*API).describeTopicPartitions)},         // 75_describe_topic_partitions.go
}

// spoken is the table, a copy: handlers that named the variable would be an
// initialisation cycle. What brokers of a region alone speak, others refuse.
func spoken(inRegion bool) (out []entry) {
	for _, e := range table {
		if inRegion || !e.between {
			out = append(out, e)
		}
	}
	return out
}

// on fits a method that takes its own request type to the table. Such a request is
// handled when every earlier one of its connection is answered.
func on[R kmsg.Request](method func(*API, context.Context, R) kmsg.Response) startFunc {
	return func(a *API, _ context.Context, frame []byte, _ server.Conn) (server.Request, error) {
		h, req, err := decode[R](frame)
		if err != nil {
			return nil, err
		}
		return server.FinishFunc(func(ctx context.Context) (server.Answer, error) {
			return answer(h, method(a, ctx, req)), nil
		}), nil
	}
}

// decode reads a frame whose request is of type R.
func decode[R kmsg.Request](frame []byte) (h wire.Header, req R, err error) {
	h, body, err := wire.ParseHeader(frame)
	if err != nil {
		return h, req, err
	}
	decoded, err := wire.Decode(h.Key, h.Version, body)
	if err != nil {
		return h, req, err
	}
	return h, decoded.(R), nil
}

// answer encodes resp for the request with header h.
func answer(h wire.Header, resp kmsg.Response) server.Answer {
	resp.SetVersion(h.Version)
	return server.Answer{Pieces: [][]byte{wire.AppendResponse(nil, h.CorrelationID, resp)}}
}
