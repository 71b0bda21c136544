package api

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/headwater/headwater/broker/cluster"
	"github.com/headwater/headwater/broker/wire"
)

func TestDescribeCluster(t *testing.T) {
	b := newBox(t)
	c := b.dial(t)
	const unset = -1 << 31
	for version := int16(0); version <= 2; version++ {
		req := kmsg.NewPtrDescribeClusterRequest()
		req.IncludeClusterAuthorizedOperations = version == 1
		got := call[*kmsg.DescribeClusterResponse](t, c, req, version)
		if got.ErrorCode != 0 || got.ClusterID != "box" || got.ControllerID != 7 || len(got.Brokers) != 1 || (got.ClusterAuthorizedOperations != unset) != (version == 1) {
			t.Fatalf("version %d: %+v", version, got)
		}
		if b := got.Brokers[0]; b.NodeID != 7 || b.Host != "box.example" || b.Port != 9092 || b.Rack != nil || b.IsFenced {
			t.Errorf("version %d: %+v", version, b)
		}
		for endpoint, want := range map[int8]wire.ErrorCode{2: wire.MismatchedEndpointType, 0: wire.UnsupportedEndpointType, 9: wire.UnsupportedEndpointType} {
			req.EndpointType = endpoint
			got := call[*kmsg.DescribeClusterResponse](t, c, req, version)
			if version >= 1 && (code(got.ErrorCode) != want || got.ErrorMessage == nil || len(got.Brokers) != 0) {
				t.Errorf("version %d, endpoint %d: %+v, want %v", version, endpoint, got, want)
			}
		}
	}
}

// racked is a coordinator whose one broker stands in a rack.
type racked struct{ *cluster.Solo }

func (r racked) Snapshot() *cluster.Snapshot {
	s := *r.Solo.Snapshot()
	s.Brokers = []cluster.Broker{{ID: 7, Host: "box.example", Port: 9092, Rack: "hall-3"}}
	return &s
}

// A broker's rack is told wherever brokers are.
func TestRack(t *testing.T) {
	b := newBox(t)
	b.api.cluster = racked{b.solo}
	c := b.dial(t)
	cluster := call[*kmsg.DescribeClusterResponse](t, c, kmsg.NewPtrDescribeClusterRequest(), 2)
	metadata := call[*kmsg.MetadataResponse](t, c, metadataRequest(), 12)
	for name, rack := range map[string]*string{"DescribeCluster": cluster.Brokers[0].Rack, "Metadata": metadata.Brokers[0].Rack} {
		if words(rack) != "hall-3" {
			t.Errorf("%s: %s, want hall-3", name, words(rack))
		}
	}
}

// Nobody is asked who he is: clients are told that, not that there are no rules.
func TestDescribeACLs(t *testing.T) {
	c := newBox(t).dial(t)
	for version := int16(1); version <= 3; version++ {
		req := kmsg.NewPtrDescribeACLsRequest()
		req.ResourceType, req.Operation, req.PermissionType = kmsg.ACLResourceTypeAny, kmsg.ACLOperationAny, kmsg.ACLPermissionTypeAny
		got := call[*kmsg.DescribeACLsResponse](t, c, req, version)
		if code(got.ErrorCode) != wire.SecurityDisabled || got.ErrorMessage == nil || len(got.Resources) != 0 {
			t.Errorf("version %d: %+v", version, got)
		}
	}
}
