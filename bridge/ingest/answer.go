package ingest

import (
	"encoding/json"
	"errors"
	"strconv"
)

// reason is why a message was not kept.
type reason int8

const (
	taken reason = iota // it was kept
	noRule
	unroutable
	badHeaders
	headersTooLarge
	tooLarge
	bufferFull
	noRoom
	topicRefused
	topicLimit
	noPartition
	otherStream
	otherSequence
	otherLastID
	subjectSequence
	noSubjectSequence
	notKept
	idsUnread
	noTTL
	noCounters
	noBatches
	noSchedules
	noRollups
	neverStored
	storageFull
	storeFailed
	timedOut
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
	noRule:          {"no_rule", 404, 10003, "not stored"},
	unroutable:      {"unroutable", 400, 10003, "bad request"},
	badHeaders:      {"bad_headers", 400, 10003, "bad request: headers cannot be read"},
	headersTooLarge: {"headers_too_large", 400, 10097, "header size exceeds maximum allowed of 64k or 256 values"},
	tooLarge:        {"too_large", 400, 10054, "message size exceeds maximum allowed"},
	bufferFull:      {"buffer_full", 503, 10023, "insufficient resources: the buffer is full"},
	noRoom:          {"no_room", 503, 10023, "insufficient resources: too many topics at once"},
	topicRefused:    {"topic_unavailable", 503, 10008, "topic temporarily unavailable"},
	topicLimit:      {"too_many_topics", 503, 10027, "maximum number of topics that devices can cause reached"},
	noPartition:     {"no_partition", 503, 10008, "temporarily unavailable: the topic does not have the partition that the rule names"},
	otherStream:     {"expected", 400, 10060, "expected stream does not match"},
	otherSequence:   {"expected", 400, 10071, "wrong last sequence"},
	otherLastID:     {"expected", 400, 10070, "wrong last msg ID"},
	subjectSequence: {"expected", 400, 10003, "bad request: the last sequence of a subject is not kept; Nats-Expected-Last-Sequence compares that of the stream"},

	noSubjectSequence: {"expected", 400, 10193, "missing sequence for expected last sequence per subject"},

	notKept:     {"expected", 400, 10003, "bad request: message ids are not remembered, so that the last is not known"},
	idsUnread:   {"ids_unread", 503, 10008, "temporarily unavailable: the ids of stored messages cannot be read"},
	noTTL:       {"unsupported", 400, 10166, "per-message TTL is disabled: retention is the topic's"},
	noCounters:  {"unsupported", 400, 10168, "message counters is disabled"},
	noBatches:   {"unsupported", 400, 10174, "atomic publish is disabled"},
	noSchedules: {"unsupported", 400, 10188, "message schedules is disabled"},
	noRollups:   {"unsupported", 500, 10111, "rollup not permitted: a topic with cleanup.policy=compact keeps the last record of each key"},

	neverStored: {"never_stored", 400, 10003, "bad request"},
	storageFull: {"storage_full", 503, 10047, "insufficient storage resources available"},
	storeFailed: {"store_failed", 503, 10077, "store failed"},
	timedOut:    {"timed_out", 503, 10077, "store failed: not stored in time"},
	stopped:     {"stopping", 503, 10008, "temporarily unavailable: stopping"},
	unconfirmed: {"unconfirmed", 503, 10077, "store failed"},
}

// reasonOf is why a batch failed, and the sentence about it.
func (c Config) reasonOf(b *batch) (why reason, detail string) {
	switch next, elsewhere := c.NextOffset(b.err); {
	case elsewhere && b.byID:
		return otherLastID, "another message follows it"
	case elsewhere:
		return otherSequence, strconv.FormatInt(next, 10) // what the clients' libraries read
	}
	return c.failureOf(b.err), b.err.Error()
}

func (c Config) failureOf(err error) reason {
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
func appendPubAck(dst []byte, stream string, offset int64, partition int32, duplicate bool) []byte {
	dst = append(dst, `{"stream":"`...)
	dst = append(dst, stream...)
	dst = append(dst, `","seq":`...)
	dst = strconv.AppendInt(dst, offset+1, 10)
	dst = append(dst, `,"partition":`...)
	dst = strconv.AppendInt(dst, int64(partition), 10)
	dst = append(dst, `,"offset":`...)
	dst = strconv.AppendInt(dst, offset, 10)
	if duplicate {
		dst = append(dst, `,"duplicate":true`...)
	}
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
		answer.Error.Description += ": " + detail
	}
	answer.Stream = stream
	text, err := json.Marshal(answer)
	if err != nil {
		panic(err) // numbers and strings always marshal
	}
	return append(dst, text...)
}
