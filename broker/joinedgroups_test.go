package broker_test

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/headwater/headwater/broker/brokertest"
)

// oldCommit and oldFetch are of version 0, whose offsets are in ZooKeeper.
func oldCommit(t *testing.T, h *brokertest.Hub, group string, offset int64) {
	t.Helper()
	req := kmsg.NewPtrOffsetCommitRequest()
	req.Group = group
	topic := kmsg.NewOffsetCommitRequestTopic()
	p := kmsg.NewOffsetCommitRequestTopicPartition()
	topic.Topic, p.Offset = "there", offset
	topic.Partitions = append(topic.Partitions, p)
	req.Topics = append(req.Topics, topic)
	if got := askHub[*kmsg.OffsetCommitResponse](t, h, req).Topics[0].Partitions[0]; got.ErrorCode != 0 {
		t.Fatalf("%+v", got)
	}
}

func oldFetch(t *testing.T, h *brokertest.Hub, group string) int64 {
	t.Helper()
	req := kmsg.NewPtrOffsetFetchRequest()
	req.Group = group
	topic := kmsg.NewOffsetFetchRequestTopic()
	topic.Topic, topic.Partitions = "there", []int32{0}
	req.Topics = append(req.Topics, topic)
	return askHub[*kmsg.OffsetFetchResponse](t, h, req).Topics[0].Partitions[0].Offset
}

// Offsets in ZooKeeper are the same at all brokers; those that groups commit come there
// too, if that is wanted.
func testRegionOldOffsets(t *testing.T, r *brokertest.Region) {
	oldCommit(t, r.Hub(1), "old", 42)
	if got := oldFetch(t, r.Hub(2), "old"); got != 42 {
		t.Errorf("offset %d, want 42", got)
	}
	commitAt(t, r, "mirrored-1", 17)
	r.Await(t, "the offset in ZooKeeper", func() bool { return oldFetch(t, r.Hub(3), "mirrored-1") == 17 })
}

// coordinator finds the broker that has the group.
func coordinator(t *testing.T, r *brokertest.Region, group string) (found *brokertest.Hub) {
	t.Helper()
	req := kmsg.NewPtrFindCoordinatorRequest()
	req.CoordinatorKey = group
	r.Await(t, "a coordinator for "+group, func() bool {
		got := askHub[*kmsg.FindCoordinatorResponse](t, r.Running(t, -1), req)
		if got.ErrorCode != 0 {
			return false
		}
		found = r.Hub(got.NodeID)
		return found.Runs()
	})
	return found
}

// commitAt commits an offset as a group without members.
func commitAt(t *testing.T, r *brokertest.Region, group string, offset int64) {
	t.Helper()
	req := kmsg.NewPtrOffsetCommitRequest()
	req.Version, req.Group, req.Generation = 2, group, -1
	topic := kmsg.NewOffsetCommitRequestTopic()
	p := kmsg.NewOffsetCommitRequestTopicPartition()
	topic.Topic, p.Offset = "there", offset
	topic.Partitions = append(topic.Partitions, p)
	req.Topics = append(req.Topics, topic)
	r.Await(t, "the commit of "+group, func() bool {
		return askHub[*kmsg.OffsetCommitResponse](t, coordinator(t, r, group), req).Topics[0].Partitions[0].ErrorCode == 0
	})
}

// A group's offsets are where its coordinator moves to.
func testRegionCoordinators(t *testing.T, r *brokertest.Region) {
	awaitISR(t, r, "__consumer_offsets")
	commitAt(t, r, "central", 99)
	was := coordinator(t, r, "central")
	was.Stop(t)
	req := kmsg.NewPtrOffsetFetchRequest()
	req.Version, req.Group = 2, "central"
	topic := kmsg.NewOffsetFetchRequestTopic()
	topic.Topic, topic.Partitions = "there", []int32{0}
	req.Topics = append(req.Topics, topic)
	r.Await(t, "the offset at another coordinator", func() bool {
		now := coordinator(t, r, "central")
		got := askHub[*kmsg.OffsetFetchResponse](t, now, req)
		if got.ErrorCode != 0 || got.Topics[0].Partitions[0].ErrorCode != 0 {
			return false
		}
		if offset := got.Topics[0].Partitions[0].Offset; offset != 99 || now.ID == was.ID {
			t.Fatalf("offset %d at broker %d", offset, now.ID)
		}
		return true
	})
	was.Start(t)
	awaitISR(t, r, "__consumer_offsets")
}
