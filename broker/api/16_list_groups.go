package api

import (
	"context"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// classic is the type of the groups that there are.
const classic = "classic"

// listGroups lists groups, of the states and types that are asked for.
func (a *API) listGroups(_ context.Context, req *kmsg.ListGroupsRequest) kmsg.Response {
	resp := kmsg.NewPtrListGroupsResponse()
	groups, err := a.cfg.Groups.List()
	resp.ErrorCode = int16(a.code(err))
	if len(req.TypesFilter) > 0 && !containsFold(req.TypesFilter, classic) {
		return resp
	}
	for _, g := range groups {
		if len(req.StatesFilter) > 0 && !containsFold(req.StatesFilter, g.State.String()) {
			continue
		}
		out := kmsg.NewListGroupsResponseGroup()
		out.Group, out.ProtocolType, out.GroupState, out.GroupType = g.ID, g.ProtocolType, g.State.String(), classic
		resp.Groups = append(resp.Groups, out)
	}
	return resp
}

func containsFold(words []string, word string) bool {
	return slices.ContainsFunc(words, func(w string) bool { return strings.EqualFold(w, word) })
}
