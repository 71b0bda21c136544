package api

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/headwater/headwater/broker/commitlog"
	"github.com/headwater/headwater/broker/record"
	"github.com/headwater/headwater/broker/wire"
)

// ask is a partition of a fetch request.
type ask struct {
	topic  string
	index  int32
	offset int64
}

// fetchRequest asks for everything that is there, at once.
func fetchRequest(asks ...ask) *kmsg.FetchRequest {
	req := kmsg.NewPtrFetchRequest()
	req.MaxBytes, req.MinBytes = 50<<20, 1
	for _, a := range asks {
		p := kmsg.NewFetchRequestTopicPartition()
		p.Partition, p.FetchOffset, p.PartitionMaxBytes = a.index, a.offset, 1<<20
		t := kmsg.NewFetchRequestTopic()
		t.Topic, t.Partitions = a.topic, []kmsg.FetchRequestTopicPartition{p}
		req.Topics = append(req.Topics, t)
	}
	return req
}

// byID fills in what versions from 13 on name topics by.
func (b *box) byID(req *kmsg.FetchRequest) *kmsg.FetchRequest {
	for i := range req.Topics {
		if t, ok := b.solo.Snapshot().Topic(req.Topics[i].Topic); ok {
			req.Topics[i].TopicID = t.ID
		}
	}
	return req
}

func fetch(t testing.TB, c *client, req *kmsg.FetchRequest, version int16) []kmsg.FetchResponseTopicPartition {
	t.Helper()
	var parts []kmsg.FetchResponseTopicPartition
	for _, topic := range call[*kmsg.FetchResponse](t, c, req, version).Topics {
		parts = append(parts, topic.Partitions...)
	}
	return parts
}

// offsets lists the base offsets of the batches in records.
func offsets(t testing.TB, records []byte) (out []int64) {
	t.Helper()
	for len(records) > 0 {
		b, rest, err := record.Next(records)
		if err != nil {
			t.Fatal(err)
		}
		out, records = append(out, b.BaseOffset()), rest
	}
	return out
}

// At every version: whole batches from the one that holds the offset, up to the
// high watermark; empty, not null, where there is nothing.
func TestFetch(t *testing.T) {
	b := newBox(t)
	b.create(t, "press", 2, nil)
	b.fill(t, "press", 0, batch(3, 10, 0), batch(3, 10, 0), batch(3, 10, 0))
	p := b.partition("press", 0)
	p.hold = true
	p.Append(batch(1, 10, 0)) // not durable
	c := b.dial(t)
	for version := int16(4); version <= 17; version++ {
		got := fetch(t, c, b.byID(fetchRequest(ask{"press", 0, 4}, ask{"press", 1, 0}, ask{"press", 0, 9})), version)
		if have := offsets(t, got[0].RecordBatches); !slices.Equal(have, []int64{3, 6}) {
			t.Errorf("version %d: batches at %v, want 3 and 6", version, have)
		}
		if got[0].ErrorCode != 0 || got[0].HighWatermark != 9 || got[0].LastStableOffset != 9 {
			t.Errorf("version %d: %+v", version, got[0])
		}
		for _, none := range got[1:] {
			if none.ErrorCode != 0 || none.RecordBatches == nil || len(none.RecordBatches) != 0 {
				t.Errorf("version %d, nothing new: %+v", version, none)
			}
		}
	}
}

// A partition's error is that partition's, and answers the request at once.
func TestFetchErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBox(t)
		b.create(t, "press", 2, nil)
		b.fill(t, "press", 0, batch(3, 10, 0))
		b.partition("press", 0).leaderEpoch = 5
		b.partition("press", 1).failRead = fmt.Errorf("press-1: %w", commitlog.ErrOffline)
		c := b.dial(t)
		epoch := func(epoch int32) *kmsg.FetchRequest {
			req := fetchRequest(ask{"press", 0, 3})
			req.Topics[0].Partitions[0].CurrentLeaderEpoch = epoch
			return req
		}
		for name, tc := range map[string]struct {
			req     *kmsg.FetchRequest
			version int16
			want    wire.ErrorCode
		}{
			"beyondTheEnd":     {fetchRequest(ask{"press", 0, 4}), 12, wire.OffsetOutOfRange},
			"beforeTheStart":   {fetchRequest(ask{"press", 0, -1}), 12, wire.OffsetOutOfRange},
			"unknownTopic":     {fetchRequest(ask{"other", 0, 0}), 12, wire.UnknownTopicOrPartition},
			"unknownPartition": {fetchRequest(ask{"press", 2, 0}), 12, wire.UnknownTopicOrPartition},
			"unknownID":        {fetchRequest(ask{"other", 0, 0}), 13, wire.UnknownTopicID},
			"offline":          {fetchRequest(ask{"press", 1, 0}), 12, wire.KafkaStorageError},
			"fenced":           {epoch(4), 12, wire.FencedLeaderEpoch},
			"epochUnknown":     {epoch(6), 12, wire.UnknownLeaderEpoch},
		} {
			start := time.Now()
			tc.req.MaxWaitMillis = 5000
			got := fetch(t, c, tc.req, tc.version)[0]
			if code(got.ErrorCode) != tc.want || got.RecordBatches == nil || time.Since(start) != 0 {
				t.Errorf("%s: %v after %v, want %v at once", name, code(got.ErrorCode), time.Since(start), tc.want)
			}
		}
		start := time.Now()
		req := epoch(5)
		req.MaxWaitMillis = 5000
		if got := fetch(t, c, req, 12)[0]; got.ErrorCode != 0 || time.Since(start) != 5*second {
			t.Errorf("at its epoch: %v after %v, want none after 5s", code(got.ErrorCode), time.Since(start))
		}
	})
}

// The limits hold for all batches but the first, which comes whole whatever its
// size (KIP-74); the partitions are read in the order of the request.
func TestFetchLimits(t *testing.T) {
	b := newBox(t)
	b.create(t, "press", 3, nil)
	one := batch(1, 1000, 0)
	for index := int32(0); index < 2; index++ {
		b.fill(t, "press", index, one, one, one)
	}
	size := int32(len(one))
	c := b.dial(t)
	for name, tc := range map[string]struct {
		maxBytes, partitionMaxBytes int32
		asks                        []ask
		want                        string // base offsets by partition
	}{
		"all":                {50 << 20, 1 << 20, []ask{{"press", 0, 0}, {"press", 1, 0}}, "[[0 1 2] [0 1 2]]"},
		"noLimitAllowsOne":   {0, 0, []ask{{"press", 0, 0}, {"press", 1, 0}}, "[[0] []]"},
		"negative":           {-1, -1, []ask{{"press", 0, 0}, {"press", 1, 0}}, "[[0] []]"},
		"firstNonEmpty":      {10, 10, []ask{{"press", 2, 0}, {"press", 1, 1}, {"press", 0, 0}}, "[[] [1] []]"},
		"partitionLimit":     {50 << 20, 2*size + 5, []ask{{"press", 1, 0}, {"press", 0, 1}}, "[[0 1] [1 2]]"},
		"smallAfterTheFirst": {50 << 20, size - 1, []ask{{"press", 1, 0}, {"press", 0, 0}}, "[[0] []]"},
		"requestLimit":       {4 * size, 1 << 20, []ask{{"press", 0, 0}, {"press", 1, 0}}, "[[0 1 2] [0]]"},
	} {
		req := fetchRequest(tc.asks...)
		req.MaxBytes = tc.maxBytes
		for i := range req.Topics {
			req.Topics[i].Partitions[0].PartitionMaxBytes = tc.partitionMaxBytes
		}
		var got [][]int64
		for _, p := range fetch(t, c, req, 12) {
			got = append(got, offsets(t, p.RecordBatches))
		}
		if fmt.Sprint(got) != tc.want {
			t.Errorf("%s: %v, want %s", name, got, tc.want)
		}
	}
}

// A fetch waits for as many bytes as it asks for, is woken by every append, reads
// each batch once, and answers with what there is when its time is up.
func TestFetchWaits(t *testing.T) {
	one := batch(1, 1000, 0)
	for name, tc := range map[string]struct {
		minBytes int
		limit    int // of the partition, 0 for 1 MiB
		appends  int // one a second
		want     int // batches
		after    time.Duration
	}{
		"nothing":        {1, 0, 0, 0, 10 * second},
		"first":          {1, 0, 3, 1, 1 * second},
		"enough":         {3 * len(one), 0, 5, 3, 3 * second},
		"notEnough":      {3 * len(one), 0, 2, 2, 10 * second},
		"noMinimum":      {0, 0, 3, 0, 0},
		"moreThanMax":    {1 << 30, 0, 5, 4, 4 * second},              // of 4 batches, below
		"partitionLimit": {1 << 30, 2*len(one) + 5, 5, 2, 3 * second}, // the third has no room
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBox(t)
				b.create(t, "press", 2, nil)
				p := b.partition("press", 1)
				for i := range tc.appends {
					time.AfterFunc(time.Duration(i+1)*second, func() { p.Append(slices.Clone(one)) })
				}
				req := fetchRequest(ask{"press", 0, 0}, ask{"press", 1, 0})
				req.MinBytes, req.MaxWaitMillis, req.MaxBytes = int32(tc.minBytes), 10000, int32(4*len(one))
				if tc.limit > 0 {
					req.Topics[1].Partitions[0].PartitionMaxBytes = int32(tc.limit)
				}
				c := b.dial(t)
				start := time.Now()
				got := fetch(t, c, req, 12)[1]
				if n := len(offsets(t, got.RecordBatches)); n != tc.want || time.Since(start) != tc.after {
					t.Errorf("%d batches after %v, want %d after %v", n, time.Since(start), tc.want, tc.after)
				}
				if want := bytes.Repeat([]byte{'v'}, 1000); tc.want > 0 && !bytes.Contains(got.RecordBatches, want) {
					t.Error("the records are not those that were appended")
				}
				if len(p.watchers) != 0 {
					t.Errorf("%d watchers are left", len(p.watchers))
				}
				time.Sleep(time.Duration(tc.appends) * second) // the appends are over before the bubble is
			})
		})
	}
}

// What is appended between two looks is not slept through, and not answered
// without.
func TestFetchRace(t *testing.T) {
	for name, set := range map[string]func(p *memPartition, hook func()){
		"afterLook":    func(p *memPartition, hook func()) { p.afterLook = hook },
		"afterOffsets": func(p *memPartition, hook func()) { p.afterOffsets = hook },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBox(t)
				b.create(t, "press", 1, nil)
				p := b.partition("press", 0)
				set(p, func() { p.Append(batch(1, 10, 0)) })
				req := fetchRequest(ask{"press", 0, 0})
				req.MaxWaitMillis = 10000
				c := b.dial(t)
				start := time.Now()
				if got := fetch(t, c, req, 12)[0]; len(got.RecordBatches) == 0 || time.Since(start) != 0 {
					t.Errorf("%d bytes after %v, want some at once", len(got.RecordBatches), time.Since(start))
				}
			})
		})
	}
}

// A long poll is not held for longer than a minute, and ends when its client goes.
func TestFetchWaitIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBox(t)
		b.create(t, "press", 1, nil)
		c := b.dial(t)
		req := fetchRequest(ask{"press", 0, 0})
		req.MaxWaitMillis = 1<<31 - 1
		start := time.Now()
		fetch(t, c, req, 12)
		if got := time.Since(start); got != maxWait {
			t.Errorf("answered after %v, want %v", got, maxWait)
		}
		frame, _ := c.frame(req)
		c.conn.Write(frame)
		synctest.Wait()
		c.conn.Close()
		synctest.Wait()
		if p := b.partition("press", 0); len(p.watchers) != 0 {
			t.Error("a client that went away is still waited for")
		}
	})
}

// A partition that goes offline under a long poll ends it with its error.
func TestFetchSeesAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBox(t)
		b.create(t, "press", 1, nil)
		p := b.partition("press", 0)
		time.AfterFunc(second, func() {
			p.mu.Lock()
			p.failRead = errors.Join(commitlog.ErrOffline)
			p.mu.Unlock()
			p.sync()
		})
		req := fetchRequest(ask{"press", 0, 0})
		req.MaxWaitMillis = 10000
		start := time.Now()
		got := fetch(t, b.dial(t), req, 12)[0]
		if code(got.ErrorCode) != wire.KafkaStorageError || time.Since(start) != second {
			t.Errorf("%v after %v, want %v after 1s", code(got.ErrorCode), time.Since(start), wire.KafkaStorageError)
		}
	})
}

// Answers that their clients do not take hold the budget; other fetches wait for
// it, as long as their clients do, and go on when it comes back.
func TestFetchBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBox(t, func(c *Config) { c.FetchBytes = 2 << 20 })
		b.create(t, "press", 1, map[string]string{"max.message.bytes": "1200000"})
		b.fill(t, "press", 0, batch(1, 1<<20, 0))
		p := &pipes{conns: make(chan net.Conn), closed: make(chan struct{})}
		b.serve(t, p)
		stuck, other := p.dial(t), p.dial(t)
		frame, id := stuck.frame(withVersion(fetchRequest(ask{"press", 0, 0}), 12))
		stuck.conn.Write(frame)
		synctest.Wait() // its answer fills the pipe and half of the budget

		req := fetchRequest(ask{"press", 0, 0})
		req.MaxWaitMillis = 2000
		start := time.Now()
		if got := fetch(t, other, req, 12)[0]; len(got.RecordBatches) != 0 || time.Since(start) != 2*second {
			t.Errorf("%d bytes after %v, want none after 2s", len(got.RecordBatches), time.Since(start))
		}
		time.AfterFunc(second, func() { stuck.receive(withVersion(fetchRequest(), 12), id) })
		start = time.Now()
		if got := fetch(t, other, req, 12)[0]; len(got.RecordBatches) == 0 || time.Since(start) != second {
			t.Errorf("%d bytes after %v, want all after 1s", len(got.RecordBatches), time.Since(start))
		}
	})
}

// A fetch that waits for more holds what it has read of the budget, and not what
// it might have read.
func TestFetchBudgetWhileWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBox(t, func(c *Config) { c.FetchBytes = 2 << 20 })
		b.create(t, "press", 1, map[string]string{"max.message.bytes": "1200000"})
		b.fill(t, "press", 0, batch(1, 1000, 0))
		p := &pipes{conns: make(chan net.Conn), closed: make(chan struct{})}
		b.serve(t, p)
		waiting, other := p.dial(t), p.dial(t)
		req := fetchRequest(ask{"press", 0, 0})
		req.MinBytes, req.MaxWaitMillis = 5000, 10000
		frame, id := waiting.frame(withVersion(req, 12))
		waiting.conn.Write(frame)
		synctest.Wait()
		if got := fetch(t, other, fetchRequest(ask{"press", 0, 0}), 12)[0]; len(got.RecordBatches) == 0 {
			t.Error("the other fetch got nothing")
		}
		if _, err := waiting.receive(req, id); err != nil {
			t.Error(err)
		}
	})
}

func withVersion(req *kmsg.FetchRequest, version int16) *kmsg.FetchRequest {
	req.Version = version
	return req
}
