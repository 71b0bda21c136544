package api

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/headwater/headwater/broker/cluster"
	"github.com/headwater/headwater/broker/topic"
)

// setting is one line of an answer.
type setting struct {
	name, value, doc string
	kind             kmsg.ConfigType
	source           kmsg.ConfigSource
	readOnly         bool
	synonyms         []setting // where the value would come from, the deciding one first
}

// describeConfigs lists the settings of topics and of this broker. A resource that
// is asked for twice is answered once.
func (a *API) describeConfigs(_ context.Context, req *kmsg.DescribeConfigsRequest) kmsg.Response {
	type resource struct {
		kind kmsg.ConfigResourceType
		name string
	}
	seen := map[resource]bool{}
	resp := kmsg.NewPtrDescribeConfigsResponse()
	for _, r := range req.Resources {
		if seen[resource{r.ResourceType, r.ResourceName}] {
			continue
		}
		seen[resource{r.ResourceType, r.ResourceName}] = true
		out := kmsg.NewDescribeConfigsResponseResource()
		out.ResourceType, out.ResourceName = r.ResourceType, r.ResourceName
		settings, err := a.settingsOf(r.ResourceType, r.ResourceName)
		out.ErrorCode, out.ErrorMessage = int16(a.code(err)), message(err)
		for _, s := range settings {
			if len(r.ConfigNames) == 0 || slices.Contains(r.ConfigNames, s.name) {
				out.Configs = append(out.Configs, s.config(req.IncludeSynonyms, req.IncludeDocumentation))
			}
		}
		resp.Resources = append(resp.Resources, out)
	}
	return resp
}

func (a *API) settingsOf(kind kmsg.ConfigResourceType, name string) ([]setting, error) {
	snapshot := a.cluster.Snapshot()
	switch kind {
	case kmsg.ConfigResourceTypeTopic:
		if err := topic.ValidateName(name); err != nil {
			return nil, err
		}
		t, err := asked{name: name}.find(snapshot)
		if err != nil {
			return nil, err
		}
		return topicSettings(t, snapshot.Defaults), nil
	case kmsg.ConfigResourceTypeBroker:
		switch name {
		case a.brokerName():
			return a.brokerSettings(snapshot.Defaults), nil
		case "": // what was changed for all brokers at run time: nothing can be
			return nil, nil
		}
		return nil, fmt.Errorf("%w: broker %.20q was asked for, this is %s", errInvalidRequest, name, a.brokerName())
	}
	return nil, fmt.Errorf("%w: resources of type %d have no settings here", errInvalidRequest, kind)
}

// topicSettings lists t's settings, and where each comes from: the topic itself,
// the broker's configuration, or what headwater has without one.
func topicSettings(t *cluster.Topic, defaults topic.Settings) []setting {
	inherited, built := defaults.Describe(), topic.Defaults().Describe()
	out := make([]setting, 0, len(inherited))
	for i, d := range t.Settings.Describe() { // the same names in the same order in all three
		s := setting{name: d.Name, value: d.Value, doc: d.Doc, kind: kmsg.ConfigType(d.Type)}
		broker := brokerSetting(inherited[i], built[i])
		s.source = broker.source
		if _, ok := t.Overrides[d.Name]; ok {
			s.source = kmsg.ConfigSourceDynamicTopicConfig
			s.synonyms = []setting{{name: s.name, value: s.value, source: s.source}}
		}
		if broker.name != "" {
			s.synonyms = append(s.synonyms, broker)
		}
		out = append(out, s)
	}
	return out
}

// brokerSetting is what a topic's setting falls back to, by the broker's name for
// it, "" when it has none.
func brokerSetting(inherited, built topic.Described) setting {
	s := setting{
		name: inherited.BrokerKey, value: inherited.Value, doc: inherited.Doc, kind: kmsg.ConfigType(inherited.Type),
		source: kmsg.ConfigSourceDefaultConfig, readOnly: true,
	}
	if inherited.Value != built.Value {
		s.source = kmsg.ConfigSourceStaticBrokerConfig
	}
	return s
}

// brokerSettings lists those of this broker's settings that Kafka's tools know.
func (a *API) brokerSettings(defaults topic.Settings) []setting {
	static := func(name, value string, kind kmsg.ConfigType, doc string) setting {
		return setting{name: name, value: value, kind: kind, doc: doc, source: kmsg.ConfigSourceStaticBrokerConfig, readOnly: true}
	}
	out := []setting{
		static("auto.create.topics.enable", strconv.FormatBool(a.cfg.AutoCreateTopics), kmsg.ConfigTypeBoolean, "Asking for the metadata of an unknown topic makes it."),
		static("broker.id", a.brokerName(), kmsg.ConfigTypeInt, "This broker's id."),
		static("default.replication.factor", "1", kmsg.ConfigTypeInt, "Replicas of a topic that is created without a number."),
		static("num.partitions", strconv.Itoa(int(a.cfg.DefaultPartitions)), kmsg.ConfigTypeInt, "Partitions of a topic that is created without a number."),
	}
	built := topic.Defaults().Describe()
	for i, d := range defaults.Describe() {
		if s := brokerSetting(d, built[i]); s.name != "" {
			out = append(out, s)
		}
	}
	return out
}

// config is s as it is sent.
func (s setting) config(synonyms, doc bool) kmsg.DescribeConfigsResponseResourceConfig {
	c := kmsg.NewDescribeConfigsResponseResourceConfig()
	c.Name, c.Value, c.ReadOnly, c.ConfigType, c.Source = s.name, &s.value, s.readOnly, s.kind, s.source
	c.IsDefault = s.source == kmsg.ConfigSourceDefaultConfig // version 0, which has no source
	if doc {
		c.Documentation = &s.doc
	}
	if !synonyms {
		return c
	}
	for _, from := range s.synonyms {
		sy := kmsg.NewDescribeConfigsResponseResourceConfigConfigSynonym()
		sy.Name, sy.Value, sy.Source = from.name, &from.value, from.source
		c.ConfigSynonyms = append(c.ConfigSynonyms, sy)
	}
	return c
}
