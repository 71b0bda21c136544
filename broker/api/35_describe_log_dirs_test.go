package api

import (
	"fmt"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/headwater/headwater/broker/wire"
)

// sizes writes an answer's partitions as "topic-index:bytes".
func sizes(resp *kmsg.DescribeLogDirsResponse) (out string) {
	for _, t := range resp.Dirs[0].Topics {
		for _, p := range t.Partitions {
			out += fmt.Sprintf("%s-%d:%d ", t.Topic, p.Partition, p.Size)
			if p.OffsetLag != 0 || p.IsFuture {
				out += "(lags or moves) "
			}
		}
	}
	return out
}

func TestDescribeLogDirs(t *testing.T) {
	b := newBox(t)
	b.create(t, "press", 2, nil)
	b.create(t, "pump", 2, nil)
	one := batch(3, 10, 0)
	b.fill(t, "press", 1, one, one)
	b.fill(t, "pump", 0, one)
	delete(b.partitions, "pump-1") // it could not be opened
	c := b.dial(t)
	n := len(one)
	for version := int16(1); version <= 4; version++ {
		for name, tc := range map[string]struct {
			topics []kmsg.DescribeLogDirsRequestTopic
			want   string
		}{
			"all":  {nil, fmt.Sprintf("press-0:0 press-1:%d pump-0:%d ", 2*n, n)},
			"none": {[]kmsg.DescribeLogDirsRequestTopic{}, ""},
			"some": {[]kmsg.DescribeLogDirsRequestTopic{
				{Topic: "press", Partitions: []int32{1, 1, 7, -1}}, {Topic: "none", Partitions: []int32{0}}, {Topic: "pump", Partitions: []int32{1}},
			}, fmt.Sprintf("press-1:%d ", 2*n)},
		} {
			req := kmsg.NewPtrDescribeLogDirsRequest()
			req.Topics = tc.topics
			resp := call[*kmsg.DescribeLogDirsResponse](t, c, req, version)
			if len(resp.Dirs) != 1 || resp.ErrorCode != 0 || resp.Dirs[0].ErrorCode != 0 || resp.Dirs[0].Dir != "/flash/data" || sizes(resp) != tc.want {
				t.Errorf("version %d, %s: %+v\nwant %s", version, name, resp, tc.want)
			}
			if d := resp.Dirs[0]; version >= 4 && (d.TotalBytes != 16<<30 || d.UsableBytes != 9<<30) {
				t.Errorf("version %d: %d bytes, %d usable", version, d.TotalBytes, d.UsableBytes)
			}
		}
	}
}

func TestAlterReplicaLogDirs(t *testing.T) {
	b := newBox(t)
	b.create(t, "press", 1, nil)
	c := b.dial(t)
	for version := int16(1); version <= 2; version++ {
		for name, tc := range map[string]struct {
			dir, topic string
			index      int32
			want       wire.ErrorCode
		}{
			"where it is":      {"/flash/data", "press", 0, wire.None},
			"elsewhere":        {"/flash/other", "press", 0, wire.LogDirNotFound},
			"unknownPartition": {"/flash/data", "press", 1, wire.ReplicaNotAvailable},
			"unknownTopic":     {"/flash/data", "none", 0, wire.ReplicaNotAvailable},
			"both":             {"", "none", 0, wire.LogDirNotFound},
		} {
			req := kmsg.NewPtrAlterReplicaLogDirsRequest()
			req.Dirs = []kmsg.AlterReplicaLogDirsRequestDir{{Dir: tc.dir, Topics: []kmsg.AlterReplicaLogDirsRequestDirTopic{{Topic: tc.topic, Partitions: []int32{tc.index}}}}}
			got := call[*kmsg.AlterReplicaLogDirsResponse](t, c, req, version).Topics[0]
			if got.Topic != tc.topic || got.Partitions[0].Partition != tc.index || code(got.Partitions[0].ErrorCode) != tc.want {
				t.Errorf("version %d, %s: %+v, want %v", version, name, got, tc.want)
			}
		}
	}
}
