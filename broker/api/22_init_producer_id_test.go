package api

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/headwater/headwater/broker/partition"
	"github.com/headwater/headwater/broker/wire"
)

// Whoever asks gets an id that nobody had, at epoch 0, in every version, also who
// has one; a transactional producer is refused.
func TestInitProducerID(t *testing.T) {
	b := newBox(t)
	c := b.dial(t)
	for version := int16(0); version <= 4; version++ {
		req := kmsg.NewPtrInitProducerIDRequest()
		req.ProducerID, req.ProducerEpoch = 77, 3
		resp := call[*kmsg.InitProducerIDResponse](t, c, req, version)
		if resp.ErrorCode != 0 || resp.ProducerID != int64(version) || resp.ProducerEpoch != 0 {
			t.Errorf("version %d: %+v, want id %d at epoch 0", version, resp, version)
		}
		req.TransactionalID = kmsg.StringPtr("writer")
		resp = call[*kmsg.InitProducerIDResponse](t, c, req, version)
		if code(resp.ErrorCode) != wire.TransactionalIDAuthorization || resp.ProducerID != -1 || resp.ProducerEpoch != -1 {
			t.Errorf("version %d, transactional: %+v, want %v", version, resp, wire.TransactionalIDAuthorization)
		}
	}
}

// When the disk takes no note of a new id, clients are told to ask again, and the
// log says why, once until it is over.
func TestNoProducerID(t *testing.T) {
	b := newBox(t)
	c := b.dial(t)
	for outages := 1; outages <= 2; outages++ {
		b.ids.fail = fmt.Errorf("%w: %w", partition.ErrNoProducerID, errors.New("no space left on device"))
		for range 3 {
			resp := call[*kmsg.InitProducerIDResponse](t, c, kmsg.NewPtrInitProducerIDRequest(), 1)
			if code(resp.ErrorCode) != wire.CoordinatorLoadInProgress || resp.ProducerID != -1 {
				t.Errorf("got %+v, want %v", resp, wire.CoordinatorLoadInProgress)
			}
		}
		if n := strings.Count(b.log.String(), "no space left on device"); n != outages {
			t.Errorf("log %q says why %d times, want %d", b.log, n, outages)
		}
		b.ids.fail = nil
		call[*kmsg.InitProducerIDResponse](t, c, kmsg.NewPtrInitProducerIDRequest(), 1)
	}
}

// What the partition says of sequence numbers and epochs, producers are told with
// Kafka's codes.
func TestProduceOutOfOrder(t *testing.T) {
	for want, err := range map[wire.ErrorCode]error{
		wire.OutOfOrderSequenceNumber: partition.ErrOutOfOrderSequence,
		wire.InvalidProducerEpoch:     partition.ErrProducerEpoch,
	} {
		b := newBox(t)
		b.create(t, "press", 1, nil)
		b.partition("press", 0).failAppend = fmt.Errorf("press-0: %w", err)
		resp := call[*kmsg.ProduceResponse](t, b.dial(t), produceRequest(-1, "press", 0, batch(1, 5, 0)), 7)
		if got := resp.Topics[0].Partitions[0]; code(got.ErrorCode) != want || got.BaseOffset != -1 {
			t.Errorf("%v: got %v at %d, want %v", err, code(got.ErrorCode), got.BaseOffset, want)
		}
	}
}
