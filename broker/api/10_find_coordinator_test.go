package api

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/headwater/headwater/broker/wire"
)

// Groups are coordinated here; what cannot be is refused with a sentence.
func TestFindCoordinator(t *testing.T) {
	b := newBox(t)
	self := b.api.cluster.Snapshot().Brokers[0]
	c := b.dial(t)
	for version := int16(0); version <= 6; version++ {
		for name, tc := range map[string]struct {
			key     string
			keyType int8
			want    wire.ErrorCode
			since   int16
		}{
			"group":       {"readers", 0, wire.None, 0},
			"emptyGroup":  {"", 0, wire.InvalidGroupID, 0},
			"transaction": {"writer", 1, wire.TransactionalIDAuthorization, 1},
			"unknownType": {"x", 9, wire.InvalidRequest, 1},
		} {
			if version < tc.since {
				continue
			}
			req := kmsg.NewPtrFindCoordinatorRequest()
			req.CoordinatorKey, req.CoordinatorType, req.CoordinatorKeys = tc.key, tc.keyType, []string{tc.key}
			resp := call[*kmsg.FindCoordinatorResponse](t, c, req, version)
			got := kmsg.FindCoordinatorResponseCoordinator{Key: tc.key, NodeID: resp.NodeID, Host: resp.Host, Port: resp.Port, ErrorCode: resp.ErrorCode, ErrorMessage: resp.ErrorMessage}
			if version >= 4 {
				if len(resp.Coordinators) != 1 {
					t.Fatalf("%s, version %d: %d coordinators, want 1", name, version, len(resp.Coordinators))
				}
				got = resp.Coordinators[0]
			}
			if code(got.ErrorCode) != tc.want || got.Key != tc.key {
				t.Errorf("%s, version %d: %q, %v, want %v", name, version, got.Key, code(got.ErrorCode), tc.want)
			}
			here := got.NodeID == self.ID && got.Host == self.Host && got.Port == self.Port
			if here != (tc.want == wire.None) {
				t.Errorf("%s, version %d: coordinator %d at %s:%d, this broker is %+v", name, version, got.NodeID, got.Host, got.Port, self)
			}
		}
	}
}
