package api

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/headwater/headwater/broker/quota"
	"github.com/headwater/headwater/broker/wire"
)

// setRate and unsetRate make operations on rates.
func setRate(key string, value float64) kmsg.AlterClientQuotasRequestEntryOp {
	return kmsg.AlterClientQuotasRequestEntryOp{Key: key, Value: value}
}

func unsetRate(key string) kmsg.AlterClientQuotasRequestEntryOp {
	return kmsg.AlterClientQuotasRequestEntryOp{Key: key, Remove: true}
}

// quotasFor makes an entry for entities "type=name"; without "=" it is the default.
func quotasFor(entity string, ops ...kmsg.AlterClientQuotasRequestEntryOp) kmsg.AlterClientQuotasRequestEntry {
	entry := kmsg.NewAlterClientQuotasRequestEntry()
	for _, e := range strings.Fields(entity) {
		kind, name, named := strings.Cut(e, "=")
		part := kmsg.AlterClientQuotasRequestEntryEntity{Type: kind}
		if named {
			part.Name = &name
		}
		entry.Entity = append(entry.Entity, part)
	}
	entry.Ops = ops
	return entry
}

func alterQuotas(t *testing.T, c *client, version int16, entries ...kmsg.AlterClientQuotasRequestEntry) []kmsg.AlterClientQuotasResponseEntry {
	t.Helper()
	req := kmsg.NewPtrAlterClientQuotasRequest()
	req.Entries = entries
	resp := call[*kmsg.AlterClientQuotasResponse](t, c, req, version)
	if len(resp.Entries) != len(entries) {
		t.Fatalf("%d answers to %d entries", len(resp.Entries), len(entries))
	}
	return resp.Entries
}

// quotasIn lists the quotas that match, as "client:key=value ...".
func quotasIn(resp *kmsg.DescribeClientQuotasResponse) (out []string) {
	for _, entry := range resp.Entries {
		s := "(default)"
		if name := entry.Entity[0].Name; name != nil {
			s = *name
		}
		for _, v := range entry.Values {
			s += fmt.Sprintf(" %s=%v", v.Key, v.Value)
		}
		out = append(out, entry.Entity[0].Type+":"+s)
	}
	return out
}

// What is set is described and applies at once, in both versions.
func TestAlterClientQuotas(t *testing.T) {
	for version := int16(0); version <= 1; version++ {
		b := newBox(t)
		c := b.dial(t)
		describe := func(want ...string) {
			t.Helper()
			resp := call[*kmsg.DescribeClientQuotasResponse](t, c, kmsg.NewPtrDescribeClientQuotasRequest(), version)
			if got := quotasIn(resp); resp.ErrorCode != 0 || resp.Entries == nil || !slices.Equal(got, want) {
				t.Errorf("version %d: %v, %q; want %q", version, code(resp.ErrorCode), got, want)
			}
		}
		describe()
		for _, answer := range alterQuotas(t, c, version,
			quotasFor("client-id=press", setRate("producer_byte_rate", 1000), setRate("consumer_byte_rate", 2000)),
			quotasFor("client-id=oven", setRate("consumer_byte_rate", 5), setRate("consumer_byte_rate", 6)),
			quotasFor("client-id", setRate("consumer_byte_rate", 1<<50))) {
			if answer.ErrorCode != 0 || answer.ErrorMessage != nil || answer.Entity[0].Type != "client-id" {
				t.Errorf("version %d: %+v", version, answer)
			}
		}
		describe("client-id:(default) consumer_byte_rate=1.125899906842624e+15", "client-id:oven consumer_byte_rate=6", "client-id:press producer_byte_rate=1000 consumer_byte_rate=2000")
		if got := b.solo.Snapshot().Quotas.Rate(quota.Produce, "press", quota.Rates{}); got != 1000 {
			t.Errorf("version %d: the rate is %d, want 1000", version, got)
		}
		alterQuotas(t, c, version,
			quotasFor("client-id=press", unsetRate("producer_byte_rate")), quotasFor("client-id=oven", unsetRate("consumer_byte_rate")), quotasFor("client-id", unsetRate("consumer_byte_rate")))
		describe("client-id:press consumer_byte_rate=2000")

		req := kmsg.NewPtrAlterClientQuotasRequest()
		req.ValidateOnly = true
		req.Entries = append(req.Entries, quotasFor("client-id=press", setRate("producer_byte_rate", 7)))
		if resp := call[*kmsg.AlterClientQuotasResponse](t, c, req, version); resp.Entries[0].ErrorCode != 0 {
			t.Errorf("version %d, only validated: %+v", version, resp.Entries[0])
		}
		describe("client-id:press consumer_byte_rate=2000")
	}
}

// What cannot be set is refused with a sentence, and what stands beside it is set.
func TestAlterClientQuotasRefuses(t *testing.T) {
	one := setRate("producer_byte_rate", 1)
	for name, tc := range map[string]struct {
		entry kmsg.AlterClientQuotasRequestEntry
		want  wire.ErrorCode
		says  string
	}{
		"user":            {quotasFor("user=ann", one), wire.InvalidRequest, "nobody asks who a client's user is"},
		"userAndClient":   {quotasFor("user=ann client-id=press", one), wire.InvalidRequest, "nobody asks"},
		"clientTwice":     {quotasFor("client-id=a client-id=b", one), wire.InvalidRequest, "nobody asks"},
		"ip":              {quotasFor("ip=10.0.0.1", setRate("connection_creation_rate", 1)), wire.InvalidRequest, "nobody asks"},
		"nobody":          {quotasFor("", one), wire.InvalidRequest, "nobody asks"},
		"nameless":        {quotasFor("client-id=", one), wire.InvalidRequest, "empty"},
		"longName":        {quotasFor("client-id="+strings.Repeat("x", 256), one), wire.InvalidRequest, "at most 255"},
		"otherQuota":      {quotasFor("client-id=x", setRate("request_percentage", 50)), wire.InvalidRequest, "producer_byte_rate and consumer_byte_rate"},
		"otherQuotaGoes":  {quotasFor("client-id=x", unsetRate("request_percentage")), wire.InvalidRequest, "there is no quota"},
		"zero":            {quotasFor("client-id=x", setRate("producer_byte_rate", 0)), wire.InvalidRequest, "from 1 to"},
		"negative":        {quotasFor("client-id=x", setRate("producer_byte_rate", -5)), wire.InvalidRequest, "from 1 to"},
		"broken":          {quotasFor("client-id=x", setRate("producer_byte_rate", 1.5)), wire.InvalidRequest, "whole number"},
		"endless":         {quotasFor("client-id=x", setRate("producer_byte_rate", math.Inf(1))), wire.InvalidRequest, "from 1 to"},
		"noNumber":        {quotasFor("client-id=x", setRate("producer_byte_rate", math.NaN())), wire.InvalidRequest, "whole number"},
		"tooLarge":        {quotasFor("client-id=x", setRate("producer_byte_rate", 1<<50+1)), wire.InvalidRequest, "from 1 to"},
		"firstOfTwoIsBad": {quotasFor("client-id=x", setRate("x", 1), one), wire.InvalidRequest, "there is no quota"},
	} {
		b := newBox(t)
		answers := alterQuotas(t, b.dial(t), 1, tc.entry, quotasFor("client-id=good", one))
		if got := answers[0]; code(got.ErrorCode) != tc.want || got.ErrorMessage == nil || !strings.Contains(*got.ErrorMessage, tc.says) || len(got.Entity) != len(tc.entry.Entity) {
			t.Errorf("%s: %v %v, want %v and %q", name, code(got.ErrorCode), str(got.ErrorMessage), tc.want, tc.says)
		}
		table := b.solo.Snapshot().Quotas
		if answers[1].ErrorCode != 0 || len(table.Clients) != 1 || table.Clients["good"] != (quota.Rates{1, 0}) {
			t.Errorf("%s: beside it %v, and the table is %+v", name, code(answers[1].ErrorCode), table)
		}
	}
	c := newBox(t).dial(t)
	for i, got := range alterQuotas(t, c, 1, quotasFor("client-id=x", one), quotasFor("client-id=x", one), quotasFor("client-id", one)) {
		if want := []wire.ErrorCode{wire.InvalidRequest, wire.InvalidRequest, wire.None}[i]; code(got.ErrorCode) != want {
			t.Errorf("twice the same, entry %d: %v, want %v", i, code(got.ErrorCode), want)
		}
	}
	many := []kmsg.AlterClientQuotasRequestEntry{}
	for i := range quota.MaxEntities + 1 {
		many = append(many, quotasFor(fmt.Sprintf("client-id=%d", i), one))
	}
	for _, got := range alterQuotas(t, c, 1, many...) {
		if code(got.ErrorCode) != wire.PolicyViolation {
			t.Fatalf("too many: %v", code(got.ErrorCode))
		}
	}
}

func str(s *string) string {
	if s == nil {
		return "null"
	}
	return *s
}

// What a filter finds, as Kafka's: exact, default or any; and strict.
func TestDescribeClientQuotas(t *testing.T) {
	type component = kmsg.DescribeClientQuotasRequestComponent
	exact := func(kind, name string) component { return component{EntityType: kind, Match: &name} }
	byDefault := func(kind string) component {
		return component{EntityType: kind, MatchType: kmsg.QuotasMatchTypeDefault}
	}
	anyOf := func(kind string) component {
		return component{EntityType: kind, MatchType: kmsg.QuotasMatchTypeAny}
	}
	b := newBox(t)
	c := b.dial(t)
	one := setRate("producer_byte_rate", 1)
	alterQuotas(t, c, 1, quotasFor("client-id=a", one), quotasFor("client-id=b", one), quotasFor("client-id", one))
	for name, tc := range map[string]struct {
		components []component
		strict     bool
		want       string
		code       wire.ErrorCode
	}{
		"all":           {nil, false, "client-id:(default) client-id:a client-id:b", 0},
		"strictlyNone":  {nil, true, "", 0},
		"any":           {[]component{anyOf("client-id")}, true, "client-id:(default) client-id:a client-id:b", 0},
		"exact":         {[]component{exact("client-id", "a")}, false, "client-id:a", 0},
		"unknown":       {[]component{exact("client-id", "c")}, false, "", 0},
		"exactlyNobody": {[]component{exact("client-id", "")}, false, "", 0},
		"default":       {[]component{byDefault("client-id")}, false, "client-id:(default)", 0},
		"users":         {[]component{anyOf("user")}, false, "", 0},
		"usersClients":  {[]component{anyOf("client-id"), anyOf("user")}, false, "", 0},
		"ip":            {[]component{exact("ip", "10.0.0.1")}, false, "", 0},
		"twice":         {[]component{anyOf("client-id"), anyOf("client-id")}, false, "", wire.InvalidRequest},
		"exactNothing":  {[]component{{EntityType: "client-id"}}, false, "", wire.InvalidRequest},
		"otherMatch":    {[]component{{EntityType: "client-id", MatchType: 3}}, false, "", wire.InvalidRequest},
		"negativeMatch": {[]component{{EntityType: "client-id", MatchType: -1}}, false, "", wire.InvalidRequest},
		"otherType":     {[]component{anyOf("colour")}, false, "", wire.UnsupportedVersion},
	} {
		req := kmsg.NewPtrDescribeClientQuotasRequest()
		req.Components, req.Strict = tc.components, tc.strict
		resp := call[*kmsg.DescribeClientQuotasResponse](t, c, req, 1)
		got := strings.ReplaceAll(strings.Join(quotasIn(resp), " "), " producer_byte_rate=1", "")
		if got != tc.want || code(resp.ErrorCode) != tc.code || (resp.ErrorMessage != nil) != (tc.code != 0) || (resp.Entries == nil) != (tc.code != 0) {
			t.Errorf("%s: %q, %v %s; want %q, %v", name, got, code(resp.ErrorCode), str(resp.ErrorMessage), tc.want, tc.code)
		}
	}
}
