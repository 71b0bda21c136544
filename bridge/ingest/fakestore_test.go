package ingest

import (
	"errors"
	"fmt"
	"testing/synctest"
	"time"

	"github.com/headwater/headwater/broker/record"
)

// What of a Store the fakeLog is. Of each topic it has the one partition that it has
// as an Appender.

// misplaced is the error of AppendAt: where the log ends.
type misplaced int64

func (m misplaced) Error() string { return fmt.Sprintf("the log ends at %d", int64(m)) }

func endOf(err error) (int64, bool) {
	var m misplaced
	ok := errors.As(err, &m)
	return int64(m), ok
}

func (f *fakeLog) AppendAt(topic string, partition int32, b record.Batch, baseOffset int64, done func(int64, error)) {
	f.mu.Lock()
	end := f.ends[topic]
	f.mu.Unlock()
	if end != baseOffset {
		done(anyOffset, misplaced(end))
		return
	}
	f.Append(topic, partition, b, done)
}

func (f *fakeLog) Offsets(topic string, _ int32) (logStartOffset, highWatermark, sizeBytes int64, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return 0, f.highWatermark(topic), 0, f.unread
}

func (f *fakeLog) highWatermark(topic string) int64 {
	for _, a := range f.batches {
		if a.topic == topic && a.done != nil && a.base != anyOffset {
			return a.base
		}
	}
	return f.ends[topic]
}

func (f *fakeLog) ReadRecords(topic string, _ int32, from int64, _ int, yield func(offset, timestamp int64, r record.Record) bool) (int64, error) {
	f.mu.Lock()
	gate := f.gate
	f.mu.Unlock()
	if gate != nil {
		<-gate
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	end, next := f.highWatermark(topic), from
	for _, a := range f.batches {
		if a.topic != topic || a.base == anyOffset || a.base >= end {
			continue
		}
		more := true
		if err := record.Records(a.batch.Payload(), a.batch.Count(), func(r record.Record) bool {
			if offset := a.base + int64(r.OffsetDelta); offset >= from {
				more = yield(offset, a.batch.BaseTimestamp()+r.TimestampDelta, r)
				if more {
					next = offset + 1
				}
			}
			return more
		}); err != nil {
			panic(err)
		}
		if !more {
			break
		}
	}
	return next, f.unread
}

// close keeps reads from going on, until the returned function is called.
func (f *fakeLog) close() (open func()) {
	gate := make(chan struct{})
	f.set(func() { f.gate = gate })
	return func() {
		f.set(func() { f.gate = nil })
		close(gate)
	}
}

// produce is what a Kafka producer does: it appends a record with an id, "" for none,
// that is durable as soon as ours are.
func (f *fakeLog) produce(topic, id, value string) {
	var headers []record.Header
	if id != "" {
		headers = append(headers, record.Header{Key: "Nats-Msg-Id", Value: []byte(id)})
	}
	var b record.Builder
	b.Add(time.Now().UnixMilli(), nil, []byte(value), headers)
	f.Append(topic, 0, b.Batch(), func(int64, error) {})
}

// with takes a message on telemetry.d1 that has headers, given as name and value in
// turn. Empty ones are left out.
func (r *rig) with(reply, value string, headers ...string) {
	block := "NATS/1.0\r\n"
	for i := 0; i < len(headers); i += 2 {
		if headers[i+1] != "" {
			block += headers[i] + ": " + headers[i+1] + "\r\n"
		}
	}
	r.Take(&Message{Subject: []byte("telemetry.d1"), Reply: []byte(reply), Headers: []byte(block + "\r\n"), Payload: []byte(value)})
}

// id takes a message that has an id, which is its value too.
func (r *rig) id(reply, id string) { r.with(reply, id, "Nats-Msg-Id", id) }

// restart ends the Ingest, and makes another with the log as it is.
func (r *rig) restart() {
	r.t.Helper()
	if err := r.end(); err != nil {
		r.t.Fatal(err)
	}
	r.run()
}

// texts are the answers by reply subject, and are forgotten.
func (r *rig) texts() map[string]string {
	r.t.Helper()
	synctest.Wait()
	r.devices.mu.Lock()
	defer r.devices.mu.Unlock()
	texts := map[string]string{}
	for _, a := range r.devices.answers {
		if _, twice := texts[a.reply]; twice {
			r.t.Fatalf("%s was answered twice", a.reply)
		}
		texts[a.reply] = a.text
	}
	r.devices.answers = nil
	return texts
}
