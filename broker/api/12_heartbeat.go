package api

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/headwater/headwater/broker/group"
)

// heartbeat keeps a member in its group, and tells it when to join again.
func (a *API) heartbeat(_ context.Context, req *kmsg.HeartbeatRequest) kmsg.Response {
	resp := kmsg.NewPtrHeartbeatResponse()
	resp.ErrorCode = int16(a.code(a.cfg.Groups.Heartbeat(&group.HeartbeatRequest{
		Group: req.Group, MemberID: req.MemberID, InstanceID: text(req.InstanceID), Generation: req.Generation,
	})))
	return resp
}
