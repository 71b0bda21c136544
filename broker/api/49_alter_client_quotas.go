package api

import (
	"context"
	"fmt"
	"math"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/headwater/headwater/broker/quota"
)

// alterClientQuotas sets rates and takes them away. What is wrong with one entity is
// its own; those that are right are kept together, with one write.
func (a *API) alterClientQuotas(ctx context.Context, req *kmsg.AlterClientQuotasRequest) kmsg.Response {
	entities := make([]quota.Entity, len(req.Entries))
	errs := make([]error, len(req.Entries))
	times := map[quota.Entity]int{}
	for i, entry := range req.Entries {
		if entities[i], errs[i] = quotaEntity(entry.Entity); errs[i] == nil {
			times[entities[i]]++
		}
	}
	var changes []quota.Change
	for i, entry := range req.Entries {
		if errs[i] == nil && times[entities[i]] > 1 {
			errs[i] = fmt.Errorf("%w: the entity is in it %d times", errInvalidRequest, times[entities[i]])
		}
		if errs[i] != nil {
			continue
		}
		var own []quota.Change
		if own, errs[i] = quotaChanges(entities[i], entry.Ops); errs[i] == nil {
			changes = append(changes, own...)
		}
	}
	failed := a.cluster.AlterQuotas(ctx, changes, req.ValidateOnly)

	resp := kmsg.NewPtrAlterClientQuotasResponse()
	for i, entry := range req.Entries {
		if errs[i] == nil {
			errs[i] = failed
		}
		out := kmsg.NewAlterClientQuotasResponseEntry()
		out.ErrorCode, out.ErrorMessage = int16(a.code(errs[i])), message(errs[i])
		for _, e := range entry.Entity {
			out.Entity = append(out.Entity, kmsg.AlterClientQuotasResponseEntryEntity{Type: e.Type, Name: e.Name})
		}
		resp.Entries = append(resp.Entries, out)
	}
	return resp
}

// quotaEntity is whose rates are meant.
func quotaEntity(parts []kmsg.AlterClientQuotasRequestEntryEntity) (quota.Entity, error) {
	if len(parts) != 1 || parts[0].Type != clientIDType {
		return quota.Entity{}, fmt.Errorf("%w: quotas are of a client-id or its default; nobody asks who a client's user is, nor where it is", errInvalidRequest)
	}
	if parts[0].Name == nil {
		return quota.Entity{Default: true}, nil
	}
	e := quota.Entity{ClientID: *parts[0].Name}
	return e, e.Check()
}

// maxRate is far above any disk, and a float64 holds every whole number up to it.
const maxRate = 1 << 50

func quotaChanges(of quota.Entity, ops []kmsg.AlterClientQuotasRequestEntryOp) ([]quota.Change, error) {
	var changes []quota.Change
	for _, op := range ops {
		k, ok := quota.ParseKind(op.Key)
		switch {
		case !ok:
			return nil, fmt.Errorf("%w: there is no quota %.60q; there are %v and %v", errInvalidRequest, op.Key, quota.Produce, quota.Fetch)
		case op.Remove:
			changes = append(changes, quota.Change{Entity: of, Kind: k})
		case !(op.Value >= 1 && op.Value <= maxRate) || op.Value != math.Trunc(op.Value): // not a number is neither
			return nil, fmt.Errorf("%w: %v is a whole number of bytes a second from 1 to %d, not %v", errInvalidRequest, k, int64(maxRate), op.Value)
		default:
			changes = append(changes, quota.Change{Entity: of, Kind: k, Rate: int64(op.Value)})
		}
	}
	return changes, nil
}
