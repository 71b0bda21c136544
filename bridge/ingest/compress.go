package ingest

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/headwater/headwater/broker/codec"
	"github.com/headwater/headwater/broker/record"
)

// leastCompressed is the size in bytes from which records are compressed: on fewer,
// a codec's own framing takes what it saves.
const leastCompressed = 256

// compressor compresses batches, and counts what that saves. It is the sender's.
type compressor struct {
	input, output [record.Zstd + 1]prometheus.Counter // by codec; nil for one that no rule names
}

// newCompressor makes a compressor for the codecs of rules.
func newCompressor(rules []ruleSettings, reg prometheus.Registerer) *compressor {
	input := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "headwater_bridge_compression_input_bytes_total", Help: "Bytes of records that were to be compressed.",
	}, []string{"codec"})
	output := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "headwater_bridge_compression_output_bytes_total", Help: "Bytes that became of records that were to be compressed; what does not get smaller stays as it is.",
	}, []string{"codec"})
	c := &compressor{}
	for _, r := range rules {
		if r.codec != record.None {
			c.input[r.codec] = input.WithLabelValues(r.codec.String())
			c.output[r.codec] = output.WithLabelValues(r.codec.String())
		}
	}
	if reg != nil {
		reg.MustRegister(input, output)
	}
	return c
}

// compressed returns b compressed by the codec called by, or b itself if that is
// no smaller: small batches and random payloads are not.
func (c *compressor) compressed(b record.Batch, by record.Codec) record.Batch {
	if by == record.None {
		return b
	}
	payload := b.Payload()
	c.input[by].Add(float64(len(payload)))
	if len(payload) >= leastCompressed {
		// An error would be the codec's own; the records are good as they are.
		if smaller, err := codec.Compress(by, payload); err == nil && len(smaller) < len(payload) {
			b = b.With(by, smaller, b.Count(), b.MaxTimestamp())
		}
	}
	c.output[by].Add(float64(len(b.Payload())))
	return b
}
