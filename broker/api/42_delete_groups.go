package api

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// deleteGroups removes groups that have no members, each on its own, and their
// offsets.
func (a *API) deleteGroups(ctx context.Context, req *kmsg.DeleteGroupsRequest) kmsg.Response {
	resp := kmsg.NewPtrDeleteGroupsResponse()
	for _, id := range unique(req.Groups) {
		err, late := await(ctx, nil, a.cfg.Groups.Delete(id))
		if late != nil {
			err = late
		}
		out := kmsg.NewDeleteGroupsResponseGroup()
		out.Group, out.ErrorCode = id, int16(a.code(err))
		resp.Groups = append(resp.Groups, out)
	}
	return resp
}

// unique drops what comes again.
func unique[T comparable](all []T) (out []T) {
	seen := make(map[T]bool, len(all))
	for _, v := range all {
		if !seen[v] {
			seen[v] = true
			out = append(out, v)
		}
	}
	return out
}
