package api

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/headwater/headwater/broker/cluster"
	"github.com/headwater/headwater/broker/topic"
)

// alterConfigs sets all that a resource has of its own: what the request does not
// name goes back to what is inherited.
func (a *API) alterConfigs(ctx context.Context, req *kmsg.AlterConfigsRequest) kmsg.Response {
	all := make([]alteration, len(req.Resources))
	for i, r := range req.Resources {
		all[i] = alteration{resource: resource{r.ResourceType, r.ResourceName}, Alteration: cluster.Alteration{Replace: true, ValidateOnly: req.ValidateOnly}}
		for _, c := range r.Configs {
			all[i].change(topic.OpSet, c.Name, c.Value)
		}
	}
	resp := kmsg.NewPtrAlterConfigsResponse()
	a.alterAll(ctx, all, func(r resource, err error) {
		out := kmsg.NewAlterConfigsResponseResource()
		out.ResourceType, out.ResourceName = r.kind, r.name
		out.ErrorCode, out.ErrorMessage = int16(a.code(err)), message(err)
		resp.Resources = append(resp.Resources, out)
	})
	return resp
}
