package api

import (
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/headwater/headwater/broker/wire"
)

const (
	topicResource  = kmsg.ConfigResourceTypeTopic
	brokerResource = kmsg.ConfigResourceTypeBroker
)

// altered asks AlterConfigs for one resource; a setting without '=' has no value.
func altered(kind kmsg.ConfigResourceType, name string, settings ...string) kmsg.AlterConfigsRequestResource {
	r := kmsg.NewAlterConfigsRequestResource()
	r.ResourceType, r.ResourceName = kind, name
	for _, s := range settings {
		c := kmsg.NewAlterConfigsRequestResourceConfig()
		if before, after, ok := strings.Cut(s, "="); ok {
			c.Name, c.Value = before, &after
		} else {
			c.Name = s
		}
		r.Configs = append(r.Configs, c)
	}
	return r
}

func alterRequest(resources ...kmsg.AlterConfigsRequestResource) *kmsg.AlterConfigsRequest {
	req := kmsg.NewPtrAlterConfigsRequest()
	req.Resources = resources
	return req
}

// stepped asks IncrementalAlterConfigs for one resource: "+name=value" sets, "-name"
// deletes, ">name=value" appends, "<name=value" subtracts, "?name=value" does what
// nobody knows.
func stepped(kind kmsg.ConfigResourceType, name string, steps ...string) kmsg.IncrementalAlterConfigsRequestResource {
	r := kmsg.NewIncrementalAlterConfigsRequestResource()
	r.ResourceType, r.ResourceName = kind, name
	for _, s := range steps {
		c := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
		c.Op = kmsg.IncrementalAlterConfigOp(strings.IndexByte("+-><?", s[0]))
		if before, after, ok := strings.Cut(s[1:], "="); ok {
			c.Name, c.Value = before, &after
		} else {
			c.Name = s[1:]
		}
		r.Configs = append(r.Configs, c)
	}
	return r
}

func stepRequest(resources ...kmsg.IncrementalAlterConfigsRequestResource) *kmsg.IncrementalAlterConfigsRequest {
	req := kmsg.NewPtrIncrementalAlterConfigsRequest()
	req.Resources = resources
	return req
}

func (b *box) overrides(t *testing.T, name string) map[string]string {
	t.Helper()
	found, ok := b.solo.Snapshot().Topic(name)
	if !ok {
		t.Fatalf("there is no %s", name)
	}
	return found.Overrides
}

// AlterConfigs leaves what it names, and nothing of what was before.
func TestAlterConfigs(t *testing.T) {
	for version := int16(0); version <= 2; version++ {
		b := newBox(t)
		b.create(t, "press", 1, map[string]string{"retention.ms": "5000"})
		req := alterRequest(
			altered(topicResource, "press", "segment.ms=60000", "cleanup.policy=delete"),
			altered(brokerResource, "7", "log.retention.ms=7000"),
			altered(brokerResource, "", "log.retention.ms=9000", "message.max.bytes=2000000"),
		)
		c := b.dial(t)
		for _, dry := range []bool{true, false} {
			req.ValidateOnly = dry
			resp := call[*kmsg.AlterConfigsResponse](t, c, req, version)
			for i, r := range resp.Resources {
				if r.ErrorCode != 0 || r.ErrorMessage != nil || r.ResourceType != req.Resources[i].ResourceType || r.ResourceName != req.Resources[i].ResourceName {
					t.Errorf("version %d, resource %d: %+v", version, i, r)
				}
			}
			want := map[string]string{"retention.ms": "5000"}
			if !dry {
				want = map[string]string{"segment.ms": "60000", "cleanup.policy": "delete"}
			}
			from := b.solo.Snapshot().DefaultsFrom
			if got := b.overrides(t, "press"); !maps.Equal(got, want) || len(from.ThisBroker) == 1 == dry || len(from.AllBrokers) == 2 == dry {
				t.Errorf("version %d, dry %v: %v, want %v; defaults %+v", version, dry, got, want, from)
			}
		}
	}
}

// IncrementalAlterConfigs changes what it names, each in its way.
func TestIncrementalAlterConfigs(t *testing.T) {
	for version := int16(0); version <= 1; version++ {
		b := newBox(t)
		b.create(t, "press", 1, map[string]string{"retention.ms": "5000", "segment.ms": "60000"})
		req := stepRequest(
			stepped(topicResource, "press", "+retention.bytes=1048576", "-segment.ms", ">cleanup.policy=delete"),
			stepped(brokerResource, "7", "+log.retention.ms=7000", "-log.roll.ms"),
		)
		c := b.dial(t)
		for _, dry := range []bool{true, false} {
			req.ValidateOnly = dry
			resp := call[*kmsg.IncrementalAlterConfigsResponse](t, c, req, version)
			for i, r := range resp.Resources {
				if r.ErrorCode != 0 || r.ErrorMessage != nil || r.ResourceType != req.Resources[i].ResourceType || r.ResourceName != req.Resources[i].ResourceName {
					t.Errorf("version %d, resource %d: %+v", version, i, r)
				}
			}
			want := map[string]string{"retention.ms": "5000", "segment.ms": "60000"}
			if !dry {
				want = map[string]string{"retention.ms": "5000", "retention.bytes": "1048576", "cleanup.policy": "delete"}
			}
			if got := b.overrides(t, "press"); !maps.Equal(got, want) || b.solo.Snapshot().DefaultsFrom.ThisBroker["retention.ms"] == "7000" == dry {
				t.Errorf("version %d, dry %v: %v, want %v; defaults %+v", version, dry, got, want, b.solo.Snapshot().DefaultsFrom)
			}
		}
	}
}

// What cannot be is refused with Kafka's code, a sentence that names it, and no
// harm to the others of the request.
func TestAlterConfigsRefuses(t *testing.T) {
	for name, tc := range map[string]struct {
		resource kmsg.AlterConfigsRequestResource
		want     wire.ErrorCode
		says     string
	}{
		"unknownTopic":    {altered(topicResource, "none", "retention.ms=1"), wire.UnknownTopicOrPartition, "none"},
		"badTopicName":    {altered(topicResource, "b/ad", "retention.ms=1"), wire.UnknownTopicOrPartition, "b/ad"},
		"unknownSetting":  {altered(topicResource, "press", "colour=red"), wire.InvalidConfig, "colour"},
		"badValue":        {altered(topicResource, "press", "retention.ms=soon"), wire.InvalidConfig, "soon"},
		"outOfRange":      {altered(topicResource, "press", "segment.bytes=1"), wire.InvalidConfig, "segment.bytes"},
		"emptyValue":      {altered(topicResource, "press", "retention.ms="), wire.InvalidConfig, "retention.ms"},
		"noValue":         {altered(topicResource, "press", "retention.ms"), wire.InvalidRequest, "retention.ms"},
		"settingTwice":    {altered(topicResource, "press", "retention.ms=1", "retention.ms=2"), wire.InvalidRequest, "more than once"},
		"otherBroker":     {altered(brokerResource, "8", "log.retention.ms=1"), wire.InvalidRequest, "this is 7"},
		"noBroker":        {altered(brokerResource, "seven", "log.retention.ms=1"), wire.InvalidRequest, "this is 7"},
		"unknownOfBroker": {altered(brokerResource, "7", "colour=red"), wire.InvalidRequest, "colour"},
		"topicsNameThere": {altered(brokerResource, "7", "retention.ms=1"), wire.InvalidRequest, "retention.ms"},
		"staticOfBroker":  {altered(brokerResource, "", "num.partitions=3"), wire.InvalidRequest, "while the broker runs"},
		"badBrokerValue":  {altered(brokerResource, "7", "log.retention.ms=soon"), wire.InvalidRequest, "soon"},
		"loggers":         {altered(kmsg.ConfigResourceTypeBrokerLogger, "7", "kafka=DEBUG"), wire.InvalidRequest, "type 8"},
		"noSuchType":      {altered(99, "press", "retention.ms=1"), wire.InvalidRequest, "type 99"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBox(t)
			b.create(t, "press", 1, map[string]string{"retention.ms": "5000"})
			b.create(t, "sound", 1, nil)
			c := b.dial(t)
			resp := call[*kmsg.AlterConfigsResponse](t, c, alterRequest(tc.resource, altered(topicResource, "sound", "retention.ms=6000")), 2)
			got := resp.Resources[0]
			if code(got.ErrorCode) != tc.want || got.ErrorMessage == nil || !strings.Contains(*got.ErrorMessage, tc.says) {
				t.Errorf("%v, %v; want %v with %q", code(got.ErrorCode), words(got.ErrorMessage), tc.want, tc.says)
			}
			if resp.Resources[1].ErrorCode != 0 || b.overrides(t, "sound")["retention.ms"] != "6000" {
				t.Errorf("its neighbour: %+v", resp.Resources[1])
			}
			if got, want := b.overrides(t, "press"), map[string]string{"retention.ms": "5000"}; !maps.Equal(got, want) {
				t.Errorf("now %v, want %v", got, want)
			}
		})
	}
}

// What kafka-reassign-partitions takes away at the end may not have been there.
func TestRatesAreTakenAway(t *testing.T) {
	b := newBox(t)
	request := stepRequest(stepped(brokerResource, "7", "-leader.replication.throttled.rate", "-follower.replication.throttled.rate", "-replica.alter.log.dirs.io.max.bytes.per.second"))
	resp := call[*kmsg.IncrementalAlterConfigsResponse](t, b.dial(t), request, 1)
	if got := resp.Resources[0]; got.ErrorCode != 0 {
		t.Errorf("%v, %v", code(got.ErrorCode), words(got.ErrorMessage))
	}
}

func words(s *string) string {
	if s == nil {
		return "no words"
	}
	return *s
}

func TestIncrementalAlterConfigsRefuses(t *testing.T) {
	for name, tc := range map[string]struct {
		resource kmsg.IncrementalAlterConfigsRequestResource
		want     wire.ErrorCode
		says     string
	}{
		"unknownTopic":     {stepped(topicResource, "none", "+retention.ms=1"), wire.UnknownTopicOrPartition, "none"},
		"unknownSetting":   {stepped(topicResource, "press", "+colour=red"), wire.InvalidConfig, "colour"},
		"appendToNumber":   {stepped(topicResource, "press", ">retention.ms=1"), wire.InvalidConfig, "not a list"},
		"subtractOfNumber": {stepped(topicResource, "press", "<retention.ms=1"), wire.InvalidConfig, "not a list"},
		"appendToUnknown":  {stepped(topicResource, "press", ">colour=red"), wire.InvalidConfig, "colour"},
		"appendWhatNot":    {stepped(topicResource, "press", ">cleanup.policy=shred"), wire.InvalidConfig, "cleanup.policy"},
		"noValue":          {stepped(topicResource, "press", "+retention.ms"), wire.InvalidRequest, "no value"},
		"appendNothing":    {stepped(topicResource, "press", ">cleanup.policy"), wire.InvalidRequest, "no value"},
		"unknownOperation": {stepped(topicResource, "press", "?retention.ms=1"), wire.InvalidRequest, "operation 4"},
		"settingTwice":     {stepped(topicResource, "press", "+retention.ms=1", "-retention.ms"), wire.InvalidRequest, "more than once"},
		"rateOfBroker":     {stepped(brokerResource, "7", "+follower.replication.throttled.rate=1000"), wire.InvalidRequest, "no replicas to throttle"},
		"deleteOfBroker":   {stepped(brokerResource, "7", "-broker.id"), wire.InvalidRequest, "broker.id"},
		"loggers":          {stepped(kmsg.ConfigResourceTypeBrokerLogger, "7", "+kafka=DEBUG"), wire.InvalidRequest, "type 8"},
	} {
		b := newBox(t)
		b.create(t, "press", 1, map[string]string{"retention.ms": "5000"})
		resp := call[*kmsg.IncrementalAlterConfigsResponse](t, b.dial(t), stepRequest(tc.resource), 1)
		got := resp.Resources[0]
		if code(got.ErrorCode) != tc.want || !strings.Contains(words(got.ErrorMessage), tc.says) {
			t.Errorf("%s: %v, %v; want %v with %q", name, code(got.ErrorCode), words(got.ErrorMessage), tc.want, tc.says)
		}
		if got, want := b.overrides(t, "press"), map[string]string{"retention.ms": "5000"}; !maps.Equal(got, want) {
			t.Errorf("%s: now %v, want %v", name, got, want)
		}
	}
}

// A resource that is named twice is answered once, and left as it is.
func TestAlterTwice(t *testing.T) {
	b := newBox(t)
	b.create(t, "press", 1, nil)
	b.create(t, "sound", 1, nil)
	resp := call[*kmsg.AlterConfigsResponse](t, b.dial(t), alterRequest(
		altered(topicResource, "press", "retention.ms=1"), altered(topicResource, "sound", "retention.ms=2"), altered(topicResource, "press", "retention.ms=3"),
	), 2)
	if len(resp.Resources) != 2 || code(resp.Resources[0].ErrorCode) != wire.InvalidRequest || resp.Resources[1].ErrorCode != 0 {
		t.Errorf("%+v", resp.Resources)
	}
	if len(b.overrides(t, "press")) != 0 || b.overrides(t, "sound")["retention.ms"] != "2" {
		t.Errorf("press %v, sound %v", b.overrides(t, "press"), b.overrides(t, "sound"))
	}
}

// DescribeConfigs tells each setting's value, and all the places that it could come
// from, the deciding one first.
func TestAlteredIsDescribed(t *testing.T) {
	b := newBox(t)
	b.create(t, "press", 1, map[string]string{"retention.ms": "5000"})
	b.create(t, "plain", 1, nil)
	c := b.dial(t)
	describe := func(kind kmsg.ConfigResourceType, name, setting string) string {
		t.Helper()
		req := describeRequest(kind, name)
		req.IncludeSynonyms = true
		got := setting1(t, call[*kmsg.DescribeConfigsResponse](t, c, req, 4), setting)
		out := fmt.Sprint(*got.Value, " ", got.Source)
		for _, s := range got.ConfigSynonyms {
			out += fmt.Sprintf(", %s=%s %v", s.Name, *s.Value, s.Source)
		}
		return out
	}
	call[*kmsg.AlterConfigsResponse](t, c, alterRequest(altered(brokerResource, "", "log.retention.ms=9000")), 2)
	const all = "log.retention.ms=9000 DYNAMIC_DEFAULT_BROKER_CONFIG, log.retention.ms=604800000 DEFAULT_CONFIG"
	for _, tc := range []struct {
		kind                kmsg.ConfigResourceType
		name, setting, want string
	}{
		{topicResource, "plain", "retention.ms", "9000 DYNAMIC_DEFAULT_BROKER_CONFIG, " + all},
		{topicResource, "press", "retention.ms", "5000 DYNAMIC_TOPIC_CONFIG, retention.ms=5000 DYNAMIC_TOPIC_CONFIG, " + all},
		{brokerResource, "7", "log.retention.ms", "9000 DYNAMIC_DEFAULT_BROKER_CONFIG, " + all},
		{brokerResource, "", "log.retention.ms", "9000 DYNAMIC_DEFAULT_BROKER_CONFIG, log.retention.ms=9000 DYNAMIC_DEFAULT_BROKER_CONFIG"},
		{brokerResource, "7", "broker.id", "7 STATIC_BROKER_CONFIG, broker.id=7 STATIC_BROKER_CONFIG"},
	} {
		if got := describe(tc.kind, tc.name, tc.setting); got != tc.want {
			t.Errorf("%q, %s: %s\nwant %s", tc.name, tc.setting, got, tc.want)
		}
	}
	call[*kmsg.AlterConfigsResponse](t, c, alterRequest(altered(brokerResource, "7", "log.retention.ms=8000")), 2)
	if got, want := describe(topicResource, "plain", "retention.ms"), "8000 DYNAMIC_BROKER_CONFIG, log.retention.ms=8000 DYNAMIC_BROKER_CONFIG, "+all; got != want {
		t.Errorf("with one of this broker's: %s\nwant %s", got, want)
	}
}
