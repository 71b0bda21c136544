package api

import (
	"bytes"
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/headwater/headwater/broker/group"
)

// syncGroup takes the leader's assignment, and answers each member with its part
// of it.
func (a *API) syncGroup(ctx context.Context, from caller, req *kmsg.SyncGroupRequest) kmsg.Response {
	r := &group.SyncRequest{
		Group: req.Group, MemberID: req.MemberID, InstanceID: text(req.InstanceID), Generation: req.Generation,
		ProtocolType: text(req.ProtocolType), Protocol: text(req.Protocol),
		Assignments: make(map[string][]byte, len(req.GroupAssignment)),
	}
	for _, g := range req.GroupAssignment { // copied: the frame is not ours to keep
		r.Assignments[g.MemberID] = bytes.Clone(g.MemberAssignment)
	}
	res, err := await(ctx, from.leaving, a.cfg.Groups.Sync(r))
	if err != nil {
		res.Err = err
	}
	resp := kmsg.NewPtrSyncGroupResponse()
	resp.ErrorCode = int16(a.code(res.Err))
	resp.MemberAssignment = res.Assignment
	if resp.MemberAssignment == nil {
		resp.MemberAssignment = []byte{} // never null
	}
	if res.Err == nil {
		resp.ProtocolType, resp.Protocol = &res.ProtocolType, &res.Protocol
	}
	return resp
}
