package api

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/headwater/headwater/broker/commitlog"
	"github.com/headwater/headwater/broker/partition"
	"github.com/headwater/headwater/broker/record"
	"github.com/headwater/headwater/broker/wire"
)

// produceRequest is for one partition, with a timeout of 10 s.
func produceRequest(acks int16, topic string, index int32, records []byte) *kmsg.ProduceRequest {
	p := kmsg.NewProduceRequestTopicPartition()
	p.Partition, p.Records = index, records
	t := kmsg.NewProduceRequestTopic()
	t.Topic, t.Partitions = topic, []kmsg.ProduceRequestTopicPartition{p}
	req := kmsg.NewPtrProduceRequest()
	req.Acks, req.TimeoutMillis, req.Topics = acks, 10000, []kmsg.ProduceRequestTopic{t}
	return req
}

func produce(t testing.TB, c *client, req *kmsg.ProduceRequest, version int16) kmsg.ProduceResponseTopicPartition {
	t.Helper()
	return call[*kmsg.ProduceResponse](t, c, req, version).Topics[0].Partitions[0]
}

// changed returns b after change, with its checksum made right again.
func changed(b record.Batch, change func(b []byte)) []byte {
	b = slices.Clone(b)
	change(b)
	binary.BigEndian.PutUint32(b[17:], crc32.Checksum(b[21:], crc32.MakeTable(crc32.Castagnoli)))
	return b
}

func compressed(codec byte) func(b []byte) { return func(b []byte) { b[22] |= codec } }

// A batch is appended as it came, at every version, and answered with its offset.
func TestProduce(t *testing.T) {
	b := newBox(t)
	b.create(t, "press", 1, nil)
	c := b.dial(t)
	var sent []byte
	for i, version := range []int16{3, 4, 5, 6, 7, 8, 9} {
		acks := []int16{1, -1}[i%2]
		one := changed(batch(2, 10, int64(i)), compressed(2)) // not looked into, so it need not be snappy
		got := produce(t, c, produceRequest(acks, "press", 0, one), version)
		if got.ErrorCode != 0 || got.BaseOffset != int64(2*i) || got.LogAppendTime != -1 || got.ErrorMessage != nil {
			t.Errorf("version %d: %+v, want offset %d", version, got, 2*i)
		}
		if want := int64(0); version >= 5 && got.LogStartOffset != want {
			t.Errorf("version %d: log start offset %d, want %d", version, got.LogStartOffset, want)
		}
		record.Batch(one).Stamp(int64(2*i), b.partition("press", 0).leaderEpoch)
		sent = append(sent, one...)
	}
	var have []byte
	for _, stored := range b.partition("press", 0).batches {
		have = append(have, stored...)
	}
	if !bytes.Equal(have, sent) {
		t.Error("the stored bytes are not those that were sent")
	}
}

// What is wrong with a request is told partition by partition, with Kafka's code
// and, from version 8 on, a sentence; nothing of it is appended.
func TestProduceRefuses(t *testing.T) {
	good := batch(3, 10, 0)
	for name, tc := range map[string]struct {
		req     *kmsg.ProduceRequest
		version int16
		append  error
		want    wire.ErrorCode
		says    string
	}{
		"unknownTopic":     {req: produceRequest(1, "other", 0, good), want: wire.UnknownTopicOrPartition, says: "other"},
		"unknownPartition": {req: produceRequest(1, "press", 5, good), want: wire.UnknownTopicOrPartition, says: "press-5"},
		"acks":             {req: produceRequest(2, "press", 0, good), want: wire.InvalidRequiredAcks, says: "not 2"},
		"acksBelow":        {req: produceRequest(-2, "press", 0, good), want: wire.InvalidRequiredAcks, says: "not -2"},
		"null":             {req: produceRequest(1, "press", 0, nil), want: wire.InvalidRecord, says: "no records"},
		"empty":            {req: produceRequest(1, "press", 0, []byte{}), want: wire.InvalidRecord, says: "no records"},
		"truncated":        {req: produceRequest(1, "press", 0, good[:len(good)-1]), want: wire.CorruptMessage, says: "EOF"},
		"onlyAPrefix":      {req: produceRequest(1, "press", 0, good[:12]), want: wire.CorruptMessage, says: "EOF"},
		"checksum":         {req: produceRequest(1, "press", 0, append(slices.Clone(good[:len(good)-1]), 'x')), want: wire.CorruptMessage, says: "checksum"},
		"oldFormat":        {req: produceRequest(1, "press", 0, changed(good, func(b []byte) { b[16] = 1; b[0] = 1 })), want: wire.UnsupportedForMessageFormat, says: "before v2"},
		"newFormat":        {req: produceRequest(1, "press", 0, changed(good, func(b []byte) { b[16] = 3 })), want: wire.CorruptMessage, says: "magic 3"},
		"trailing":         {req: produceRequest(1, "press", 0, append(slices.Clone(good), good...)), want: wire.InvalidRecord, says: "follow"},
		"twoBillion":       {req: produceRequest(1, "press", 0, changed(good, claims(2_000_000_000))), want: wire.InvalidRecord, says: "2000000000 records"},
		"twoBillionGzip":   {req: produceRequest(1, "press", 0, changed(changed(good, claims(2_000_000_000)), compressed(1))), want: wire.InvalidRecord, says: "2000000000 records"},
		"noRecords":        {req: produceRequest(1, "press", 0, changed(good, claims(0))), want: wire.InvalidRecord, says: "0 records"},
		"control":          {req: produceRequest(1, "press", 0, changed(good, compressed(0x20))), want: wire.InvalidRecord, says: "control"},
		"transactional":    {req: produceRequest(1, "press", 0, changed(good, compressed(0x10))), want: wire.TransactionalIDAuthorization, says: "transactions"},
		"transactionalID":  {req: transactional(produceRequest(1, "press", 0, good)), want: wire.TransactionalIDAuthorization, says: "transactions"},
		"zstdTooEarly":     {req: produceRequest(1, "press", 0, changed(good, compressed(4))), version: 6, want: wire.UnsupportedCompressionType},
		"tooLarge":         {req: produceRequest(1, "press", 0, batch(1, 3000, 0)), want: wire.MessageTooLarge, says: "max.message.bytes"},
		"full":             {req: produceRequest(1, "press", 0, good), append: commitlog.ErrFull, want: wire.PolicyViolation, says: "no space"},
		"offline":          {req: produceRequest(1, "press", 0, good), append: fmt.Errorf("press-0: %w", commitlog.ErrOffline), want: wire.KafkaStorageError, says: "press-0"},
		"notLeader":        {req: produceRequest(1, "press", 0, good), append: partition.ErrNotLeader, want: wire.NotLeaderOrFollower},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBox(t)
			b.create(t, "press", 2, map[string]string{"max.message.bytes": "2000"})
			b.partition("press", 0).failAppend = tc.append
			other := kmsg.NewProduceRequestTopicPartition()
			other.Partition, other.Records = 1, slices.Clone(good)
			version := tc.version
			if version == 0 {
				version = 9
			}
			sound := tc.want != wire.InvalidRequiredAcks && tc.req.TransactionID == nil
			tc.req.Topics = append(tc.req.Topics, kmsg.ProduceRequestTopic{Topic: "press", Partitions: []kmsg.ProduceRequestTopicPartition{other}})
			resp := call[*kmsg.ProduceResponse](t, b.dial(t), tc.req, version)

			got := resp.Topics[0].Partitions[0]
			if code(got.ErrorCode) != tc.want || got.BaseOffset != -1 || got.LogStartOffset != -1 {
				t.Errorf("%v at %d, want %v at -1", code(got.ErrorCode), got.BaseOffset, tc.want)
			}
			if version >= 8 && (got.ErrorMessage == nil || !strings.Contains(*got.ErrorMessage, tc.says)) {
				t.Errorf("it says %v, want something with %q", got.ErrorMessage, tc.says)
			}
			if n := len(b.partition("press", 0).batches); n != 0 {
				t.Errorf("%d batches were appended", n)
			}
			if got := resp.Topics[1].Partitions[0]; sound != (got.ErrorCode == 0) {
				t.Errorf("its neighbour: %v", code(got.ErrorCode))
			}
		})
	}
}

func claims(count int32) func(b []byte) {
	return func(b []byte) {
		binary.BigEndian.PutUint32(b[23:], uint32(count-1))
		binary.BigEndian.PutUint32(b[57:], uint32(count))
	}
}

func transactional(req *kmsg.ProduceRequest) *kmsg.ProduceRequest {
	req.TransactionID = kmsg.StringPtr("tx")
	return req
}

// Requests that a connection sends ahead are appended before the first of them is
// answered, and share one sync; the answers come in order.
func TestProduceSharesASync(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBox(t)
		b.create(t, "press", 1, nil)
		p := b.partition("press", 0)
		p.hold = true
		c := b.dial(t)
		req := produceRequest(-1, "press", 0, batch(1, 10, 0))
		req.Version = 9
		var frames []byte
		for range 5 {
			frame, _ := c.frame(req)
			frames = append(frames, frame...)
		}
		go c.conn.Write(frames)
		synctest.Wait()
		if n := len(p.batches); n != 5 {
			t.Fatalf("%d batches are appended before the sync, want 5", n)
		}
		p.sync()
		for id := range int32(5) {
			resp, err := c.receive(req, id+1)
			if err != nil {
				t.Fatal(err)
			}
			if got := resp.(*kmsg.ProduceResponse).Topics[0].Partitions[0]; got.ErrorCode != 0 || got.BaseOffset != int64(id) {
				t.Errorf("answer %d: %+v", id, got)
			}
		}
		if p.syncs != 1 {
			t.Errorf("%d syncs, want 1", p.syncs)
		}
	})
}

// acks=0 gets no answer, and waits for no sync; the next request's answer follows.
func TestProduceWithoutAcks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBox(t)
		b.create(t, "press", 1, nil)
		b.partition("press", 0).hold = true
		c := b.dial(t)
		req := produceRequest(0, "press", 0, batch(1, 10, 0))
		req.Version = 9
		frame, _ := c.frame(req)
		c.conn.Write(frame)
		call[*kmsg.ApiVersionsResponse](t, c, kmsg.NewPtrApiVersionsRequest(), 0)
		if n := len(b.partition("press", 0).batches); n != 1 {
			t.Errorf("%d batches were appended, want 1", n)
		}
		if n := len(b.partition("press", 0).waiting); n != 0 {
			t.Errorf("%d syncs are waited for, want none", n)
		}

		// An error has no answer either: the connection is closed.
		bad := produceRequest(0, "press", 9, batch(1, 10, 0))
		bad.Version = 9
		frame, _ = c.frame(bad)
		c.conn.Write(frame)
		start := time.Now()
		if _, err := c.conn.Read(make([]byte, 1)); err != io.EOF || time.Since(start) != 0 {
			t.Errorf("after an error: %v after %v, want a connection closed at once", err, time.Since(start))
		}
	})
}

// A sync that takes longer than the client waits is told as a timeout; so late, its
// end harms nobody.
func TestProduceTimesOut(t *testing.T) {
	for timeout, want := range map[int32]time.Duration{3000: 3 * time.Second, 0: minAckWait, -1: minAckWait} {
		synctest.Test(t, func(t *testing.T) {
			b := newBox(t)
			b.create(t, "press", 1, nil)
			p := b.partition("press", 0)
			p.hold = true
			c := b.dial(t)
			req := produceRequest(-1, "press", 0, batch(1, 10, 0))
			req.TimeoutMillis = timeout
			start := time.Now()
			got := produce(t, c, req, 9)
			if code(got.ErrorCode) != wire.RequestTimedOut || time.Since(start) != want {
				t.Errorf("%v after %v, want %v after %v", code(got.ErrorCode), time.Since(start), wire.RequestTimedOut, want)
			}
			p.sync()
		})
	}
}

// A partition that goes offline while its append waits is told as such.
func TestProduceFailedSync(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBox(t)
		b.create(t, "press", 1, nil)
		p := b.partition("press", 0)
		p.hold = true
		c := b.dial(t)
		go func() {
			synctest.Wait()
			p.mu.Lock()
			waiting := p.waiting[1]
			p.mu.Unlock()
			for _, done := range waiting {
				done(errors.Join(commitlog.ErrOffline))
			}
		}()
		if got := produce(t, c, produceRequest(1, "press", 0, batch(1, 10, 0)), 9); code(got.ErrorCode) != wire.KafkaStorageError {
			t.Errorf("%v, want %v", code(got.ErrorCode), wire.KafkaStorageError)
		}
	})
}
