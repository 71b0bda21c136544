package api

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/headwater/headwater/broker/cluster"
	"github.com/headwater/headwater/broker/commitlog"
	"github.com/headwater/headwater/broker/disk"
	"github.com/headwater/headwater/broker/partition"
	"github.com/headwater/headwater/broker/topic"
)

// diskHost is a cluster.Host over partitions with real logs.
type diskHost struct{ *partition.Set }

func (diskHost) Hosted() ([]cluster.Hosted, error) { return nil, nil }

// logBroker serves real logs on a loopback port, and returns its address.
func logBroker(t *testing.T) string {
	t.Helper()
	quiet := slog.New(slog.NewTextHandler(io.Discard, nil))
	dir, err := commitlog.OpenDir(t.TempDir(), commitlog.Options{FS: disk.OS{}, Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { dir.Run(ctx) })
	t.Cleanup(func() { stop(); running.Wait(); dir.Close() })

	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	set := partition.NewSet(dir, false, quiet)
	solo := cluster.NewSolo(cluster.SoloConfig{
		ClusterID: dir.ClusterID(), Self: cluster.Broker{ID: 7, Host: "127.0.0.1", Port: int32(ln.Addr().(*net.TCPAddr).Port)},
		Defaults: topic.Defaults(), DefaultPartitions: 2, MaxPartitions: 100,
	}, memStore{}, diskHost{set}, quiet)
	if err := solo.Start(); err != nil {
		t.Fatal(err)
	}
	groups := runGroups(t, offsetsLog{solo, Hosted(set)})
	b := &box{api: New(Config{BrokerID: 7, AutoCreateTopics: true, FetchBytes: 8 << 20, Groups: groups, LogDir: dir}, solo, Hosted(set), partition.NewProducerIDs(dir.FS(), dir.Path(), quiet), quiet), solo: solo}
	b.serve(t, ln)
	return ln.Addr().String()
}

func kafka(t *testing.T, addr string, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	c, err := kgo.NewClient(append(opts, kgo.SeedBrokers(addr))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// franz-go writes with every compression to a topic that its metadata request
// creates, and reads all of it back, in order, from the start and from a time.
func TestFranzGo(t *testing.T) {
	addr := logBroker(t)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var want []string
	for i, codec := range []kgo.CompressionCodec{kgo.NoCompression(), kgo.GzipCompression(), kgo.SnappyCompression(), kgo.Lz4Compression(), kgo.ZstdCompression()} {
		producer := kafka(t, addr, kgo.ProducerBatchCompression(codec), kgo.AllowAutoTopicCreation(), kgo.RecordPartitioner(kgo.ManualPartitioner()))
		var records []*kgo.Record
		for j := range 100 {
			value := fmt.Sprintf("codec %d, reading %d", i, j)
			want = append(want, value)
			records = append(records, &kgo.Record{
				Topic: "press", Partition: 1, Key: []byte("key"), Value: []byte(value),
				Timestamp: time.UnixMilli(int64(1000*i + 1000 + j)), Headers: []kgo.RecordHeader{{Key: "h", Value: []byte("v")}},
			})
		}
		if err := producer.ProduceSync(ctx, records...).FirstErr(); err != nil {
			t.Fatalf("codec %d: %v", i, err)
		}
	}
	for name, tc := range map[string]struct {
		from kgo.Offset
		want []string
	}{
		"start":  {kgo.NewOffset().AtStart(), want},
		"offset": {kgo.NewOffset().At(250), want[250:]}, // in the middle of a batch, for those who batch
		"time":   {kgo.NewOffset().AfterMilli(3050), want[250:]},
	} {
		consumer := kafka(t, addr, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{"press": {1: tc.from}}))
		var got []string
		for len(got) < len(tc.want) {
			fetches := consumer.PollFetches(ctx)
			if err := fetches.Err(); err != nil {
				t.Fatalf("%s, after %d records: %v", name, len(got), err)
			}
			fetches.EachRecord(func(r *kgo.Record) {
				if string(r.Key) != "key" || len(r.Headers) != 1 || int(r.Offset) != len(want)-len(tc.want)+len(got) {
					t.Errorf("%s: record %d came as %+v", name, len(got), r)
				}
				got = append(got, string(r.Value))
			})
		}
		if !slices.Equal(got, tc.want) {
			t.Errorf("%s: read %d records, not those that were written", name, len(got))
		}
	}
}

// What an admin client does with a topic, by the versions that it chooses itself.
func TestFranzGoAdmin(t *testing.T) {
	c := kafka(t, logBroker(t))
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	made, err := createRequest(newTopic("press", 3, 1)).RequestWith(ctx, c)
	if err != nil || made.Topics[0].ErrorCode != 0 {
		t.Fatalf("create: %+v, %v", made, err)
	}
	config, err := describeRequest(kmsg.ConfigResourceTypeTopic, "press").RequestWith(ctx, c)
	if err != nil || len(config.Resources[0].Configs) == 0 {
		t.Errorf("describe: %+v, %v", config, err)
	}
	byID := kmsg.NewPtrDeleteTopicsRequest()
	byID.Topics = []kmsg.DeleteTopicsRequestTopic{{TopicID: made.Topics[0].TopicID}}
	gone, err := byID.RequestWith(ctx, c)
	if err != nil || gone.Topics[0].ErrorCode != 0 || *gone.Topics[0].Topic != "press" {
		t.Errorf("delete: %+v, %v", gone, err)
	}
	left, err := kmsg.NewPtrMetadataRequest().RequestWith(ctx, c)
	if err != nil || len(left.Topics) != 0 {
		t.Errorf("after the deletion: %+v, %v", left, err)
	}
}
