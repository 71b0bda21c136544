package api

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/headwater/headwater/broker/quota"
)

// clientIDType is the one type of entity that has quotas here. Nothing asks who a
// client is, so there are no users.
const clientIDType = "client-id"

// describeClientQuotas lists the rates that were set while the broker runs. What the
// configuration says is in nobody's entry, as with Kafka.
func (a *API) describeClientQuotas(_ context.Context, req *kmsg.DescribeClientQuotasRequest) kmsg.Response {
	resp := kmsg.NewPtrDescribeClientQuotasResponse()
	matches, err := quotaFilter(req)
	if err != nil {
		resp.ErrorCode, resp.ErrorMessage = int16(a.code(err)), message(err)
		return resp
	}
	resp.Entries = []kmsg.DescribeClientQuotasResponseEntry{} // null is for errors
	table := a.cluster.Snapshot().Quotas
	describe := func(of quota.Entity, rates quota.Rates) {
		if entry := quotaEntry(of, rates); len(entry.Values) > 0 && matches(of) {
			resp.Entries = append(resp.Entries, entry)
		}
	}
	describe(quota.Entity{Default: true}, table.Default)
	for _, clientID := range slices.Sorted(maps.Keys(table.Clients)) {
		describe(quota.Entity{ClientID: clientID}, table.Clients[clientID])
	}
	return resp
}

// quotaFilter tells which entities req asks for. Components are of entity types, each
// at most once. A type that no entity here has leaves none over; strict leaves out
// entities that are of types beyond those asked for.
func quotaFilter(req *kmsg.DescribeClientQuotasRequest) (matches func(quota.Entity) bool, err error) {
	matches = func(quota.Entity) bool { return !req.Strict }
	seen := map[string]bool{}
	none := false
	for _, c := range req.Components {
		switch {
		case seen[c.EntityType]:
			return nil, fmt.Errorf("%w: the entity type %.60q is in it more than once", errInvalidRequest, c.EntityType)
		case c.EntityType != clientIDType && c.EntityType != "user" && c.EntityType != "ip":
			return nil, fmt.Errorf("%w: there is no entity type %.60q; quotas are of client-id", errUnsupportedQuery, c.EntityType)
		case c.MatchType == kmsg.QuotasMatchTypeExact && c.Match == nil:
			return nil, fmt.Errorf("%w: an exact match needs a name", errInvalidRequest)
		case c.MatchType < kmsg.QuotasMatchTypeExact || c.MatchType > kmsg.QuotasMatchTypeAny:
			return nil, fmt.Errorf("%w: there is no match type %d", errInvalidRequest, c.MatchType)
		}
		seen[c.EntityType] = true
		if c.EntityType != clientIDType {
			none = true
			continue
		}
		matches = func(e quota.Entity) bool {
			switch c.MatchType {
			case kmsg.QuotasMatchTypeExact:
				return !e.Default && e.ClientID == *c.Match
			case kmsg.QuotasMatchTypeDefault:
				return e.Default
			}
			return true
		}
	}
	if none {
		return func(quota.Entity) bool { return false }, nil
	}
	return matches, nil
}

func quotaEntry(of quota.Entity, rates quota.Rates) kmsg.DescribeClientQuotasResponseEntry {
	entry := kmsg.NewDescribeClientQuotasResponseEntry()
	entity := kmsg.NewDescribeClientQuotasResponseEntryEntity()
	entity.Type = clientIDType
	if !of.Default {
		entity.Name = &of.ClientID
	}
	entry.Entity = append(entry.Entity, entity)
	for k, rate := range rates {
		if rate == 0 {
			continue
		}
		value := kmsg.NewDescribeClientQuotasResponseEntryValue()
		value.Key, value.Value = quota.Kind(k).String(), float64(rate)
		entry.Values = append(entry.Values, value)
	}
	return entry
}
