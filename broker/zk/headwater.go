package zk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/go-zookeeper/zk"

	"github.com/headwater/headwater/broker/cluster"
	"github.com/headwater/headwater/broker/topic"
)

// Nodes of our own, which Kafka's brokers do not look at. What Kafka does not know may
// not stand among its own: its next change of a topic's settings would be refused.
const (
	gatewaysPath  = "/headwater/gateways" // <id>: a broker that gets no replicas of others' topics
	ownTopicsPath = "/headwater/topics"   // <topic>: what Kafka does not know of it
)

// ReservedBrokerIDs is the highest id that operators choose: Kafka's
// reserved.broker.max.id.
const ReservedBrokerIDs int32 = 1000

// MarkGateway says whether the broker is a gateway, before it registers.
func (s *Session) MarkGateway(ctx context.Context, id int32, gateway bool) error {
	node := path.Join(gatewaysPath, strconv.Itoa(int(id)))
	if !gateway {
		return s.remove(ctx, node, anyVersion)
	}
	return s.ensure(ctx, node)
}

// Gateways lists the brokers that are gateways, there or not.
func (s *Session) Gateways(ctx context.Context) (ids []int32, err error) {
	names, err := s.children(ctx, gatewaysPath, nil)
	if isNoNode(err) {
		return nil, nil
	}
	for _, name := range names {
		if id, err := strconv.ParseInt(name, 10, 32); err == nil && id >= 0 {
			ids = append(ids, int32(id))
		}
	}
	slices.Sort(ids)
	return ids, err
}

// Own is what a topic has that Kafka's brokers do not know.
type Own struct {
	ID       topic.ID          // of the topic: one that was made anew under its name has none of it
	Settings map[string]string // whose names begin with "headwater."
	Device   int32             // the broker whose device caused the topic; -1: none
}

type ownJSON struct {
	Version int32             `json:"version"`
	ID      *topic.ID         `json:"topic_id,omitempty"`
	Config  map[string]string `json:"config"`
	Device  *int32            `json:"device_of,omitempty"`
}

const ownPrefix = "headwater."

// split parts the settings that are of our own from those that Kafka knows.
func split(config map[string]string) (kafka, own map[string]string) {
	kafka, own = map[string]string{}, map[string]string{}
	for name, value := range config {
		if strings.HasPrefix(name, ownPrefix) {
			own[name] = value
		} else {
			kafka[name] = value
		}
	}
	return kafka, own
}

func ownPath(name string) string { return ownTopicsPath + "/" + name }

func encodeOwn(o Own) []byte {
	j := ownJSON{Version: 1, Config: o.Settings}
	if o.ID != (topic.ID{}) {
		j.ID = &o.ID
	}
	if o.Device >= 0 {
		j.Device = &o.Device
	}
	return encode(j)
}

func decodeOwn(path string, data []byte) (Own, error) {
	var j ownJSON
	if err := decode(path, data, &j); err != nil {
		return Own{}, err
	}
	o := Own{Settings: j.Config, Device: -1}
	if j.ID != nil {
		o.ID = *j.ID
	}
	if j.Device != nil {
		o.Device = *j.Device
	}
	return o, nil
}

// ownOf reads what a topic has of our own. What cannot be read is nothing, and logged.
func (s *Session) ownOf(ctx context.Context, name string) (Own, int32, error) {
	n, found, err := s.find(ctx, ownPath(name), nil)
	if err != nil || !found {
		return Own{Device: -1}, NoVersion, err
	}
	o, err := decodeOwn(ownPath(name), n.data)
	if errors.Is(err, ErrMalformed) {
		s.log.Warn("settings of our own left unread", "topic", name, "err", err)
		return Own{Device: -1}, n.version, nil
	}
	return o, n.version, err
}

// putOwn is the operation that writes it over the version that was read.
func (s *Session) putOwn(name string, o Own, version int32) any {
	path := ownPath(name)
	if version == NoVersion {
		return &zk.CreateRequest{Path: s.at(path), Data: encodeOwn(o), Acl: s.acl(path)}
	}
	return &zk.SetDataRequest{Path: s.at(path), Data: encodeOwn(o), Version: version}
}

// TopicSettings reads what a topic was given: the settings that Kafka knows with their
// version, and what it does not.
func (s *Session) TopicSettings(ctx context.Context, name string) (config map[string]string, version int32, own Own, err error) {
	if config, version, err = s.Config(ctx, TopicEntity(name), nil); err == nil {
		own, _, err = s.ownOf(ctx, name)
	}
	return config, version, own, err
}

// SetTopicSettings writes what TopicSettings has read, and tells all brokers: config
// has both kinds. Where the settings have another version, the error wraps
// cluster.ErrVersion.
func (s *Session) SetTopicSettings(ctx context.Context, name string, id topic.ID, config map[string]string, version int32) error {
	if err := topic.ValidateName(name); err != nil {
		return err
	}
	if err := s.ensure(ctx, ownTopicsPath); err != nil {
		return err
	}
	entity := TopicEntity(name)
	kafka, wanted := split(config)
	own, ownVersion, err := s.ownOf(ctx, name)
	if err != nil {
		return err
	}
	if id != own.ID {
		own = Own{ID: id, Device: -1}
	}
	put, err := s.putConfig(ctx, entity, kafka, version)
	if err != nil {
		return err
	}
	ops := []any{put, s.configChange(entity)}
	if !maps.Equal(own.Settings, wanted) {
		own.Settings = wanted
		ops = append(ops, s.putOwn(name, own, ownVersion))
	}
	data := encodeConfig(kafka)
	_, err = s.multi(ctx, "write "+entity.path(), ops, func(ctx context.Context) ([]zk.MultiResponse, bool, error) {
		n, found, err := s.find(ctx, entity.path(), nil)
		return nil, found && bytes.Equal(n.data, data) && n.version != version, err
	})
	if isBadVersion(err) || isNodeExists(err) || isNoNode(err) {
		return fmt.Errorf("settings of %s: %w", entity, cluster.ErrVersion)
	}
	return err
}
