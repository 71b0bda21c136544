package replication

import (
	"testing"
	"time"

	"github.com/headwater/headwater/broker/cluster"
)

// A partition that is new does not wait until the leader has something for the others:
// all that one order brings come with one fetch, over a new connection.
func TestNewcomersDoNotWait(t *testing.T) {
	inRegion(t, func(c *Config) { c.MaxWait = 30 * time.Second }, func(r *region) {
		r.host(1, press, newMemLog(4, 1), newMemLog(4))
		r.follow(1, press)
		after(time.Second)
		before := r.leaders[1].dialled
		r.leaders[1].fetched()
		for index := range int32(20) {
			tp := cluster.TopicPartition{Topic: "pump", Index: index}
			r.host(1, tp, newMemLog(4, 1), newMemLog(4))
			r.follow(1, tp)
		}
		after(20 * time.Millisecond)
		for tp := range r.replicas {
			r.same(1, tp)
		}
		if n := r.leaders[1].dialled - before; n != 1 || r.logged("level=WARN") != 0 {
			t.Errorf("%d connections more, log %s", n, &r.log)
		}
		r.stop()
		after(30 * time.Second)
	})
}

// A fetch that brings records is not given up for anyone.
func TestNewcomersWaitForRecords(t *testing.T) {
	inRegion(t, func(c *Config) { c.PartitionMaxBytes = 100 }, func(r *region) {
		r.host(1, press, newMemLog(4, make([]int32, 200)...), newMemLog(4))
		r.leaders[1].slow = 100 * time.Millisecond
		r.follow(1, press)
		after(time.Second)
		for index := range int32(20) {
			tp := cluster.TopicPartition{Topic: "pump", Index: index}
			r.host(1, tp, newMemLog(4, 1), newMemLog(4))
			r.follow(1, tp)
			after(15 * time.Millisecond)
		}
		after(time.Second)
		if n := r.leaders[1].dialled; n != 1 {
			t.Errorf("%d connections", n)
		}
	})
}

// Nor does one that the leader refused for the moment, since it does not know yet that
// it leads.
func TestRefusedNewcomers(t *testing.T) {
	inRegion(t, func(c *Config) { c.MaxWait = 30 * time.Second }, func(r *region) {
		r.host(1, press, newMemLog(4, 1), newMemLog(4))
		r.host(1, pump, newMemLog(3, 1), newMemLog(4))
		r.follow(1, press)
		r.follow(1, pump)
		after(100 * time.Millisecond)
		r.leaders[1].change(func() { r.leaders[1].logs[pump].with(func() { r.leaders[1].logs[pump].leaderEpoch = 4 }) })
		after(300 * time.Millisecond)
		r.same(1, pump)
		r.stop()
		after(30 * time.Second)
	})
}
