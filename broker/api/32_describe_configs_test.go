package api

import (
	"fmt"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/headwater/headwater/broker/topic"
	"github.com/headwater/headwater/broker/wire"
)

func describeRequest(kind kmsg.ConfigResourceType, name string, settings ...string) *kmsg.DescribeConfigsRequest {
	r := kmsg.NewDescribeConfigsRequestResource()
	r.ResourceType, r.ResourceName, r.ConfigNames = kind, name, settings
	req := kmsg.NewPtrDescribeConfigsRequest()
	req.Resources = []kmsg.DescribeConfigsRequestResource{r, r}
	return req
}

func setting1(t *testing.T, resp *kmsg.DescribeConfigsResponse, name string) kmsg.DescribeConfigsResponseResourceConfig {
	t.Helper()
	if len(resp.Resources) != 1 || resp.Resources[0].ErrorCode != 0 {
		t.Fatalf("%+v, want one resource, though it was asked for twice", resp.Resources)
	}
	for _, c := range resp.Resources[0].Configs {
		if c.Name == name {
			return c
		}
	}
	t.Fatalf("no %s in %+v", name, resp.Resources[0].Configs)
	panic("not reached")
}

func TestDescribeTopic(t *testing.T) {
	b := newBox(t)
	b.create(t, "press", 1, map[string]string{"retention.ms": "5000"})
	c := b.dial(t)
	for version := int16(0); version <= 4; version++ {
		req := describeRequest(kmsg.ConfigResourceTypeTopic, "press")
		req.IncludeSynonyms, req.IncludeDocumentation = true, true
		resp := call[*kmsg.DescribeConfigsResponse](t, c, req, version)
		if n := len(resp.Resources[0].Configs); n != len(topic.Defaults().Describe()) {
			t.Errorf("version %d: %d settings, want %d", version, n, len(topic.Defaults().Describe()))
		}
		set, inherited := setting1(t, resp, "retention.ms"), setting1(t, resp, "segment.bytes")
		if *set.Value != "5000" || *inherited.Value != "16777216" || set.ReadOnly || set.IsSensitive {
			t.Errorf("version %d: %+v, %+v", version, set, inherited)
		}
		if version == 0 && (set.IsDefault || !inherited.IsDefault) {
			t.Errorf("version 0: default %v and %v, want false and true", set.IsDefault, inherited.IsDefault)
		}
		if version >= 1 {
			got := fmt.Sprint(set.Source, inherited.Source, synonyms(set), synonyms(inherited))
			want := "DYNAMIC_TOPIC_CONFIG DEFAULT_CONFIG [retention.ms=5000 log.retention.ms=604800000] [log.segment.bytes=16777216]"
			if got != want {
				t.Errorf("version %d: %s, want %s", version, got, want)
			}
		}
		if version >= 3 && (set.ConfigType != kmsg.ConfigTypeLong || set.Documentation == nil || *set.Documentation == "") {
			t.Errorf("version %d: type %v, doc %v", version, set.ConfigType, set.Documentation)
		}
	}
	only := call[*kmsg.DescribeConfigsResponse](t, c, describeRequest(kmsg.ConfigResourceTypeTopic, "press", "segment.ms", "colour"), 4)
	if got := only.Resources[0].Configs; len(got) != 1 || got[0].Name != "segment.ms" || got[0].Documentation != nil || len(got[0].ConfigSynonyms) != 0 {
		t.Errorf("one setting asked for: %+v", got)
	}
}

func synonyms(c kmsg.DescribeConfigsResponseResourceConfig) (out []string) {
	for _, s := range c.ConfigSynonyms {
		out = append(out, s.Name+"="+*s.Value)
	}
	return out
}

func TestDescribeBroker(t *testing.T) {
	b := newBox(t)
	c := b.dial(t)
	resp := call[*kmsg.DescribeConfigsResponse](t, c, describeRequest(kmsg.ConfigResourceTypeBroker, "7"), 4)
	for name, want := range map[string]string{
		"auto.create.topics.enable": "true", "broker.id": "7", "num.partitions": "2", "default.replication.factor": "3", "delete.topic.enable": "true", "log.dirs": "/flash/data",
	} {
		if got := setting1(t, resp, name); *got.Value != want || !got.ReadOnly || got.Source != kmsg.ConfigSourceStaticBrokerConfig {
			t.Errorf("%s is %s from %v, read-only %v; want %s, static, true", name, *got.Value, got.Source, got.ReadOnly, want)
		}
	}
	for name, want := range map[string]string{"message.max.bytes": "1048588", "log.retention.bytes": "268435456"} { // can be changed
		if got := setting1(t, resp, name); *got.Value != want || got.ReadOnly || got.Source != kmsg.ConfigSourceDefaultConfig {
			t.Errorf("%s is %s from %v, read-only %v; want %s, default, false", name, *got.Value, got.Source, got.ReadOnly, want)
		}
	}
	everyone := call[*kmsg.DescribeConfigsResponse](t, c, describeRequest(kmsg.ConfigResourceTypeBroker, ""), 4)
	if r := everyone.Resources[0]; r.ErrorCode != 0 || len(r.Configs) != 0 {
		t.Errorf("all brokers: %+v", r)
	}
}

func TestDescribeConfigsRefuses(t *testing.T) {
	c := newBox(t).dial(t)
	for name, tc := range map[string]struct {
		kind kmsg.ConfigResourceType
		name string
		want wire.ErrorCode
	}{
		"unknownTopic": {kmsg.ConfigResourceTypeTopic, "none", wire.UnknownTopicOrPartition},
		"badName":      {kmsg.ConfigResourceTypeTopic, "b/ad", wire.InvalidTopic},
		"otherBroker":  {kmsg.ConfigResourceTypeBroker, "8", wire.InvalidRequest},
		"loggers":      {kmsg.ConfigResourceTypeBrokerLogger, "7", wire.InvalidRequest},
	} {
		resp := call[*kmsg.DescribeConfigsResponse](t, c, describeRequest(tc.kind, tc.name), 4)
		if got := resp.Resources[0]; code(got.ErrorCode) != tc.want || got.ErrorMessage == nil || len(got.Configs) != 0 {
			t.Errorf("%s: %+v, want %v", name, got, tc.want)
		}
	}
}
