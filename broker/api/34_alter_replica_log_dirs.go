package api

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/headwater/headwater/broker/partition"
)

// alterReplicaLogDirs moves nothing: there is one log directory. To want a
// partition where it is, is no error.
func (a *API) alterReplicaLogDirs(_ context.Context, req *kmsg.AlterReplicaLogDirsRequest) kmsg.Response {
	resp := kmsg.NewPtrAlterReplicaLogDirsResponse()
	for _, dir := range req.Dirs {
		for _, t := range dir.Topics {
			topic := kmsg.NewAlterReplicaLogDirsResponseTopic()
			topic.Topic = t.Topic
			for _, index := range t.Partitions {
				out := kmsg.NewAlterReplicaLogDirsResponseTopicPartition()
				out.Partition, out.ErrorCode = index, int16(a.code(a.checkLogDir(dir.Dir, t.Topic, index)))
				topic.Partitions = append(topic.Partitions, out)
			}
			resp.Topics = append(resp.Topics, topic)
		}
	}
	return resp
}

// checkLogDir reports whether the partition is in that directory.
func (a *API) checkLogDir(dir, topic string, index int32) error {
	if dir != a.cfg.LogDir.Path() {
		return fmt.Errorf("%w: %.60q", errUnknownLogDir, dir)
	}
	_, err := a.partitions.Get(topic, index)
	if errors.Is(err, partition.ErrUnknown) {
		return fmt.Errorf("%w: %w", errNoReplica, err)
	}
	return err
}
