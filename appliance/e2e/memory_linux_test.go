package e2e

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/headwater/headwater/broker/record"
)

const (
	ceiling        = 64 << 20 // memory.limit
	bigPartitions  = 8
	bigConnections = 48
	bigInFlight    = 8 // requests of each connection, sent without waiting for an answer
	bigBatchBytes  = 900 << 10
	slowFetchers   = 40
)

// Under its ceiling the process takes what many clients throw at it: producers
// whose requests would fill the memory several times, readers that ask for much
// and take nothing, devices. It never has more in memory than memory.limit, makes
// those wait for whom there is no room, refuses nobody, and keeps what it acked.
func TestMemoryCeiling(t *testing.T) {
	p := prepare(t, t.TempDir(), fmt.Sprintf("HEADWATER_MEMORY_LIMIT=%d", ceiling))
	restart(t, p)
	createTopic(t, p.Kafka, "big", bigPartitions)
	first := dial(t, p.Kafka)
	for partition := range int32(bigPartitions) { // so that there is much to read
		for i := range 4 {
			if _, err := first.produce("big", partition, bigBatch(fmt.Sprintf("before-%d-%d", partition, i))); err != nil {
				t.Fatal(err)
			}
		}
	}
	slow := sendFetches(t, p.Kafka)

	ctx, devices := within(t, patience), newPublisher(p.NATS, 16)
	var producers sync.WaitGroup
	acked := make([]map[place]string, bigConnections)
	for c := range bigConnections {
		producers.Go(func() { acked[c] = produceBig(t, p.Kafka, c) })
	}
	for d := range 4 {
		producers.Go(func() {
			n := 0
			err := devices.publish(ctx, func() (message, bool) {
				n++
				return message{d*1000 + n, "telemetry.press", string(bytes.Repeat([]byte{'v'}, 8<<10)), nil, true}, n <= 200
			})
			if err != nil {
				t.Errorf("device %d: %v", d, err)
			}
		})
	}
	producers.Wait()
	for _, c := range slow {
		c.Close()
	}
	if t.Failed() {
		return
	}
	if _, peak, err := p.Memory(); err != nil || peak > ceiling {
		t.Errorf("%.1f MB were in memory at the most, %v; the ceiling is %.1f MB", float64(peak)/1e6, err, float64(ceiling)/1e6)
	} else {
		t.Logf("%.1f MB were in memory at the most, under a ceiling of %.1f MB", float64(peak)/1e6, float64(ceiling)/1e6)
	}
	devices.noRefusals(t)
	if got, _ := devices.answers(); len(got) != 4*200 {
		t.Errorf("%d of the devices' messages are acked, want %d", len(got), 4*200)
	}
	found := readBig(t, p.Kafka)
	for c := range acked {
		if len(acked[c]) != bigInFlight {
			t.Errorf("connection %d has %d acks, want %d", c, len(acked[c]), bigInFlight)
		}
		for at, mark := range acked[c] {
			if found[at] != mark {
				t.Errorf("at %v stands %q, and %q was acked there", at, found[at], mark)
			}
		}
	}
	if len(readAll(t, p.Kafka, "telemetry")) != 4*200 {
		t.Error("messages of the devices are missing, or came twice")
	}
}

const markPrefix = "mark:"

// bigBatch has one record whose value begins with mark.
func bigBatch(mark string) record.Batch {
	value := bytes.Repeat([]byte{'.'}, bigBatchBytes)
	copy(value, markPrefix+mark)
	var b record.Builder
	b.Add(time.Now().UnixMilli(), nil, value, nil)
	return b.Batch()
}

// markOf is what bigBatch put first.
func markOf(b record.Batch) string {
	value := b.Payload()
	value = value[bytes.Index(value, []byte(markPrefix))+len(markPrefix):]
	return string(value[:bytes.IndexByte(value, '.')])
}

// sendFetches opens connections that ask for as much as they may, and read none of
// it.
func sendFetches(t *testing.T, address string) (all []wire) {
	for i := range slowFetchers {
		w := dial(t, address)
		if err := w.Conn.(*net.TCPConn).SetReadBuffer(4 << 10); err != nil {
			t.Fatal(err)
		}
		for range 4 {
			if _, err := w.Write(request(fetchRequest("big", int32(i%bigPartitions), 0, 50<<20))); err != nil {
				t.Fatal(err)
			}
		}
		all = append(all, w)
	}
	return all
}

// produceBig sends all its requests, and then takes the answers.
func produceBig(t *testing.T, address string, c int) map[place]string {
	w := dial(t, address)
	partition := int32(c % bigPartitions)
	sent := make(chan error, 1)
	go func() {
		for i := range bigInFlight {
			if _, err := w.Write(request(produceRequest("big", partition, -1, bigBatch(fmt.Sprintf("c-%d-%d", c, i))))); err != nil {
				sent <- err
				return
			}
		}
		sent <- nil
	}()
	acked := map[place]string{}
	for i := range bigInFlight {
		resp := kmsg.NewPtrProduceResponse()
		resp.Version = 7
		size := make([]byte, 4)
		_, err := io.ReadFull(w, size)
		if err != nil {
			t.Errorf("connection %d, answer %d: %v", c, i, err)
			break
		}
		frame := make([]byte, binary.BigEndian.Uint32(size))
		if _, err = io.ReadFull(w, frame); err == nil {
			err = resp.ReadFrom(frame[4:])
		}
		if err != nil {
			t.Errorf("connection %d, answer %d: %v", c, i, err)
			break
		}
		part := resp.Topics[0].Partitions[0]
		if err := kerr.ErrorForCode(part.ErrorCode); err != nil {
			t.Errorf("connection %d: batch %d is refused: %v", c, i, err)
			continue
		}
		acked[place{partition, part.BaseOffset}] = fmt.Sprintf("c-%d-%d", c, i)
	}
	if err := <-sent; err != nil {
		t.Errorf("connection %d: %v", c, err)
	}
	return acked
}

// readBig reads what the batches of all partitions begin with.
func readBig(t *testing.T, address string) map[place]string {
	t.Helper()
	found := map[place]string{}
	for partition := range int32(bigPartitions) {
		w := dial(t, address)
		for next := int64(0); ; {
			batches := w.batches("big", partition, next)
			if len(batches) == 0 {
				break
			}
			for _, b := range batches {
				if b.BaseOffset() != next {
					t.Fatalf("big-%d: offset %d follows %d", partition, b.BaseOffset(), next-1)
				}
				found[place{partition, next}] = markOf(b)
				next = b.NextOffset()
			}
		}
	}
	return found
}
