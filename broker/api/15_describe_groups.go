package api

import (
	"context"
	"errors"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/headwater/headwater/broker/group"
)

// groupOperations is what anyone may do with a group: read, delete, describe.
const groupOperations = 1<<3 | 1<<6 | 1<<8

// describeGroups shows groups and their members. One that nobody knows is dead,
// and an error from version 6 on.
func (a *API) describeGroups(_ context.Context, req *kmsg.DescribeGroupsRequest) kmsg.Response {
	resp := kmsg.NewPtrDescribeGroupsResponse()
	for _, id := range unique(req.Groups) {
		out := kmsg.NewDescribeGroupsResponseGroup()
		out.Group = id
		d, err := a.cfg.Groups.Describe(id)
		switch {
		case errors.Is(err, group.ErrUnknownGroup) && req.Version < 6:
			out.State = group.Dead.String()
		case err != nil:
			out.ErrorCode, out.ErrorMessage = int16(a.code(err)), message(err)
			if errors.Is(err, group.ErrUnknownGroup) {
				out.State = group.Dead.String()
			}
		default:
			describedGroup(&out, d)
			if req.IncludeAuthorizedOperations {
				out.AuthorizedOperations = groupOperations
			}
		}
		resp.Groups = append(resp.Groups, out)
	}
	return resp
}

func describedGroup(out *kmsg.DescribeGroupsResponseGroup, d group.Description) {
	out.State, out.ProtocolType, out.Protocol = d.State.String(), d.ProtocolType, d.Protocol
	for _, m := range d.Members {
		member := kmsg.NewDescribeGroupsResponseGroupMember()
		member.MemberID, member.InstanceID = m.MemberID, textOrNull(m.InstanceID)
		member.ClientID, member.ClientHost = m.ClientID, m.ClientHost
		member.ProtocolMetadata, member.MemberAssignment = m.Metadata, m.Assignment
		out.Members = append(out.Members, member)
	}
}
