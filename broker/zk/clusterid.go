package zk

import (
	"context"
	"encoding/json"
)

// clusterIDJSON is /cluster/id. The version is text in it.
type clusterIDJSON struct {
	Version string `json:"version"`
	ID      string `json:"id"`
}

// ClusterID returns the cluster's id. The first broker gives it: what it proposes.
func (s *Session) ClusterID(ctx context.Context, proposed string) (string, error) {
	if err := s.ensure(ctx, "/cluster"); err != nil {
		return "", err
	}
	err := s.create(ctx, clusterIDPath, encode(clusterIDJSON{"1", proposed}))
	if err == nil {
		return proposed, nil
	}
	if !isNodeExists(err) {
		return "", err
	}
	n, err := s.get(ctx, clusterIDPath, nil)
	if err != nil {
		return "", err
	}
	return decodeClusterID(n.data)
}

func decodeClusterID(data []byte) (string, error) {
	var id struct {
		Version json.RawMessage `json:"version"` // whatever it is
		ID      string          `json:"id"`
	}
	if err := decode(clusterIDPath, data, &id); err != nil {
		return "", err
	}
	if id.ID == "" {
		return "", malformed(clusterIDPath, "no id")
	}
	return id.ID, nil
}
