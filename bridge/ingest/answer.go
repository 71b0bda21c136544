package ingest

import (
	"encoding/json"
	"errors"
	"strconv"
)

// reason is why a message was not kept.
type reason int8

const (
	taken  reason = iota // it was kept
	noRule               // it is nobody's; only who comes by AnyRule gets here
	unroutable
	badHeaders
	headersTooLarge
	tooLarge
	bufferFull
	noRoom
	topicRefused
	topicLimit
	noPartition
	neverStored
	storageFull
	storeFailed
	stopped
	unconfirmed
	reasons
)

// refusals are the reasons by their names in metrics, and as JetStream's error
// answers tell them: HTTP-like code and JetStream's own number, which clients'
// libraries know.
var refusals = [reasons]struct {
	label       string
	code        int
	errCode     int
	description string
}{
	noRule:          {"no_rule", 404, 10003, "no rule takes the subject"},
	unroutable:      {"unroutable", 400, 10003, "bad request"},
	badHeaders:      {"bad_headers", 400, 10003, "bad request: headers cannot be read"},
	headersTooLarge: {"headers_too_large", 400, 10097, "header size exceeds maximum allowed of 64k or 256 values"},
	tooLarge:        {"too_large", 400, 10054, "message size exceeds maximum allowed"},
	bufferFull:      {"buffer_full", 503, 10023, "insufficient resources: the buffer is full"},
	noRoom:          {"no_room", 503, 10023, "insufficient resources: too many topics at once"},
	topicRefused:    {"topic_unavailable", 503, 10008, "topic temporarily unavailable"},
	topicLimit:      {"too_many_topics", 503, 10027, "maximum number of topics that devices can cause reached"},
	noPartition:     {"no_partition", 503, 10008, "temporarily unavailable: the topic does not have the partition that the rule names"},
	neverStored:     {"never_stored", 400, 10003, "bad request"},
	storageFull:     {"storage_full", 503, 10047, "insufficient storage resources available"},
	storeFailed:     {"store_failed", 503, 10077, "store failed"},
	stopped:         {"stopping", 503, 10008, "temporarily unavailable: stopping"},
	unconfirmed:     {"unconfirmed", 503, 10077, "store failed"},
}

// reasonOf is why a batch failed.
func (c Config) reasonOf(err error) reason {
	switch {
	case errors.Is(err, ErrUnconfirmed):
		return unconfirmed
	case c.Permanent(err):
		return neverStored
	case c.Full(err):
		return storageFull
	}
	return storeFailed
}

// appendPubAck appends JetStream's answer to a message that is stored, with
// Kafka's words for its place beside JetStream's. stream needs no escapes.
func appendPubAck(dst []byte, stream string, offset int64, partition int32) []byte {
	dst = append(dst, `{"stream":"`...)
	dst = append(dst, stream...)
	dst = append(dst, `","seq":`...)
	dst = strconv.AppendInt(dst, offset+1, 10)
	dst = append(dst, `,"partition":`...)
	dst = strconv.AppendInt(dst, int64(partition), 10)
	dst = append(dst, `,"offset":`...)
	dst = strconv.AppendInt(dst, offset, 10)
	return append(dst, '}')
}

type errorAnswer struct {
	Error struct {
		Code        int    `json:"code"`
		ErrCode     int    `json:"err_code"`
		Description string `json:"description"`
	} `json:"error"`
	Stream string `json:"stream"`
	Seq    uint64 `json:"seq"`
}

// appendError appends JetStream's answer to a message that is not stored.
func appendError(dst []byte, stream string, why reason, detail string) []byte {
	var answer errorAnswer
	known := refusals[why]
	answer.Error.Code, answer.Error.ErrCode, answer.Error.Description = known.code, known.errCode, known.description
	if detail != "" {
		detail = detail[:min(len(detail), maxDetailLen)]
		answer.Error.Description += ": " + detail
	}
	answer.Stream = stream
	text, err := json.Marshal(answer)
	if err != nil {
		panic(err) // numbers and strings always marshal
	}
	return append(dst, text...)
}
