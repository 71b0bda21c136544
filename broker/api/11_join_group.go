package api

import (
	"bytes"
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/headwater/headwater/broker/group"
)

// joinGroup answers when the group's next generation begins.
func (a *API) joinGroup(ctx context.Context, from caller, req *kmsg.JoinGroupRequest) kmsg.Response {
	r := &group.JoinRequest{
		Group: req.Group, MemberID: req.MemberID, InstanceID: text(req.InstanceID),
		ClientID: from.clientID, ClientHost: from.host,
		SessionTimeout: millis(req.SessionTimeoutMillis), RebalanceTimeout: millis(req.RebalanceTimeoutMillis),
		ProtocolType:    req.ProtocolType,
		RequireMemberID: req.Version >= 4, CanSkipAssignment: req.Version >= 9,
	}
	if req.Version < 1 {
		r.RebalanceTimeout = r.SessionTimeout
	}
	for _, p := range req.Protocols { // copied: the frame is not ours to keep
		r.Protocols = append(r.Protocols, group.Protocol{Name: p.Name, Metadata: bytes.Clone(p.Metadata)})
	}
	res, err := await(ctx, from.leaving, a.cfg.Groups.Join(r))
	if err != nil {
		res = group.JoinResult{MemberID: r.MemberID, Err: err}
	}
	return a.joined(res)
}

func (a *API) joined(res group.JoinResult) kmsg.Response {
	resp := kmsg.NewPtrJoinGroupResponse()
	resp.ErrorCode, resp.MemberID = int16(a.code(res.Err)), res.MemberID
	if res.Err != nil {
		resp.Generation = -1
		return resp
	}
	resp.Generation, resp.LeaderID = res.Generation, res.LeaderID
	resp.ProtocolType, resp.Protocol = &res.ProtocolType, &res.Protocol
	resp.SkipAssignment = res.SkipAssignment
	for _, m := range res.Members {
		out := kmsg.NewJoinGroupResponseMember()
		out.MemberID, out.InstanceID, out.ProtocolMetadata = m.MemberID, textOrNull(m.InstanceID), m.Metadata
		resp.Members = append(resp.Members, out)
	}
	return resp
}

// millis is a duration as requests say it.
func millis(ms int32) time.Duration { return time.Duration(ms) * time.Millisecond }
