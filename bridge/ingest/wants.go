package ingest

import (
	"errors"
	"strconv"
	"strings"

	"github.com/headwater/headwater/bridge/dedup"
	"github.com/headwater/headwater/broker/record"
)

// wants is what a message's headers ask before it is stored, in JetStream's words.
// The bytes are the message's.
type wants struct {
	id     []byte // Nats-Msg-Id: not to be stored again
	stream []byte // the stream that it expects; empty for any
	lastID []byte // the id of the message that it follows; empty for any
	offset int64  // the offset that it must get; anyOffset for any
}

const anyOffset = -1

// any reports whether there is something to look at before the message is stored.
func (w *wants) any() bool {
	return len(w.id) > 0 || len(w.stream) > 0 || len(w.lastID) > 0 || w.offset != anyOffset
}

// cost is what is charged for what a message asks.
func (w *wants) cost() int64 {
	if len(w.id) == 0 {
		return 0
	}
	return idOverhead
}

const headersOfJetStream = "Nats-"

// unsupported are headers that ask for what a partition does not do, and why a message
// with one is not stored: it would not be what its publisher thinks.
var unsupported = map[string]reason{
	"Nats-Expected-Last-Subject-Sequence": subjectSequence,
	"Nats-TTL":                            noTTL,
	"Nats-Incr":                           noCounters,
	"Nats-Batch-Id":                       noBatches,
	"Nats-Schedule":                       noSchedules,
	"Nats-Rollup":                         noRollups,
}

var errNoNumber = errors.New("Nats-Expected-Last-Sequence is no number")

// read takes over what headers ask. Of headers of one name the first counts, and an
// empty one asks nothing: both as in JetStream.
func (w *wants) read(headers []record.Header) (reason, error) {
	*w = wants{offset: anyOffset}
	var sequence, subject []byte
	for _, h := range headers {
		if !strings.HasPrefix(h.Key, headersOfJetStream) || len(h.Value) == 0 {
			continue
		}
		switch h.Key {
		case dedup.Header:
			first(&w.id, h.Value)
		case "Nats-Expected-Stream":
			first(&w.stream, h.Value)
		case "Nats-Expected-Last-Msg-Id":
			first(&w.lastID, h.Value)
		case "Nats-Expected-Last-Sequence":
			first(&sequence, h.Value)
		case "Nats-Expected-Last-Subject-Sequence-Subject":
			subject = h.Value
		default:
			if why := unsupported[h.Key]; why != taken {
				return why, nil
			}
		}
	}
	if len(subject) > 0 { // the sequence itself has been refused above
		return noSubjectSequence, nil
	}
	if len(sequence) > 0 {
		last, err := strconv.ParseInt(string(sequence), 10, 64)
		if err != nil || last < 0 {
			return badHeaders, errNoNumber
		}
		w.offset = last // a sequence is an offset and one, and so is the next offset
	}
	return taken, nil
}

func first(at *[]byte, value []byte) {
	if *at == nil {
		*at = value
	}
}
