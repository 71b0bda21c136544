package api

import (
	"fmt"
	"net"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/headwater/headwater/broker/server"
	"github.com/headwater/headwater/broker/wire"
)

// Requests are counted by their versions, of which there are few: what a stranger makes
// up for a version is not counted on its own.
func TestTermsSayTheVersion(t *testing.T) {
	b := newBox(t)
	for _, tc := range []struct {
		key, version int16
		want         server.Terms
	}{
		{wire.Fetch, 12, server.Terms{Name: "Fetch", Version: "12", MaxBytes: maxPlainBytes}},
		{wire.APIVersions, 3, server.Terms{Name: "ApiVersions", Version: "3", MaxBytes: maxPlainBytes}},
		{wire.APIVersions, 99, server.Terms{Name: "ApiVersions", MaxBytes: maxPlainBytes}},
	} {
		if got, err := b.api.Terms(tc.key, tc.version); got != tc.want || err != nil {
			t.Errorf("%d at %d: %+v, %v; want %+v", tc.key, tc.version, got, err, tc.want)
		}
	}
}

// What ApiVersions announces is the table, at every version; and at a version that
// is not spoken too, in the form of version 0 beside the error. Produce alone is
// told from version 0, for librdkafka's sake.
func TestAPIVersionsAnnouncesTheTable(t *testing.T) {
	want := ""
	for _, e := range spoken(false) {
		if e.key == wire.Produce {
			e.min = 0
		}
		want += fmt.Sprintf("%d:%d-%d ", e.key, e.min, e.max)
	}
	c := newBox(t).dial(t)
	for version := int16(0); version <= 4; version++ {
		req := kmsg.NewPtrApiVersionsRequest()
		req.ClientSoftwareName, req.ClientSoftwareVersion = "test", "1"
		wantCode := wire.None
		var resp *kmsg.ApiVersionsResponse
		if version <= 3 {
			resp = call[*kmsg.ApiVersionsResponse](t, c, req, version)
		} else {
			wantCode = wire.UnsupportedVersion
			req.Version = 30 // flexible, and nothing of it is known
			frame, id := c.frame(req)
			c.conn.Write(frame)
			req.Version = 0
			got, err := c.receive(req, id)
			if err != nil {
				t.Fatal(err)
			}
			resp = got.(*kmsg.ApiVersionsResponse)
		}
		got := ""
		for _, k := range resp.ApiKeys {
			got += fmt.Sprintf("%d:%d-%d ", k.ApiKey, k.MinVersion, k.MaxVersion)
		}
		if got != want || code(resp.ErrorCode) != wantCode {
			t.Errorf("version %d: %s, %v; want %s, %v", version, got, code(resp.ErrorCode), want, wantCode)
		}
	}
}

// Every version in the table is one that can be decoded, handled and answered, and
// that kmsg knows; those beside it close the connection.
func TestEveryVersionIsAnswered(t *testing.T) {
	b, _ := newMemberBox(t)
	b.create(t, "press", 1, nil)
	c := b.dial(t)
	for _, e := range table {
		req := kmsg.RequestForKey(e.key)
		if e.max > req.MaxVersion() {
			t.Errorf("%s: kmsg ends at version %d, the table at %d", kmsg.NameForKey(e.key), req.MaxVersion(), e.max)
		}
		for version := e.min; version <= e.max; version++ {
			req := kmsg.RequestForKey(e.key)
			if p, ok := req.(*kmsg.ProduceRequest); ok {
				p.Acks = -1
			}
			call[kmsg.Response](t, c, req, version)
		}
		for _, version := range []int16{-1, e.min - 1, e.max + 1, 99} {
			if _, err := b.api.Terms(e.key, version); (err == nil) != (e.key == wire.APIVersions) {
				t.Errorf("%s version %d: %v", kmsg.NameForKey(e.key), version, err)
			}
		}
	}
}

// FuzzRequests: whatever the body of whatever request, it is answered or its
// connection is closed; and what is answered, clients can read.
func FuzzRequests(f *testing.F) {
	for _, e := range table {
		for version := e.min; version <= e.max; version++ {
			for _, req := range seeds(e.key) {
				req.SetVersion(version)
				f.Add(e.key, version, req.AppendTo(nil))
			}
		}
	}
	f.Fuzz(func(t *testing.T, key, version int16, body []byte) {
		b, _ := newMemberBox(t)
		if _, err := b.api.find(key, version); err != nil {
			return
		}
		b.create(t, "press", 2, nil)
		b.fill(t, "press", 0, batch(3, 10, 1000))
		req := kmsg.RequestForKey(key)
		req.SetVersion(version)
		frame := format.AppendRequest(nil, req, 5)[4:]
		frame = append(frame[:len(frame)-len(req.AppendTo(nil))], body...)

		started, err := b.api.Start(t.Context(), frame, leaving{})
		if err != nil {
			return
		}
		got, err := started.Finish(t.Context())
		if err != nil {
			t.Fatalf("finish: %v", err)
		}
		var whole []byte
		for _, p := range got.Pieces {
			whole = append(whole, p...)
		}
		if got.Release != nil {
			got.Release()
		}
		if len(whole) > 0 {
			readable(t, req, whole)
		}
	})
}

// leaving is a connection on which nobody is kept waiting.
type leaving struct{ server.Conn }

func (leaving) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)} }

func (leaving) Leaving() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}

func readable(t *testing.T, req kmsg.Request, frame []byte) {
	t.Helper()
	resp := req.ResponseKind()
	if e := req.GetVersion(); req.Key() == wire.APIVersions && (e < 0 || e > 3) {
		resp.SetVersion(0)
	}
	frame = frame[8:]
	if resp.IsFlexible() && req.Key() != wire.APIVersions {
		frame = frame[1:]
	}
	if err := resp.ReadFrom(frame); err != nil {
		t.Errorf("the answer cannot be read: %v", err)
	}
}

// seeds are requests that say something.
func seeds(key int16) []kmsg.Request {
	name := kmsg.StringPtr("press")
	switch req := kmsg.RequestForKey(key).(type) {
	case *kmsg.ProduceRequest:
		return []kmsg.Request{produceRequest(-1, "press", 0, batch(2, 5, 0)), produceRequest(0, "press", 1, []byte("no batch"))}
	case *kmsg.FetchRequest:
		return []kmsg.Request{fetchRequest(ask{"press", 0, 0}, ask{"press", 1, 9}, ask{"none", 0, 0})}
	case *kmsg.ListOffsetsRequest:
		return []kmsg.Request{listRequest("press", 0, -1), listRequest("press", 0, 1005), listRequest("press", 9, -3)}
	case *kmsg.MetadataRequest:
		req.Topics = []kmsg.MetadataRequestTopic{{Topic: name}, {Topic: kmsg.StringPtr("new")}, {Topic: kmsg.StringPtr("b/ad")}}
		req.AllowAutoTopicCreation = true
		return []kmsg.Request{req, kmsg.NewPtrMetadataRequest()}
	case *kmsg.CreateTopicsRequest:
		req.Topics = []kmsg.CreateTopicsRequestTopic{
			{Topic: "a", NumPartitions: 1, ReplicationFactor: 1, Configs: []kmsg.CreateTopicsRequestTopicConfig{{Name: "retention.ms", Value: kmsg.StringPtr("5000")}}},
			{Topic: "b", NumPartitions: -1, ReplicationFactor: -1, ReplicaAssignment: []kmsg.CreateTopicsRequestTopicReplicaAssignment{{Partition: 0, Replicas: []int32{7}}}},
		}
		return []kmsg.Request{req}
	case *kmsg.DeleteTopicsRequest:
		req.TopicNames = []string{"press", "none"}
		req.Topics = []kmsg.DeleteTopicsRequestTopic{{Topic: name}, {TopicID: [16]byte{1}}}
		return []kmsg.Request{req}
	case *kmsg.DescribeConfigsRequest:
		req.Resources = []kmsg.DescribeConfigsRequestResource{
			{ResourceType: kmsg.ConfigResourceTypeTopic, ResourceName: "press", ConfigNames: []string{"retention.ms"}},
			{ResourceType: kmsg.ConfigResourceTypeBroker, ResourceName: "7"},
		}
		req.IncludeSynonyms, req.IncludeDocumentation = true, true
		return []kmsg.Request{req}
	case *kmsg.JoinGroupRequest:
		static := joinRequest("")
		static.InstanceID, static.Reason = kmsg.StringPtr("one"), kmsg.StringPtr("start")
		return []kmsg.Request{joinRequest(""), joinRequest("x"), static}
	case *kmsg.SyncGroupRequest:
		return []kmsg.Request{syncRequest("x", 1)}
	case *kmsg.LeaveGroupRequest:
		req.Group, req.MemberID = "readers", "x"
		req.Members = []kmsg.LeaveGroupRequestMember{{MemberID: "x"}, {InstanceID: kmsg.StringPtr("one")}}
		return []kmsg.Request{req}
	case *kmsg.OffsetCommitRequest:
		return []kmsg.Request{commitRequest("", -1, "press", 1, 5, "m"), commitRequest("x", 1, "none", 0, 5, "m")}
	case *kmsg.OffsetFetchRequest:
		return []kmsg.Request{fetchOffsets(1, "readers", 0, 1), fetchOffsets(8, "readers", 0, 1)}
	case *kmsg.OffsetDeleteRequest:
		req.Group = "readers"
		req.Topics = []kmsg.OffsetDeleteRequestTopic{{Topic: "press", Partitions: []kmsg.OffsetDeleteRequestTopicPartition{{Partition: 1}}}}
		return []kmsg.Request{req}
	case *kmsg.DescribeGroupsRequest:
		req.Groups = []string{"readers", ""}
		return []kmsg.Request{req}
	case *kmsg.DeleteGroupsRequest:
		req.Groups = []string{"readers", ""}
		return []kmsg.Request{req}
	default:
		return adminSeeds(req)
	}
}
