package api

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/headwater/headwater/broker/cluster"
	"github.com/headwater/headwater/broker/topic"
)

// incrementalAlterConfigs changes the settings that the request names, and no
// others.
func (a *API) incrementalAlterConfigs(ctx context.Context, req *kmsg.IncrementalAlterConfigsRequest) kmsg.Response {
	all := make([]alteration, len(req.Resources))
	for i, r := range req.Resources {
		all[i] = alteration{resource: resource{r.ResourceType, r.ResourceName}, Alteration: cluster.Alteration{ValidateOnly: req.ValidateOnly}}
		for _, c := range r.Configs {
			all[i].change(topic.Op(c.Op), c.Name, c.Value)
		}
	}
	resp := kmsg.NewPtrIncrementalAlterConfigsResponse()
	a.alterAll(ctx, all, func(r resource, err error) {
		out := kmsg.NewIncrementalAlterConfigsResponseResource()
		out.ResourceType, out.ResourceName = r.kind, r.name
		out.ErrorCode, out.ErrorMessage = int16(a.code(err)), message(err)
		resp.Resources = append(resp.Resources, out)
	})
	return resp
}
