package zk

import (
	"context"
	"slices"
	"time"

	"github.com/go-zookeeper/zk"
)

// configChangeJSON is /config/changes/config_change_N, version 2; version 1 has the
// type and the name of the entity.
type configChangeJSON struct {
	Version int32  `json:"version"`
	Path    Entity `json:"entity_path,omitempty"`
	Type    string `json:"entity_type,omitempty"`
	Name    string `json:"entity_name,omitempty"`
}

const configChangePrefix = "config_change_"

// configChange is the operation that tells all brokers of new settings.
func (s *Session) configChange(e Entity) any {
	path := configChangesPath + "/" + configChangePrefix
	return &zk.CreateRequest{
		Path: s.at(path), Data: encode(configChangeJSON{Version: 2, Path: e}),
		Acl: s.acl(path), Flags: zk.FlagSequence,
	}
}

func decodeConfigChange(path string, data []byte) (Entity, error) {
	var j configChangeJSON
	if err := decode(path, data, &j); err != nil {
		return "", err
	}
	e := j.Path
	if j.Version == 1 {
		e = Entity(j.Type + "/" + j.Name)
	}
	if err := e.valid(); err != nil {
		return "", malformed(path, err)
	}
	return e, nil
}

// ConfigChanges lists the entities whose settings have changed after the change of the
// given name, each once, and the name of the last change. "" stands before all.
func (s *Session) ConfigChanges(ctx context.Context, after string, w *Watch) (changed []Entity, last string, err error) {
	names, err := s.children(ctx, configChangesPath, w)
	if err != nil {
		return nil, after, err
	}
	slices.Sort(names)
	names = slices.DeleteFunc(names, func(name string) bool { return name <= after })
	nodes := make([]*node, len(names))
	err = each(ctx, len(names), func(ctx context.Context, i int) error {
		n, found, err := s.find(ctx, configChangesPath+"/"+names[i], nil)
		if found {
			nodes[i] = &n
		}
		return err
	})
	if err != nil {
		return nil, after, err
	}
	last = after
	for i, n := range nodes {
		last = names[i]
		if n == nil {
			continue // purged since
		}
		e, err := decodeConfigChange(configChangesPath+"/"+names[i], n.data)
		if err != nil {
			s.log.Warn("note left unread", "err", err)
			continue
		}
		if !slices.Contains(changed, e) {
			changed = append(changed, e)
		}
	}
	return changed, last, nil
}

// PurgeConfigChanges removes the changes that are older than the newest by so much.
// ZooKeeper's clock alone counts: a box may not have one.
func (s *Session) PurgeConfigChanges(ctx context.Context, older time.Duration) error {
	names, err := s.children(ctx, configChangesPath, nil)
	if err != nil || len(names) == 0 {
		return err
	}
	made := make([]int64, len(names)) // Unix milliseconds; 0: gone
	err = each(ctx, len(names), func(ctx context.Context, i int) error {
		stat, err := read(ctx, s, "look for "+names[i], func(c *zk.Conn) (*zk.Stat, error) {
			_, stat, err := c.Exists(s.at(configChangesPath + "/" + names[i]))
			return stat, err
		})
		if err == nil && stat != nil {
			made[i] = stat.Ctime
		}
		return err
	})
	if err != nil {
		return err
	}
	newest := slices.Max(made)
	return each(ctx, len(names), func(ctx context.Context, i int) error {
		if newest-made[i] <= older.Milliseconds() {
			return nil
		}
		return s.remove(ctx, configChangesPath+"/"+names[i], anyVersion)
	})
}
