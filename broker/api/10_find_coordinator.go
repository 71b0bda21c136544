package api

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// What a coordinator coordinates, as the request's key type.
const (
	groupKey       = 0
	transactionKey = 1
)

// findCoordinator names this broker, the only one that its clients know. librdkafka
// also takes this API for the sign that LZ4 is understood.
func (a *API) findCoordinator(_ context.Context, req *kmsg.FindCoordinatorRequest) kmsg.Response {
	resp := kmsg.NewPtrFindCoordinatorResponse()
	keys := req.CoordinatorKeys
	if req.Version < 4 {
		keys = []string{req.CoordinatorKey}
	}
	for _, key := range keys {
		resp.Coordinators = append(resp.Coordinators, a.coordinator(key, req.CoordinatorType))
	}
	if req.Version < 4 {
		c := resp.Coordinators[0]
		resp.ErrorCode, resp.ErrorMessage = c.ErrorCode, c.ErrorMessage
		resp.NodeID, resp.Host, resp.Port = c.NodeID, c.Host, c.Port
	}
	return resp
}

func (a *API) coordinator(key string, keyType int8) kmsg.FindCoordinatorResponseCoordinator {
	out := kmsg.NewFindCoordinatorResponseCoordinator()
	out.Key, out.NodeID, out.Port = key, -1, -1
	var err error
	switch {
	case keyType == transactionKey:
		err = errTransactional
	case keyType != groupKey:
		err = errCoordinatorType
	case key == "":
		err = errGroupID
	}
	if err != nil {
		out.ErrorCode, out.ErrorMessage = int16(a.code(err)), message(err)
		return out
	}
	for _, b := range a.cluster.Snapshot().Brokers {
		if b.ID == a.cfg.BrokerID {
			out.NodeID, out.Host, out.Port = b.ID, b.Host, b.Port
		}
	}
	return out
}
