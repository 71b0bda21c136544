package zk

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"

	"github.com/headwater/headwater/broker/cluster"
)

func partitionsPath(topic string) string { return topicPath(topic) + "/partitions" }

func partitionPath(tp cluster.TopicPartition) string {
	return partitionsPath(tp.Topic) + "/" + strconv.Itoa(int(tp.Index))
}

func statePath(tp cluster.TopicPartition) string { return partitionPath(tp) + "/state" }

// stateJSON is /brokers/topics/<topic>/partitions/<index>/state. Its node's version is
// the partition epoch.
type stateJSON struct {
	Version         int32   `json:"version"`
	Leader          int32   `json:"leader"`
	LeaderEpoch     int32   `json:"leader_epoch"`
	ControllerEpoch int32   `json:"controller_epoch"`
	ISR             []int32 `json:"isr"`
	Recovering      int8    `json:"leader_recovery_state,omitempty"` // 1, or not there
}

func encodeState(st cluster.PartitionState) []byte {
	j := stateJSON{Version: 1, Leader: st.Leader, LeaderEpoch: st.LeaderEpoch, ControllerEpoch: st.ControllerEpoch, ISR: orEmpty(st.ISR)}
	if st.Recovering {
		j.Recovering = 1
	}
	return encode(j)
}

func decodeState(path string, n node) (cluster.PartitionState, error) {
	j := stateJSON{Leader: -1, LeaderEpoch: -1}
	if err := decode(path, n.data, &j); err != nil {
		return cluster.PartitionState{}, err
	}
	if j.Leader < -1 || j.LeaderEpoch < 0 {
		return cluster.PartitionState{}, malformed(path, fmt.Sprintf("leader %d at epoch %d", j.Leader, j.LeaderEpoch))
	}
	return cluster.PartitionState{
		Leader: j.Leader, LeaderEpoch: j.LeaderEpoch, ControllerEpoch: j.ControllerEpoch,
		ISR: j.ISR, Recovering: j.Recovering == 1, PartitionEpoch: n.version,
	}, nil
}

// States reads who leads the partitions. Those that nobody has decided on yet are left
// out, and so are those that cannot be read, which are logged.
func (s *Session) States(ctx context.Context, of []cluster.TopicPartition) (map[cluster.TopicPartition]cluster.PartitionState, error) {
	var mu sync.Mutex
	states := make(map[cluster.TopicPartition]cluster.PartitionState, len(of))
	err := each(ctx, len(of), func(ctx context.Context, i int) error {
		n, err := s.get(ctx, statePath(of[i]), nil)
		if err != nil {
			if isNoNode(err) {
				return nil
			}
			return err
		}
		st, err := decodeState(statePath(of[i]), n)
		if err != nil {
			s.log.Error("partition left out", "err", err)
			return nil
		}
		mu.Lock()
		defer mu.Unlock()
		states[of[i]] = st
		return nil
	})
	if err != nil {
		return nil, err
	}
	return states, nil
}

// WriteISR is how a leader changes its ISR where the controller is older than
// AlterPartition: it writes the state itself, over the partition epoch that it knows,
// and returns the new one. The controller learns of it by NotifyISR.
func (s *Session) WriteISR(ctx context.Context, tp cluster.TopicPartition, st cluster.PartitionState) (partitionEpoch int32, err error) {
	partitionEpoch, err = s.set(ctx, statePath(tp), encodeState(st), st.PartitionEpoch)
	return partitionEpoch, stateError(tp, err)
}

// stateError says what a refused write of a state means.
func stateError(tp cluster.TopicPartition, err error) error {
	var op *opError
	switch {
	case err == nil:
		return nil
	case isBadVersion(err), isNodeExists(err):
		return fmt.Errorf("%s: %w", tp, cluster.ErrVersion)
	case isNoNode(err):
		return fmt.Errorf("%s: %w", tp, cluster.ErrUnknownPartition)
	case errors.As(err, &op):
		return fmt.Errorf("%s: %w", tp, err)
	}
	return err
}
