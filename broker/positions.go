package broker

import (
	"fmt"

	"github.com/headwater/headwater/broker/group"
	"github.com/headwater/headwater/broker/topic"
)

// CommitPosition keeps a group's offset for a partition, as a Kafka consumer that
// chooses its partitions itself would: all before offset was read. done is called
// once, when that is durable or has failed. It neither blocks nor calls the Broker,
// and may run before CommitPosition returns. The first position of a box waits for
// the topic of all groups to be made.
func (b *Broker) CommitPosition(groupID, topicName string, index int32, offset int64, metadata string, done func(error)) {
	switch err := b.hasPartition(topicName, index); {
	case err != nil:
		done(err)
		return
	case groupID == "":
		done(group.ErrInvalidID)
		return
	}
	b.groups.CommitThen(&group.CommitRequest{Group: groupID, Generation: -1, Offsets: []group.Offset{{
		TopicPartition: group.TopicPartition{Topic: topicName, Partition: index},
		Offset:         offset, LeaderEpoch: -1, Metadata: metadata,
	}}}, func(errs []error) { done(errs[0]) })
}

// hasPartition is nil for a partition that clients may know.
func (b *Broker) hasPartition(topicName string, index int32) error {
	if topic.Internal(topicName) {
		return fmt.Errorf("%w: %s", topic.ErrInternal, topicName)
	}
	_, err := b.partitions.Get(topicName, index)
	return err
}

// Positions calls yield for each offset that the group has committed, by topic and
// partition. A group that nobody knows has none.
func (b *Broker) Positions(groupID string, yield func(topic string, partition int32, offset int64, metadata string)) error {
	offsets, err := b.groups.FetchAll(groupID)
	for _, o := range offsets {
		yield(o.Topic, o.Partition, o.Offset, o.Metadata)
	}
	return err
}

// EachGroup calls yield for the groups that have committed offsets, by their ids,
// until it returns false. While groups are being loaded it is an error.
func (b *Broker) EachGroup(yield func(group string) bool) error {
	groups, err := b.groups.List()
	if err != nil {
		return err
	}
	for _, g := range groups {
		offsets, err := b.groups.FetchAll(g.ID)
		if err != nil {
			return err
		}
		if len(offsets) > 0 && !yield(g.ID) {
			break
		}
	}
	return nil
}

// ForgetPosition drops a group's offset for a partition, and the group when it is
// left with none. done is as for CommitPosition; that there is no such offset is no
// error, and a group that has members is one.
func (b *Broker) ForgetPosition(groupID, topicName string, index int32, done func(error)) {
	b.groups.Forget(groupID, group.TopicPartition{Topic: topicName, Partition: index}, done)
}
