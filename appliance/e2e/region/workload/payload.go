package workload

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/headwater/headwater/appliance/e2e/region/checker"
)

// A record's bytes follow from its value, so that a reader knows a record that nobody
// made: 8 bytes of the value, and up to maxPadding that it is the seed of.
const (
	valueBytes = 8
	maxPadding = 400
)

func payload(v checker.Value) []byte {
	rng := rand.New(rand.NewPCG(uint64(v), 1))
	data := binary.BigEndian.AppendUint64(nil, uint64(v))
	for range rng.IntN(maxPadding / 8) {
		data = binary.BigEndian.AppendUint64(data, rng.Uint64()&0x0f0f0f0f0f0f0f0f) // something to compress
	}
	return data
}

// valueOf reads the value from a record. Foreign is what no producer here has made.
func valueOf(r *kgo.Record) checker.Value {
	if len(r.Value) < valueBytes {
		return checker.Foreign
	}
	v := checker.Value(binary.BigEndian.Uint64(r.Value))
	if v <= 0 || !bytes.Equal(r.Value, payload(v)) {
		return checker.Foreign
	}
	return v
}
