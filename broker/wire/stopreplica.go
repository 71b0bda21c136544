package wire

import (
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Kafka 3.4 to 3.9 have, in version 4 of StopReplica, whether the controller is
// one of KRaft before the controller's epoch; kmsg has it behind. Where the body
// begins: int32 controller id, then in Kafka's order bool, int32, in kmsg's int32,
// bool.
const (
	swappedVersion int16 = 4
	atSwapped            = 4
	swappedEnd           = atSwapped + 1 + 4
)

// stopReplica is a request that is written as Kafka reads it.
type stopReplica struct{ *kmsg.StopReplicaRequest }

// AsKafka returns a request that appends itself as Kafka reads it. Of those that
// brokers send to each other it is to be called for StopReplica; it returns others
// as they are.
func AsKafka(req kmsg.Request) kmsg.Request {
	if stop, ok := req.(*kmsg.StopReplicaRequest); ok {
		return stopReplica{stop}
	}
	return req
}

// AppendTo implements kmsg.Request.
func (r stopReplica) AppendTo(dst []byte) []byte {
	start := len(dst)
	dst = r.StopReplicaRequest.AppendTo(dst)
	if r.Version == swappedVersion {
		body := dst[start:]
		isKRaft := body[swappedEnd-1]
		copy(body[atSwapped+1:swappedEnd], body[atSwapped:])
		body[atSwapped] = isKRaft
	}
	return dst
}

// asKmsg returns a request's body, in which all that its shape says is there, in
// the order of kmsg's fields.
func asKmsg(key, version int16, body []byte) []byte {
	if key != StopReplica || version != swappedVersion {
		return body
	}
	body = slices.Clone(body) // it is the caller's
	isKRaft := body[atSwapped]
	copy(body[atSwapped:], body[atSwapped+1:swappedEnd])
	body[swappedEnd-1] = isKRaft
	return body
}
