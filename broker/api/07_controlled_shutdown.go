package api

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// controlledShutdown has other brokers lead what the asking one leads, if this is
// the controller.
func (a *API) controlledShutdown(ctx context.Context, req *kmsg.ControlledShutdownRequest) kmsg.Response {
	resp := kmsg.NewPtrControlledShutdownResponse()
	brokerEpoch := int64(-1)
	if req.Version >= 2 {
		brokerEpoch = req.BrokerEpoch
	}
	remaining, err := a.cfg.Controller.ControlledShutdown(ctx, req.BrokerID, brokerEpoch)
	resp.ErrorCode = int16(a.code(err))
	for _, tp := range remaining {
		out := kmsg.NewControlledShutdownResponsePartitionsRemaining()
		out.Topic, out.Partition = tp.Topic, tp.Index
		resp.PartitionsRemaining = append(resp.PartitionsRemaining, out)
	}
	return resp
}
