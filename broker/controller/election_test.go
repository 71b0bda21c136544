package controller

import (
	"errors"
	"slices"
	"testing"

	"github.com/headwater/headwater/broker/cluster"
)

// rollOf has brokers that are online, and some that are on their way out.
func rollOf(online []int32, leaving ...int32) roll {
	return roll{
		online: func(id int32) bool { return slices.Contains(online, id) },
		alive:  func(id int32) bool { return slices.Contains(online, id) || slices.Contains(leaving, id) },
	}
}

func on(replicas ...int32) cluster.Assignment { return cluster.Assignment{Replicas: replicas} }

func led(leader, leaderEpoch int32, isr ...int32) cluster.PartitionState {
	return cluster.PartitionState{Leader: leader, LeaderEpoch: leaderEpoch, ISR: isr, PartitionEpoch: 7, ControllerEpoch: 1}
}

func equal(a, b cluster.PartitionState) bool {
	return a.Leader == b.Leader && a.LeaderEpoch == b.LeaderEpoch && slices.Equal(a.ISR, b.ISR) &&
		a.Recovering == b.Recovering && a.PartitionEpoch == b.PartitionEpoch
}

func TestFirstState(t *testing.T) {
	for name, tc := range map[string]struct {
		online []int32
		leader int32
		isr    []int32
		ok     bool
	}{
		"all":       {[]int32{1, 2, 3}, 2, []int32{2, 1, 3}, true},
		"firstGone": {[]int32{1, 3}, 1, []int32{1, 3}, true},
		"nobody":    {[]int32{9}, 0, nil, false},
	} {
		got, ok := firstState(on(2, 1, 3), rollOf(tc.online))
		if ok != tc.ok || ok && !equal(got, cluster.PartitionState{Leader: tc.leader, ISR: tc.isr}) {
			t.Errorf("%s: %+v, %v; want leader %d, ISR %v, %v", name, got, ok, tc.leader, tc.isr, tc.ok)
		}
	}
}

func TestAfterChange(t *testing.T) {
	recovering := led(3, 6, 3)
	recovering.Recovering = true
	for name, tc := range map[string]struct {
		s       cluster.PartitionState
		r       roll
		unclean bool
		want    cluster.PartitionState
		changed bool
	}{
		"nothing":                {led(1, 5, 1, 2, 3), rollOf([]int32{1, 2, 3}), false, led(1, 5, 1, 2, 3), false},
		"leaderGone":             {led(1, 5, 1, 2, 3), rollOf([]int32{2, 3}), false, led(2, 6, 2, 3), true},
		"byTheAssignment":        {led(1, 5, 3, 2, 1), rollOf([]int32{2, 3}), false, led(2, 6, 3, 2), true},
		"onlyFromTheISR":         {led(1, 5, 1, 3), rollOf([]int32{2, 3}), false, led(3, 6, 3), true},
		"followerGone":           {led(1, 5, 1, 2, 3), rollOf([]int32{1, 3}), false, led(1, 6, 1, 3), true},
		"outsiderGone":           {led(1, 5, 1, 2), rollOf([]int32{1, 2}), false, led(1, 5, 1, 2), false},
		"lastOfTheISRStays":      {led(1, 5, 1), rollOf([]int32{2, 3}), false, led(-1, 6, 1), true},
		"waitsForIt":             {led(-1, 6, 1), rollOf([]int32{2, 3}), false, led(-1, 6, 1), false},
		"andHasItBack":           {led(-1, 6, 1), rollOf([]int32{1, 2, 3}), false, led(1, 7, 1), true},
		"allGoneAtOnce":          {led(1, 5, 1, 2), rollOf([]int32{3}), false, led(-1, 6, 1, 2), true},
		"oneOfThemBack":          {led(-1, 6, 1, 2), rollOf([]int32{2, 3}), false, led(2, 7, 2), true},
		"unclean":                {led(1, 5, 1, 2), rollOf([]int32{3}), true, recovering, true},
		"uncleanNotNeeded":       {led(1, 5, 1, 2), rollOf([]int32{2, 3}), true, led(2, 6, 2), true},
		"uncleanWithNobody":      {led(1, 5, 1), rollOf(nil), true, led(-1, 6, 1), true},
		"leavingGivesWay":        {led(1, 5, 1, 2), rollOf([]int32{2}, 1), false, led(2, 6, 2), true},
		"leavingStaysIfItMust":   {led(1, 5, 1), rollOf([]int32{2}, 1), false, led(1, 5, 1), false},
		"leavingIsNotUnclean":    {led(1, 5, 1), rollOf([]int32{2}, 1), true, led(1, 5, 1), false},
		"leavingIsNotElected":    {led(3, 5, 1, 2, 3), rollOf([]int32{2}, 1), false, led(2, 6, 2), true},
		"leavingFollowerIsInISR": {led(2, 5, 1, 2, 3), rollOf([]int32{2}, 1), false, led(2, 6, 1, 2), true},
	} {
		got, changed := afterChange(on(1, 2, 3), tc.s, tc.r, tc.unclean)
		if changed != tc.changed || !equal(got, tc.want) {
			t.Errorf("%s: %+v, %v\nwant %+v, %v", name, got, changed, tc.want, tc.changed)
		}
	}
}

func TestPreferred(t *testing.T) {
	for name, tc := range map[string]struct {
		s    cluster.PartitionState
		r    roll
		want int32
		err  error
	}{
		"elected":  {led(2, 5, 2, 1), rollOf([]int32{1, 2}), 1, nil},
		"leads":    {led(1, 5, 1, 2), rollOf([]int32{1, 2}), 1, cluster.ErrElectionNotNeeded},
		"notInISR": {led(2, 5, 2), rollOf([]int32{1, 2}), 2, cluster.ErrPreferredNotAvailable},
		"gone":     {led(2, 5, 2, 1), rollOf([]int32{2}), 2, cluster.ErrPreferredNotAvailable},
		"leaving":  {led(2, 5, 2, 1), rollOf([]int32{2}, 1), 2, cluster.ErrPreferredNotAvailable},
	} {
		got, err := preferred(on(1, 2), tc.s, tc.r)
		want := tc.s
		if want.Leader = tc.want; err == nil {
			want.LeaderEpoch++
		}
		if !errors.Is(err, tc.err) || !equal(got, want) {
			t.Errorf("%s: %+v, %v; want %+v, %v", name, got, err, want, tc.err)
		}
	}
}

func TestHandOver(t *testing.T) {
	for name, tc := range map[string]struct {
		s       cluster.PartitionState
		r       roll
		want    cluster.PartitionState
		changed bool
	}{
		"leader":        {led(1, 5, 1, 2, 3), rollOf([]int32{2, 3}, 1), led(2, 6, 2, 3), true},
		"nobodyElse":    {led(1, 5, 1), rollOf([]int32{2, 3}, 1), led(1, 5, 1), false},
		"othersLeave":   {led(1, 5, 1, 2, 3), rollOf([]int32{3}, 1, 2), led(3, 6, 3), true},
		"follower":      {led(2, 5, 1, 2, 3), rollOf([]int32{2, 3}, 1), led(2, 6, 2, 3), true},
		"outsider":      {led(2, 5, 2, 3), rollOf([]int32{2, 3}, 1), led(2, 5, 2, 3), false},
		"withoutLeader": {led(-1, 5, 2), rollOf([]int32{3}, 1), led(-1, 5, 2), false},
	} {
		got, changed := handOver(on(1, 2, 3), tc.s, 1, tc.r)
		if changed != tc.changed || !equal(got, tc.want) {
			t.Errorf("%s: %+v, %v; want %+v, %v", name, got, changed, tc.want, tc.changed)
		}
	}
}

// Whoever is alive, no rule but the unclean one elects outside the ISR or puts
// anybody into it, none empties it, and each new state has the next leader epoch.
func TestRulesStayInTheISR(t *testing.T) {
	subset := func(bits int) (ids []int32) {
		for id := range int32(3) {
			if bits>>id&1 == 1 {
				ids = append(ids, id+1)
			}
		}
		return ids
	}
	for isrBits := 1; isrBits < 8; isrBits++ {
		for onlineBits := range 8 {
			for leavingBits := range 8 {
				isr, r := subset(isrBits), rollOf(subset(onlineBits), subset(leavingBits&^onlineBits)...)
				for _, leader := range append(isr, noLeader) {
					s := led(leader, 5, isr...)
					check := func(rule string, next cluster.PartitionState, changed bool) {
						switch {
						case len(without(next.ISR, isr)) > 0, len(next.ISR) == 0,
							next.Leader != noLeader && !slices.Contains(next.ISR, next.Leader),
							changed != (next.LeaderEpoch == 6):
							t.Errorf("%s of %+v, online %v: %+v, %v", rule, s, subset(onlineBits), next, changed)
						}
					}
					next, changed := afterChange(on(3, 1, 2), s, r, false)
					check("afterChange", next, changed)
					if again, changed := afterChange(on(3, 1, 2), next, r, false); changed {
						t.Errorf("afterChange of %+v, its own result: %+v", next, again)
					}
					next, changed = handOver(on(3, 1, 2), s, 2, r)
					check("handOver", next, changed)
					next, err := preferred(on(3, 1, 2), s, r)
					check("preferred", next, err == nil)
					next, ok := confine([]int32{1, 2}, s, r)
					check("confine", next, ok)
				}
			}
		}
	}
}
