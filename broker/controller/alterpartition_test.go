package controller

import (
	"errors"
	"testing"

	"github.com/headwater/headwater/broker/cluster"
)

func TestJudge(t *testing.T) {
	now := led(1, 5, 1, 2) // partition epoch 7
	recovering := led(1, 5, 1)
	recovering.Recovering = true
	wish := func(leaderEpoch, partitionEpoch int32, isr ...int32) ISRChange {
		w := ISRChange{LeaderEpoch: leaderEpoch, PartitionEpoch: partitionEpoch}
		for _, id := range isr {
			w.ISR = append(w.ISR, ISRMember{ID: id, Epoch: -1})
		}
		return w
	}
	stillRecovering := wish(5, 7, 1, 2)
	stillRecovering.Recovering = true
	recoversAgain := wish(5, 7, 1)
	recoversAgain.Recovering = true
	for name, tc := range map[string]struct {
		s      cluster.PartitionState
		leader int32
		w      ISRChange
		isr    []int32
		err    error
	}{
		"grows":               {now, 1, wish(5, 7, 1, 2, 3), []int32{1, 2, 3}, nil},
		"shrinks":             {now, 1, wish(5, 7, 1), []int32{1}, nil},
		"asItIs":              {now, 1, wish(5, 7, 2, 1), []int32{1, 2}, nil},
		"asItIsSaidLate":      {now, 1, wish(5, 6, 1, 2), []int32{1, 2}, nil},
		"laterLeaderEpoch":    {now, 1, wish(6, 7, 1), nil, cluster.ErrNotController},
		"laterPartitionEpoch": {now, 1, wish(5, 8, 1), nil, cluster.ErrNotController},
		"laterOfEither":       {now, 1, wish(4, 8, 1), nil, cluster.ErrNotController},
		"earlierLeader":       {now, 1, wish(4, 7, 1), nil, cluster.ErrFencedLeaderEpoch},
		"earlierState":        {now, 1, wish(5, 6, 1), nil, cluster.ErrVersion},
		"notTheLeader":        {now, 2, wish(5, 7, 1), nil, cluster.ErrInvalidRequest},
		"goneMember":          {now, 1, wish(5, 7, 1, 2, 4), nil, cluster.ErrIneligibleReplica},
		"goneOneStays":        {led(1, 5, 1, 4), 1, wish(5, 7, 1, 4, 2), []int32{1, 4, 2}, nil},
		"withoutLeader":       {now, 1, wish(5, 7, 2), nil, cluster.ErrInvalidRequest},
		"notAReplica":         {now, 1, wish(5, 7, 1, 9), nil, cluster.ErrInvalidRequest},
		"twice":               {now, 1, wish(5, 7, 1, 3, 3), nil, cluster.ErrInvalidRequest},
		"empty":               {now, 1, wish(5, 7), nil, cluster.ErrInvalidRequest},
		"recovers":            {recovering, 1, wish(5, 7, 1), []int32{1}, nil},
		"recoversWithMore":    {recovering, 1, stillRecovering, nil, cluster.ErrInvalidRequest},
		"recoversAgain":       {led(1, 5, 1, 2), 1, recoversAgain, nil, cluster.ErrInvalidRequest},
	} {
		got, err := judge(tc.s, on(1, 2, 3, 4), tc.leader, tc.w, func(m ISRMember) bool { return m.ID != 4 })
		want := tc.s
		if err == nil {
			want.ISR, want.Recovering = tc.isr, false
		}
		if !errors.Is(err, tc.err) || !equal(got, want) {
			t.Errorf("%s: %+v, %v; want %+v, %v", name, got, err, want, tc.err)
		}
	}
}
