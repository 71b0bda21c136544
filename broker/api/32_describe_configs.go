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
		return topicSettings(t, snapshot), nil
	case kmsg.ConfigResourceTypeBroker:
		switch name {
		case a.brokerName():
			return a.brokerSettings(snapshot), nil
		case "":
			return changedForAll(snapshot), nil
		}
		return nil, fmt.Errorf("%w: broker %.20q was asked for, this is %s", errInvalidRequest, name, a.brokerName())
	}
	return nil, fmt.Errorf("%w: resources of type %d have no settings here", errInvalidRequest, kind)
}

// topicSettings lists t's settings, and where each comes from: the topic itself, or
// what it inherits.
func topicSettings(t *cluster.Topic, snapshot *cluster.Snapshot) []setting {
	inherited := inheritedSettings(snapshot)
	out := make([]setting, 0, len(inherited))
	for i, d := range t.Settings.Describe() { // the same names in the same order
		s := setting{name: d.Name, value: d.Value, doc: d.Doc, kind: kmsg.ConfigType(d.Type)}
		from := inherited[i]
		s.source = from[0].source
		if _, ok := t.Overrides[d.Name]; ok {
			s.source = kmsg.ConfigSourceDynamicTopicConfig
			s.synonyms = []setting{{name: s.name, value: s.value, source: s.source}}
		}
		if d.BrokerKey != "" {
			s.synonyms = append(s.synonyms, from...)
		}
		out = append(out, s)
	}
	return out
}

// inheritedSettings lists where each topics' setting comes from when the topic has
// none of its own, by the broker's name for it and the deciding one first: what was
// changed for this broker while it ran, what was changed for all, its
// configuration, and what headwater has without one.
func inheritedSettings(snapshot *cluster.Snapshot) [][]setting {
	from := snapshot.DefaultsFrom
	configured, built := from.Configured.Describe(), topic.Defaults().Describe()
	out := make([][]setting, len(built))
	for i, b := range built {
		add := func(value string, source kmsg.ConfigSource) {
			out[i] = append(out[i], setting{name: b.BrokerKey, value: value, source: source})
		}
		if value, ok := from.ThisBroker[b.Name]; ok {
			add(value, kmsg.ConfigSourceDynamicBrokerConfig)
		}
		if value, ok := from.AllBrokers[b.Name]; ok {
			add(value, kmsg.ConfigSourceDynamicDefaultBrokerConfig)
		}
		if value := configured[i].Value; value != b.Value {
			add(value, kmsg.ConfigSourceStaticBrokerConfig)
		}
		add(b.Value, kmsg.ConfigSourceDefaultConfig)
	}
	return out
}

// changedForAll lists what was changed for all brokers while they ran.
func changedForAll(snapshot *cluster.Snapshot) (out []setting) {
	for _, d := range snapshot.Defaults.Describe() {
		if value, ok := snapshot.DefaultsFrom.AllBrokers[d.Name]; ok {
			s := setting{name: d.BrokerKey, value: value, doc: d.Doc, kind: kmsg.ConfigType(d.Type), source: kmsg.ConfigSourceDynamicDefaultBrokerConfig}
			s.synonyms = []setting{{name: s.name, value: s.value, source: s.source}}
			out = append(out, s)
		}
	}
	return out
}

// brokerSettings lists those of this broker's settings that Kafka's tools know. The
// defaults of topics can be changed while it runs, the others not.
func (a *API) brokerSettings(snapshot *cluster.Snapshot) []setting {
	static := func(name, value string, kind kmsg.ConfigType, doc string) setting {
		source := kmsg.ConfigSourceStaticBrokerConfig
		return setting{name: name, value: value, kind: kind, doc: doc, source: source, readOnly: true, synonyms: []setting{{name: name, value: value, source: source}}}
	}
	out := []setting{
		static("auto.create.topics.enable", strconv.FormatBool(a.cfg.AutoCreateTopics), kmsg.ConfigTypeBoolean, "Asking for the metadata of an unknown topic makes it."),
		static("broker.id", a.brokerName(), kmsg.ConfigTypeInt, "This broker's id."),
		static("default.replication.factor", strconv.Itoa(max(int(a.cfg.DefaultReplicas), 1)), kmsg.ConfigTypeInt, "Replicas of a topic that is created without a number."),
		static("delete.topic.enable", "true", kmsg.ConfigTypeBoolean, "Topics can be deleted."),
		static("log.dirs", a.cfg.LogDir.Path(), kmsg.ConfigTypeString, "The directory of the partitions."),
		static("num.partitions", strconv.Itoa(int(a.cfg.DefaultPartitions)), kmsg.ConfigTypeInt, "Partitions of a topic that is created without a number."),
	}
	out = append(out, rateSettings(snapshot)...)
	inherited := inheritedSettings(snapshot)
	for i, d := range snapshot.Defaults.Describe() {
		if d.BrokerKey == "" {
			continue
		}
		out = append(out, setting{
			name: d.BrokerKey, value: d.Value, doc: d.Doc, kind: kmsg.ConfigType(d.Type),
			source: inherited[i][0].source, synonyms: inherited[i],
		})
	}
	return out
}

// rateSettings lists the rates of throttled replicas that were set while brokers ran,
// as Kafka, which shows none that were not.
func rateSettings(snapshot *cluster.Snapshot) (out []setting) {
	for _, name := range cluster.RateNames() {
		s := setting{name: name, doc: "Bytes a second that throttled replicas may move while partitions are reassigned.", kind: kmsg.ConfigTypeLong}
		add := func(set map[string]string, source kmsg.ConfigSource) {
			if value, ok := set[name]; ok {
				s.synonyms = append(s.synonyms, setting{name: name, value: value, source: source})
			}
		}
		add(snapshot.Rates.ThisBroker, kmsg.ConfigSourceDynamicBrokerConfig)
		add(snapshot.Rates.AllBrokers, kmsg.ConfigSourceDynamicDefaultBrokerConfig)
		if len(s.synonyms) > 0 {
			s.value, s.source = s.synonyms[0].value, s.synonyms[0].source
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
