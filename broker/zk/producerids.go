package zk

import (
	"context"
	"fmt"
	"math"
	"strconv"

	"github.com/go-zookeeper/zk"

	"github.com/headwater/headwater/broker/cluster"
)

// producerIDsJSON is /latest_producer_id_block. Its numbers are text.
type producerIDsJSON struct {
	Version int32  `json:"version"`
	Broker  int32  `json:"broker"`
	Start   string `json:"block_start"`
	End     string `json:"block_end"` // inclusive
}

// producerIDBlock is how many a broker gets at once.
const producerIDBlock = 1000

func encodeProducerIDs(brokerID int32, first int64) []byte {
	return encode(producerIDsJSON{1, brokerID, strconv.FormatInt(first, 10), strconv.FormatInt(first+producerIDBlock-1, 10)})
}

// nextProducerIDs is the first id after the block in the node. A node without data is
// as the first broker makes it.
func nextProducerIDs(data []byte) (first int64, err error) {
	if len(data) == 0 {
		return 0, nil
	}
	var j producerIDsJSON
	if err := decode(producerIDsPath, data, &j); err != nil {
		return 0, err
	}
	last, err := strconv.ParseInt(j.End, 10, 64)
	if err != nil || last < 0 || last > math.MaxInt64-producerIDBlock {
		return 0, malformed(producerIDsPath, fmt.Sprintf("block_end %q", j.End))
	}
	return last + 1, nil
}

// NextProducerIDs takes the next block of producer ids for a broker. No two get the
// same. This is how brokers without AllocateProducerIds do.
func (s *Session) NextProducerIDs(ctx context.Context, brokerID int32) (first, count int64, err error) {
	return s.takeProducerIDs(ctx, brokerID, func(ctx context.Context, ops ...any) error {
		_, err := s.multi(ctx, "write "+producerIDsPath, ops, neverLanded)
		return err
	})
}

// NextProducerIDs takes the next block of producer ids for a broker.
func (t *Term) NextProducerIDs(ctx context.Context, brokerID int32) (first, count int64, err error) {
	return t.s.takeProducerIDs(ctx, brokerID, func(ctx context.Context, ops ...any) error {
		_, err := t.writeAnswered(ctx, "write "+producerIDsPath, neverLanded, ops...)
		return err
	})
}

// neverLanded has a write whose answer was lost be given up: what stands in the node
// may be of another that took the same block for the same broker.
func neverLanded(context.Context) ([]zk.MultiResponse, bool, error) { return nil, false, nil }

// takeProducerIDs writes the block after the one that is there. A lost answer costs a
// block.
func (s *Session) takeProducerIDs(ctx context.Context, brokerID int32, write func(ctx context.Context, ops ...any) error) (first, count int64, err error) {
	for range maxTries {
		n, err := s.get(ctx, producerIDsPath, nil)
		if err != nil {
			return 0, 0, err
		}
		if first, err = nextProducerIDs(n.data); err != nil {
			return 0, 0, err
		}
		err = write(ctx, &zk.SetDataRequest{Path: s.at(producerIDsPath), Data: encodeProducerIDs(brokerID, first), Version: n.version})
		if err == nil {
			return first, producerIDBlock, nil
		}
		if !isBadVersion(err) {
			return 0, 0, err
		}
	}
	return 0, 0, fmt.Errorf("%s: others take blocks all the time: %w", producerIDsPath, cluster.ErrVersion)
}
