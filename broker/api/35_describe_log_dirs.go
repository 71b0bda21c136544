package api

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// describeLogDirs tells what the partitions take in the one log directory, and how
// large the file system below it is. Partitions that are not there, or could not be
// opened, are left out.
func (a *API) describeLogDirs(_ context.Context, req *kmsg.DescribeLogDirsRequest) kmsg.Response {
	wanted := map[string]map[int32]bool{}
	for _, t := range req.Topics {
		if wanted[t.Topic] == nil {
			wanted[t.Topic] = map[int32]bool{}
		}
		for _, index := range t.Partitions {
			wanted[t.Topic][index] = true
		}
	}
	dir := kmsg.NewDescribeLogDirsResponseDir()
	dir.Dir = a.cfg.LogDir.Path()
	dir.TotalBytes, dir.UsableBytes = a.cfg.LogDir.Volume()
	for _, t := range a.cluster.Snapshot().Topics() {
		topic := kmsg.NewDescribeLogDirsResponseDirTopic()
		topic.Topic = t.Name
		for index := range int32(len(t.Partitions)) {
			if req.Topics != nil && !wanted[t.Name][index] {
				continue
			}
			p, err := a.partitions.Get(t.Name, index)
			if err != nil {
				continue
			}
			out := kmsg.NewDescribeLogDirsResponseDirTopicPartition() // no lag: the leader has all
			out.Partition, out.Size = index, p.Size()
			topic.Partitions = append(topic.Partitions, out)
		}
		if len(topic.Partitions) > 0 {
			dir.Topics = append(dir.Topics, topic)
		}
	}
	resp := kmsg.NewPtrDescribeLogDirsResponse()
	resp.Dirs = append(resp.Dirs, dir)
	return resp
}
