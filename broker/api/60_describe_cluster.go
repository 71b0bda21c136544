package api

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// What a client takes this port for, as the request's endpoint type.
const (
	brokerEndpoint     = 1
	controllerEndpoint = 2
)

// describeCluster tells who the brokers are, to those who take this port for a
// broker's.
func (a *API) describeCluster(_ context.Context, req *kmsg.DescribeClusterRequest) kmsg.Response {
	resp := kmsg.NewPtrDescribeClusterResponse()
	if err := checkEndpoint(req.EndpointType); err != nil {
		resp.ErrorCode, resp.ErrorMessage = int16(a.code(err)), message(err)
		return resp
	}
	snapshot := a.cluster.Snapshot()
	resp.EndpointType, resp.ClusterID, resp.ControllerID = brokerEndpoint, snapshot.ClusterID, snapshot.ControllerID
	if req.IncludeClusterAuthorizedOperations {
		resp.ClusterAuthorizedOperations = clusterOperations
	}
	for _, b := range snapshot.Brokers {
		broker := kmsg.NewDescribeClusterResponseBroker()
		broker.NodeID, broker.Host, broker.Port = b.ID, b.Host, b.Port
		if b.Rack != "" {
			broker.Rack = &b.Rack
		}
		resp.Brokers = append(resp.Brokers, broker)
	}
	return resp
}

func checkEndpoint(kind int8) error {
	switch kind {
	case brokerEndpoint:
		return nil
	case controllerEndpoint:
		return fmt.Errorf("%w: this is a broker's, a controller's was wanted", errEndpointMismatch)
	}
	return fmt.Errorf("%w: there is no type %d", errEndpointType, kind)
}
