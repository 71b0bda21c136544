package api

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// allocateProducerIDs gives a broker a block of producer ids (KIP-730), if this is
// the controller.
func (a *API) allocateProducerIDs(ctx context.Context, req *kmsg.AllocateProducerIDsRequest) kmsg.Response {
	resp := kmsg.NewPtrAllocateProducerIDsResponse()
	ids, err := a.cfg.Controller.AllocateProducerIDs(ctx, req.BrokerID, req.BrokerEpoch)
	if resp.ErrorCode = int16(a.code(err)); err == nil {
		resp.ProducerIDStart, resp.ProducerIDLen = ids.First, int32(ids.Count)
	}
	return resp
}
