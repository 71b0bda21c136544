package zk

import (
	"bytes"
	"context"

	"github.com/go-zookeeper/zk"

	"github.com/headwater/headwater/broker/cluster"
)

// What others leave in ZooKeeper for the controller to see and to remove.

// reassignmentsJSON is /admin/reassign_partitions, which older tools write.
type reassignmentsJSON struct {
	Version    int32              `json:"version"`
	Partitions []reassignmentJSON `json:"partitions"`
}

type reassignmentJSON struct {
	Topic     string  `json:"topic"`
	Partition int32   `json:"partition"`
	Replicas  []int32 `json:"replicas"`
}

func encodeReassignments(wanted map[cluster.TopicPartition][]int32) []byte {
	j := reassignmentsJSON{Version: 1, Partitions: []reassignmentJSON{}}
	for tp, replicas := range wanted {
		j.Partitions = append(j.Partitions, reassignmentJSON{tp.Topic, tp.Index, orEmpty(replicas)})
	}
	return encode(j)
}

func decodeReassignments(data []byte) (map[cluster.TopicPartition][]int32, error) {
	var j reassignmentsJSON
	if err := decode(reassignmentsPath, data, &j); err != nil {
		return nil, err
	}
	wanted := map[cluster.TopicPartition][]int32{}
	for _, r := range j.Partitions {
		wanted[cluster.TopicPartition{Topic: r.Topic, Index: r.Partition}] = r.Replicas
	}
	return wanted, nil
}

// ISRNotifications lists the partitions whose leaders have written their states
// themselves, and the nodes that say so.
func (t *Term) ISRNotifications(ctx context.Context) (of []cluster.TopicPartition, nodes []string, err error) {
	w := t.watch(cluster.Change{Kind: cluster.ISRsChanged})
	nodes, err = t.s.notes(ctx, isrNotificationsPath, w, func(path string, n node) error {
		partitions, err := decodePartitions(path, n.data)
		of = append(of, partitions...)
		return err
	})
	return of, nodes, err
}

// RemoveISRNotifications removes nodes that ISRNotifications has listed.
func (t *Term) RemoveISRNotifications(ctx context.Context, nodes []string) error {
	return t.removeAll(ctx, isrNotificationsPath, nodes)
}

// LogDirEvents lists the brokers that have lost a disk, and the nodes that say so.
func (t *Term) LogDirEvents(ctx context.Context) (brokers []int32, nodes []string, err error) {
	w := t.watch(cluster.Change{Kind: cluster.LogDirsChanged})
	nodes, err = t.s.notes(ctx, logDirEventsPath, w, func(path string, n node) error {
		j := logDirEventJSON{Broker: -1}
		if err := decode(path, n.data, &j); err != nil {
			return err
		}
		if j.Broker < 0 {
			return malformed(path, "no broker")
		}
		brokers = append(brokers, j.Broker)
		return nil
	})
	return brokers, nodes, err
}

// RemoveLogDirEvents removes nodes that LogDirEvents has listed.
func (t *Term) RemoveLogDirEvents(ctx context.Context, nodes []string) error {
	return t.removeAll(ctx, logDirEventsPath, nodes)
}

// WantedElections lists the partitions whose preferred leaders an older tool asks for.
// A node that cannot be read asks for none.
func (t *Term) WantedElections(ctx context.Context) ([]cluster.TopicPartition, error) {
	n, found, err := t.s.find(ctx, electionsPath, t.watch(cluster.Change{Kind: cluster.ElectionsChanged}))
	if err != nil || !found {
		return nil, err
	}
	of, err := decodePartitions(electionsPath, n.data)
	if err != nil {
		t.s.log.Warn("note left unread", "err", err)
		return nil, nil
	}
	return of, nil
}

// RemoveWantedElections removes that node.
func (t *Term) RemoveWantedElections(ctx context.Context) error { return t.remove(ctx, electionsPath) }

// WantedReassignments lists the partitions that an older tool wants elsewhere, and
// where. A node that cannot be read wants nothing.
func (t *Term) WantedReassignments(ctx context.Context) (map[cluster.TopicPartition][]int32, error) {
	n, found, err := t.s.find(ctx, reassignmentsPath, t.watch(cluster.Change{Kind: cluster.ReassignmentsChanged}))
	if err != nil || !found {
		return nil, err
	}
	wanted, err := decodeReassignments(n.data)
	if err != nil {
		t.s.log.Warn("note left unread", "err", err)
		return nil, nil
	}
	return wanted, nil
}

// SetWantedReassignments writes what is left to do, and removes the node when nothing
// is.
func (t *Term) SetWantedReassignments(ctx context.Context, wanted map[cluster.TopicPartition][]int32) error {
	if len(wanted) == 0 {
		return t.remove(ctx, reassignmentsPath)
	}
	data := encodeReassignments(wanted)
	_, err := t.set(ctx, reassignmentsPath, data, anyVersion)
	if !isNoNode(err) {
		return err
	}
	return t.write(ctx, "create "+reassignmentsPath, func(ctx context.Context) (bool, error) {
		n, found, err := t.s.find(ctx, reassignmentsPath, nil)
		return found && bytes.Equal(n.data, data), err
	}, &zk.CreateRequest{Path: t.s.at(reassignmentsPath), Data: data, Acl: t.s.acl(reassignmentsPath)})
}
