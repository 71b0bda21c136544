package zk

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/go-zookeeper/zk"

	"github.com/headwater/headwater/broker/cluster"
)

// Entity is what settings are for, by its path below /config: "topics/telemetry". It
// stands so in the notifications of changes.
type Entity string

// DefaultName stands for all brokers, users, clients or addresses that have no
// settings of their own.
const DefaultName = "<default>"

// BrokerDefaults are the settings that all brokers share.
const BrokerDefaults Entity = "brokers/" + DefaultName

// TopicEntity is a topic's settings.
func TopicEntity(name string) Entity { return Entity("topics/" + name) }

// BrokerEntity is one broker's settings.
func BrokerEntity(id int32) Entity { return Entity("brokers/" + strconv.Itoa(int(id))) }

// QuotaEntity is the quota of a user, of a client id, or of a client id of a user;
// what is empty does not count, and DefaultName is every other.
func QuotaEntity(user, clientID string) Entity {
	switch {
	case user == "":
		return Entity("clients/" + sanitized(clientID))
	case clientID == "":
		return Entity("users/" + sanitized(user))
	default:
		return Entity("users/" + sanitized(user) + "/clients/" + sanitized(clientID))
	}
}

// sanitized is a name as Kafka writes it in a path.
func sanitized(name string) string {
	if name == DefaultName {
		return name
	}
	return strings.NewReplacer("+", "%20", "~", "%7E").Replace(url.QueryEscape(name))
}

// Topic returns the topic whose settings these are.
func (e Entity) Topic() (name string, ok bool) { return strings.CutPrefix(string(e), "topics/") }

// Broker returns the broker whose settings these are; -1 stands for all.
func (e Entity) Broker() (id int32, ok bool) {
	name, ok := strings.CutPrefix(string(e), "brokers/")
	if !ok || name == DefaultName {
		return -1, ok
	}
	n, err := strconv.ParseInt(name, 10, 32)
	return int32(n), err == nil && n >= 0
}

// Quota returns the user and the client id whose quota these are.
func (e Entity) Quota() (user, clientID string, ok bool) {
	parts := strings.Split(string(e), "/")
	var err [2]error
	switch {
	case len(parts) == 2 && parts[0] == "users":
		user, err[0] = url.PathUnescape(parts[1])
	case len(parts) == 2 && parts[0] == "clients":
		clientID, err[0] = url.PathUnescape(parts[1])
	case len(parts) == 4 && parts[0] == "users" && parts[2] == "clients":
		user, err[0] = url.PathUnescape(parts[1])
		clientID, err[1] = url.PathUnescape(parts[3])
	default:
		return "", "", false
	}
	return user, clientID, err[0] == nil && err[1] == nil
}

func (e Entity) path() string { return configPath + "/" + string(e) }

// valid reports whether the entity is one node or another below /config.
func (e Entity) valid() error {
	parts := strings.Split(string(e), "/")
	if len(parts) != 2 && len(parts) != 4 {
		return fmt.Errorf("settings of %q: %w", e, ErrInvalidName)
	}
	for _, part := range parts {
		if err := checkName(part); err != nil {
			return err
		}
	}
	return nil
}

type configJSON struct {
	Version int32             `json:"version"`
	Config  map[string]string `json:"config"`
}

func encodeConfig(config map[string]string) []byte {
	if config == nil {
		config = map[string]string{}
	}
	return encode(configJSON{1, config})
}

func decodeConfig(path string, data []byte) (map[string]string, error) {
	var j struct {
		Config map[string]any `json:"config"` // text, but for what was written by hand
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	if len(data) > 0 {
		if err := d.Decode(&j); err != nil {
			return nil, malformed(path, err)
		}
	}
	config := make(map[string]string, len(j.Config))
	for key, value := range j.Config {
		config[key] = fmt.Sprint(value)
	}
	return config, nil
}

// Versions of settings that are no node's.
const (
	// AnyVersion writes settings whatever they are.
	AnyVersion int32 = -2
	// NoVersion is that of settings which are not there.
	NoVersion int32 = -1
)

// Config reads the settings of an entity, and their version. Where there are none they
// are empty.
func (s *Session) Config(ctx context.Context, e Entity, w *Watch) (config map[string]string, version int32, err error) {
	if err := e.valid(); err != nil {
		return nil, 0, err
	}
	n, found, err := s.find(ctx, e.path(), w)
	if err != nil || !found {
		return map[string]string{}, NoVersion, err
	}
	config, err = decodeConfig(e.path(), n.data)
	return config, n.version, err
}

// SetConfig writes the settings of an entity that have this version, and tells all
// brokers. Where they have another, the error wraps cluster.ErrVersion.
func (s *Session) SetConfig(ctx context.Context, e Entity, config map[string]string, version int32) error {
	if err := e.valid(); err != nil {
		return err
	}
	if err := s.ensure(ctx, path.Dir(e.path())); err != nil {
		return err
	}
	data := encodeConfig(config)
	for range maxTries {
		put, err := s.putConfig(ctx, e, config, version)
		if err != nil {
			return err
		}
		_, err = s.multi(ctx, "write "+e.path(), []any{put, s.configChange(e)}, func(ctx context.Context) ([]zk.MultiResponse, bool, error) {
			n, found, err := s.find(ctx, e.path(), nil)
			return nil, found && bytes.Equal(n.data, data), err
		})
		switch {
		case refused(err) != 0:
			return err
		case version != AnyVersion:
			return fmt.Errorf("settings of %s: %w", e, cluster.ErrVersion)
		}
	}
	return fmt.Errorf("settings of %s keep changing: %w", e, cluster.ErrVersion)
}

// putConfig is the operation that writes settings which have this version.
func (s *Session) putConfig(ctx context.Context, e Entity, config map[string]string, version int32) (any, error) {
	path, data := e.path(), encodeConfig(config)
	if version == AnyVersion {
		n, found, err := s.find(ctx, path, nil)
		if err != nil {
			return nil, err
		}
		if version = NoVersion; found {
			version = n.version
		}
	}
	if version == NoVersion {
		return &zk.CreateRequest{Path: s.at(path), Data: data, Acl: s.acl(path)}, nil
	}
	return &zk.SetDataRequest{Path: s.at(path), Data: data, Version: version}, nil
}

// Entities lists the entities of a type ("topics", "brokers", "clients", "users") that
// have settings; for users, also those of their client ids.
func (s *Session) Entities(ctx context.Context, kind string) (all []Entity, err error) {
	if err := checkName(kind); err != nil {
		return nil, err
	}
	names, err := s.children(ctx, configPath+"/"+kind, nil)
	if isNoNode(err) {
		return nil, nil
	}
	for _, name := range names {
		e := Entity(kind + "/" + name)
		all = append(all, e)
		if kind != "users" || err != nil {
			continue
		}
		clients, clientsErr := s.children(ctx, e.path()+"/clients", nil)
		if clientsErr != nil && !isNoNode(clientsErr) {
			return nil, clientsErr
		}
		for _, client := range clients {
			all = append(all, e+Entity("/clients/"+client))
		}
	}
	slices.Sort(all)
	return all, err
}
