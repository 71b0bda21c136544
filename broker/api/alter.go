package api

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/headwater/headwater/broker/cluster"
	"github.com/headwater/headwater/broker/topic"
)

// resource is what has settings: a topic by its name, this broker by its id, or all
// brokers by "".
type resource struct {
	kind kmsg.ConfigResourceType
	name string
}

// alteration is what AlterConfigs and IncrementalAlterConfigs ask for a resource.
type alteration struct {
	resource
	cluster.Alteration
	err error // why it is none
}

// change adds a step. The value is null only where there is nothing to say.
func (alt *alteration) change(op topic.Op, name string, value *string) {
	c := topic.Change{Name: name, Op: op}
	switch {
	case op < topic.OpSet || op > topic.OpSubtract:
		alt.err = fmt.Errorf("%w: there is no operation %d", errInvalidRequest, op)
	case value == nil && op != topic.OpDelete:
		alt.err = fmt.Errorf("%w: %.60q has no value", errInvalidRequest, name)
	case op != topic.OpDelete:
		c.Value = *value
	}
	for _, before := range alt.Changes {
		if before.Name == name {
			alt.err = fmt.Errorf("%w: %.60q is in it more than once", errInvalidRequest, name)
		}
	}
	alt.Changes = append(alt.Changes, c)
}

// alterAll does what is asked for each resource, on its own, and calls answer for
// each with what came of it. One that is named twice is left as it is, for nobody
// could say which of the two is meant.
func (a *API) alterAll(ctx context.Context, all []alteration, answer func(resource, error)) {
	times := map[resource]int{}
	for _, alt := range all {
		times[alt.resource]++
	}
	for _, alt := range all {
		switch n := times[alt.resource]; n {
		case 0: // answered before
			continue
		case 1:
			answer(alt.resource, a.alter(ctx, alt))
		default:
			answer(alt.resource, fmt.Errorf("%w: the resource is in it %d times", errInvalidRequest, n))
		}
		delete(times, alt.resource)
	}
}

func (a *API) alter(ctx context.Context, alt alteration) error {
	switch {
	case alt.kind != kmsg.ConfigResourceTypeTopic && alt.kind != kmsg.ConfigResourceTypeBroker:
		return fmt.Errorf("%w: resources of type %d have no settings here", errInvalidRequest, alt.kind)
	case alt.kind == kmsg.ConfigResourceTypeBroker && alt.name != "" && alt.name != a.brokerName():
		return fmt.Errorf("%w: broker %.20q is meant, this is %s", errInvalidRequest, alt.name, a.brokerName())
	case alt.err != nil:
		return alt.err
	case alt.kind == kmsg.ConfigResourceTypeTopic:
		return a.cluster.AlterTopic(ctx, alt.name, alt.Alteration)
	}
	scope := cluster.ThisBroker
	if alt.name == "" {
		scope = cluster.AllBrokers
	}
	changes := make([]topic.Change, 0, len(alt.Changes))
	for _, c := range alt.Changes {
		if cluster.IsRate(c.Name) {
			alt.Rates = append(alt.Rates, c)
			continue
		}
		name, ok := topic.ByBrokerKey(c.Name)
		if !ok {
			return fmt.Errorf("%w: %.60q cannot be changed while the broker runs; what can are the defaults of topics, such as log.retention.ms", errInvalidRequest, c.Name)
		}
		c.Name = name
		changes = append(changes, c)
	}
	alt.Changes = changes
	err := a.cluster.AlterDefaults(ctx, scope, alt.Alteration)
	if errors.Is(err, topic.ErrInvalidSetting) {
		return fmt.Errorf("%w: %v", errInvalidRequest, err) // as Kafka, which says INVALID_CONFIG for topics alone (KAFKA-13609)
	}
	return err
}
