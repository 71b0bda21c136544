package controller

import (
	"errors"
	"slices"
	"testing"

	"github.com/headwater/headwater/broker/cluster"
)

func TestMoveTo(t *testing.T) {
	under := cluster.Assignment{Replicas: []int32{4, 5, 1, 2}, Adding: []int32{4, 5}, Removing: []int32{1, 2}}
	for name, tc := range map[string]struct {
		a    cluster.Assignment
		to   []int32
		want cluster.Assignment
	}{
		"elsewhere":   {on(1, 2), []int32{4, 5}, under},
		"oneMore":     {on(1, 2), []int32{1, 2, 3}, cluster.Assignment{Replicas: []int32{1, 2, 3}, Adding: []int32{3}}},
		"oneLess":     {on(1, 2, 3), []int32{3, 1}, cluster.Assignment{Replicas: []int32{3, 1, 2}, Removing: []int32{2}}},
		"otherOrder":  {on(1, 2), []int32{2, 1}, on(2, 1)},
		"turnsBack":   {under, []int32{1, 2}, cluster.Assignment{Replicas: []int32{1, 2, 4, 5}, Adding: []int32{4, 5}, Removing: []int32{4, 5}}},
		"turnsAside":  {under, []int32{5, 6}, cluster.Assignment{Replicas: []int32{5, 6, 4, 1, 2}, Adding: []int32{5, 6, 4}, Removing: []int32{4, 1, 2}}},
		"goesOn":      {under, []int32{4, 5}, under},
		"keepsOneOld": {under, []int32{4, 1}, cluster.Assignment{Replicas: []int32{4, 1, 5, 2}, Adding: []int32{4, 5}, Removing: []int32{5, 2}}},
	} {
		if got := moveTo(tc.a, tc.to); !same(got, tc.want) {
			t.Errorf("%s: %+v, want %+v", name, got, tc.want)
		}
	}
}

func TestStep(t *testing.T) {
	aside := cluster.Assignment{Replicas: []int32{5, 6, 4, 1, 2}, Adding: []int32{5, 6, 4}, Removing: []int32{4, 1, 2}}
	for name, tc := range map[string]struct {
		a       cluster.Assignment
		isr     []int32
		next    cluster.Assignment
		leaving []int32
		ok      bool
	}{
		"onlyMore":        {moveTo(on(1), []int32{1, 2}), []int32{1, 2}, on(1, 2), nil, true},
		"notYet":          {moveTo(on(1, 2), []int32{3, 4}), []int32{1, 2, 3}, moveTo(on(1, 2), []int32{3, 4}), nil, false},
		"there":           {moveTo(on(1, 2), []int32{3, 4}), []int32{1, 3, 4}, on(3, 4), []int32{1, 2}, true},
		"unwantedAtOnce":  {aside, []int32{1, 2}, moveTo(on(1, 2), []int32{5, 6}), []int32{4}, true},
		"allAtTheEnd":     {aside, []int32{1, 4, 5, 6}, on(5, 6), []int32{4, 1, 2}, true},
		"calledOff":       {moveTo(moveTo(on(1, 2), []int32{3}), []int32{1, 2}), []int32{1, 2}, on(1, 2), []int32{3}, true},
		"calledOffTooFew": {moveTo(moveTo(on(1, 2), []int32{3}), []int32{1, 2}), []int32{1, 3}, on(1, 2), []int32{3}, true},
	} {
		next, leaving, ok := step(tc.a, led(1, 5, tc.isr...))
		if !same(next, tc.next) || !slices.Equal(leaving, tc.leaving) || ok != tc.ok {
			t.Errorf("%s: %+v without %v, %v; want %+v without %v, %v", name, next, leaving, ok, tc.next, tc.leaving, tc.ok)
		}
	}
}

func TestConfine(t *testing.T) {
	for name, tc := range map[string]struct {
		s      cluster.PartitionState
		online []int32
		want   cluster.PartitionState
		ok     bool
	}{
		"leaderStays":   {led(4, 5, 1, 4, 5), []int32{1, 4, 5}, led(4, 6, 4, 5), true},
		"leaderLeaves":  {led(1, 5, 1, 4, 5), []int32{1, 4, 5}, led(4, 6, 4, 5), true},
		"firstIsGone":   {led(1, 5, 1, 4, 5), []int32{1, 5}, led(5, 6, 4, 5), true},
		"nobodyInISR":   {led(1, 5, 1), []int32{1, 4, 5}, led(1, 5, 1), false},
		"nobodyIsAlive": {led(1, 5, 1, 4, 5), []int32{1}, led(1, 5, 1, 4, 5), false},
		"nothingToDo":   {led(4, 5, 4, 5), []int32{4, 5}, led(4, 6, 4, 5), true},
	} {
		got, ok := confine([]int32{4, 5}, tc.s, rollOf(tc.online))
		if ok != tc.ok || !equal(got, tc.want) {
			t.Errorf("%s: %+v, %v; want %+v, %v", name, got, ok, tc.want, tc.ok)
		}
	}
}

func TestCheckMove(t *testing.T) {
	live := rollOf([]int32{1, 2, 3}).alive
	for name, tc := range map[string]struct {
		to []int32
		ok bool
	}{
		"fine": {[]int32{3, 1}, true}, "none": {[]int32{}, false}, "twice": {[]int32{1, 1}, false},
		"gone": {[]int32{1, 9}, false}, "negative": {[]int32{-1}, false},
	} {
		if err := checkMove(tc.to, live); (err == nil) != tc.ok || err != nil && !errors.Is(err, cluster.ErrInvalidAssignment) {
			t.Errorf("%s: %v, want it fine: %v", name, err, tc.ok)
		}
	}
}

func TestImbalanced(t *testing.T) {
	var all []leadership
	for range 19 {
		all = append(all, leadership{1, 1})
	}
	all = append(all, leadership{1, 2}, leadership{2, 1}, leadership{2, 2}) // 5 % of 1's, half of 2's
	if got := imbalanced(all, 10); len(got) != 1 || got[0] != 20 {
		t.Errorf("above 10 %%: %v, want that of broker 2 alone, [20]", got)
	}
	if got := imbalanced(all, 4); len(got) != 2 {
		t.Errorf("above 4 %%: %v, want both", got)
	}
	if got := imbalanced(all, 50); len(got) != 0 {
		t.Errorf("above 50 %%: %v, want none: half is not more", got)
	}
}
