package api

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/headwater/headwater/broker/group"
)

// leaveGroup takes members out of a group: before version 3 the one that asks, and
// then any.
func (a *API) leaveGroup(_ context.Context, req *kmsg.LeaveGroupRequest) kmsg.Response {
	leaving := []group.LeavingMember{{MemberID: req.MemberID}}
	if req.Version >= 3 {
		leaving = nil
		for _, m := range req.Members {
			leaving = append(leaving, group.LeavingMember{MemberID: m.MemberID, InstanceID: text(m.InstanceID)})
		}
	}
	resp := kmsg.NewPtrLeaveGroupResponse()
	errs, err := a.cfg.Groups.Leave(req.Group, leaving)
	resp.ErrorCode = int16(a.code(err))
	if req.Version < 3 && err == nil {
		resp.ErrorCode = int16(a.code(errs[0]))
	}
	for i, err := range errs {
		out := kmsg.NewLeaveGroupResponseMember()
		out.MemberID, out.InstanceID = leaving[i].MemberID, textOrNull(leaving[i].InstanceID)
		out.ErrorCode = int16(a.code(err))
		resp.Members = append(resp.Members, out)
	}
	return resp
}
