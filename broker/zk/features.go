package zk

import (
	"context"

	"github.com/go-zookeeper/zk"
)

// featuresJSON is /feature, version 1, which all of Kafka's brokers since 2.7 read. A
// cluster without KRaft finalises no features.
type featuresJSON struct {
	Version  int32    `json:"version"`
	Status   int32    `json:"status"` // 1: enabled
	Features struct{} `json:"features"`
}

// EnsureFeatures makes /feature if it is not there, as every controller of Kafka's does
// at its election. Nobody here reads it. But a broker of Kafka's that becomes the
// controller and finds none waits to be told of the one that it makes, in vain if its
// session is not its first: it arms no watch on what is missing. It gives up after
// zookeeper.connection.timeout.ms, and the cluster has no controller for as long.
func (t *Term) EnsureFeatures(ctx context.Context) error {
	exists := func(ctx context.Context) (bool, error) { return t.s.exists(ctx, featurePath, nil) }
	if there, err := exists(ctx); err != nil || there {
		return err
	}
	err := t.write(ctx, "create "+featurePath, exists, &zk.CreateRequest{
		Path: t.s.at(featurePath), Data: encode(featuresJSON{Version: 1, Status: 1}), Acl: t.s.acl(featurePath),
	})
	if isNodeExists(err) {
		return nil
	}
	return err
}
