package region

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/headwater/headwater/broker/cluster"
)

func TestIsBehind(t *testing.T) {
	follows := func(leaderEpoch int32, isr ...int32) Order {
		o := order(press, 2, leaderEpoch)
		o.ISR = isr
		return o
	}
	tell := func(leader, leaderEpoch int32, replicas, isr []int32) *cluster.Partition {
		return &cluster.Partition{Leader: leader, LeaderEpoch: leaderEpoch, Replicas: replicas, ISR: isr}
	}
	all, others := []int32{1, 2, 3}, []int32{2, 3}
	for name, tc := range map[string]struct {
		order    Order
		restored bool
		told     *cluster.Partition
		want     bool
	}{
		"home":                 {alone(7), false, tell(1, 7, []int32{1}, []int32{1}), false},
		"homeRestored":         {alone(7), true, tell(1, 7, []int32{1}, []int32{1}), false},
		"homeWithoutLeader":    {alone(7), false, tell(-1, 8, []int32{1}, []int32{1}), false},
		"leads":                {order(press, self, 7), false, tell(1, 7, all, all), false},
		"ledBeforeTheStart":    {order(press, self, 7), true, tell(1, 7, all, all), true},
		"follows":              {follows(7, 1, 2, 3), false, tell(2, 7, all, all), false},
		"followsOut":           {follows(7, 2, 3), false, tell(2, 7, all, others), true},
		"backSince":            {follows(7, 2, 3), false, tell(2, 7, all, all), false},
		"outSince":             {follows(7, 1, 2, 3), false, tell(2, 7, all, others), true},
		"outInALaterEpoch":     {follows(7, 1, 2, 3), false, tell(3, 8, all, others), true},
		"orderIsNewer":         {follows(8, 2, 3), false, tell(2, 7, all, all), true},
		"orderAlone":           {follows(7, 2, 3), false, nil, true},
		"noOrderSinceTheStart": {follows(7, 1, 2, 3), true, tell(2, 7, all, all), true},
		"nobodyLeads":          {follows(7, 2, 3), false, tell(-1, 8, all, []int32{2}), true},
		"moved":                {follows(7, 1, 2, 3), false, tell(2, 8, others, others), false},
		"movedWhileAway":       {follows(7, 1, 2, 3), true, tell(2, 8, others, others), false},
		"deletedWhileAway":     {follows(7, 1, 2, 3), true, nil, false},
	} {
		if got := isBehind(tc.order, tc.restored, tc.told, self); got != tc.want {
			t.Errorf("%s: %v, want %v", name, got, tc.want)
		}
	}
}

// What a broker has to catch up is known once it is registered and the controller has
// told it who leads, each time that it registers and after each start. It is less as its
// replicas get back into the ISRs.
func TestBehind(t *testing.T) {
	w := newWorld(t)
	joins := func(brokerEpoch int64) { w.joined.Store(&membership{brokerEpoch: brokerEpoch}) }
	check := func(when string, wantErr error, want ...string) {
		t.Helper()
		behind, err := w.Behind()
		got := []string{}
		for _, tp := range behind {
			got = append(got, tp.String())
		}
		if !errors.Is(err, wantErr) || !slices.Equal(got, want) {
			t.Errorf("%s: %q, %v; want %q, %v", when, got, err, want, wantErr)
		}
	}
	replicas := func(isr ...int32) (orders []Order) {
		for index := range int32(3) {
			o := order(press, 2, 7)
			o.Index, o.ISR = index, isr
			orders = append(orders, o)
		}
		orders[2].Leader = self
		return orders
	}
	push := func(brokerEpoch int64, orders []Order) {
		t.Helper()
		for _, o := range orders {
			w.mustKnow(t, from(5, brokerEpoch), told(o))
		}
	}
	check("alone", errNotRegistered)
	joins(70)
	check("registered", errNotTold)
	push(70, replicas(2, 3))
	for _, o := range replicas(2, 3) {
		w.must(t, from(5, 70), o)
	}
	check("told", nil, "press-0", "press-1")
	push(70, replicas(1, 2, 3)[1:])
	check("one back", nil, "press-0")
	push(70, replicas(1, 2, 3))
	check("all back", nil)

	w.joined.Store(nil)
	check("session over", errNotRegistered)
	joins(80)
	check("registered anew", errNotTold)
	push(80, replicas(1, 2, 3))
	check("told anew", nil)

	w.restart(t)
	joins(90)
	push(90, replicas(1, 2, 3))
	check("started again", nil, "press-0", "press-1", "press-2")
	for _, o := range replicas(1, 2, 3) {
		w.must(t, from(5, 90), o)
	}
	check("ordered again", nil)
}

// A probe asks every two seconds, of a broker that may have thousands of replicas.
func BenchmarkBehind(b *testing.B) {
	r := New(config(), &memStore{}, newFakeHost(), &fakeIdentity{"cluster", self}, noController{}, nil)
	for i := range int32(10_000) {
		o := order(press, 2, 7)
		o.Topic, o.Index = fmt.Sprint("press", i%100), i
		r.replicas[o.TopicPartition] = &replica{order: o}
		r.image.topic(o.Topic).Partitions[i] = cluster.Partition{Leader: 2, LeaderEpoch: 7, Replicas: o.Replicas, ISR: o.ISR}
	}
	r.joined.Store(&membership{brokerEpoch: -1})
	for b.Loop() {
		if behind, err := r.Behind(); len(behind) > 0 || err != nil {
			b.Fatal(behind, err)
		}
	}
}
