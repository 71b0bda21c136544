// Package pull lets NATS clients read partitions by offset: it answers the
// JetStream API over the broker's log.
//
// A stream is a partition, called by its topic with ~ for each dot, a dash and its
// number; a sequence is an offset + 1. The package owns no records and no
// connection: a Reader has the records, Positions keep how far consumers have read,
// and a Wire carries what is said. It knows the broker only by these interfaces.
//
// Take and Idle are the connection's reader's to call, from one goroutine, and wait
// for nothing. What reads the log or answers at length runs on a few workers, behind
// a queue that is bounded in number and bytes: a client that asks for more than they
// get done is refused. Run waits for all it started. Sizes are in bytes, timestamps
// in Unix milliseconds, offsets Kafka's; only what clients see is in sequences.
package pull

import "github.com/headwater/headwater/broker/record"

// Reader is the records. All methods may be called from any goroutine. What is
// read is below the high watermark.
type Reader interface {
	// EachPartition calls yield for the partitions that clients may know, by topic
	// and number, until it returns false.
	EachPartition(yield func(topic string, partition int32) bool)
	// Offsets returns the first offset that can be read, the one that readers stop
	// before, and what the partition takes on disk.
	Offsets(topic string, partition int32) (logStartOffset, highWatermark, sizeBytes int64, err error)
	// Retention is how long the topic's records stay: bytes of each partition and age
	// since the append, -1 for no limit; and the largest record batch it takes.
	Retention(topic string) (maxBytes, maxAgeMillis, maxMessageBytes int64, err error)
	// ReadRecords calls yield for the records from fromOffset on until it returns
	// false, or about maxBytes of the log were read: one batch at least, if there is
	// one. Batches come decompressed, control batches not at all. The bytes are valid
	// during yield. nextOffset is where to read on: behind the last record that was
	// yielded, and behind the offsets that have no record. It is fromOffset at the
	// high watermark.
	ReadRecords(topic string, partition int32, fromOffset int64, maxBytes int, yield func(offset, timestamp int64, r record.Record) bool) (nextOffset int64, err error)
	// OffsetForTime returns the first offset whose record's timestamp is at or after
	// the given one, the high watermark when there is none.
	OffsetForTime(topic string, partition int32, timestamp int64) (offset int64, err error)
	// WatchPartition sends to wake, without blocking, whenever the high watermark
	// moves or the partition goes offline, until stop is called.
	WatchPartition(topic string, partition int32, wake chan<- struct{}) (stop func(), err error)
}

// Positions are how far consumers have read, kept as Kafka's committed offsets. All
// methods may be called from any goroutine; none waits for the disk.
type Positions interface {
	// CommitPosition keeps a group's offset for a partition: all before it was read.
	// done is called once, when that is durable or has failed; it does not block, and
	// may run before CommitPosition returns.
	CommitPosition(group, topic string, partition int32, offset int64, metadata string, done func(error))
	// Positions calls yield for each offset of the group. A
	// group that nobody knows has none.
	Positions(group string, yield func(topic string, partition int32, offset int64, metadata string)) error
	// EachGroup calls yield for the groups that have offsets, until it returns false.
	EachGroup(yield func(group string) bool) error
	// ForgetPosition drops a group's offset, and the group when it has none left. done
	// is as for CommitPosition; an offset that is not there is no error.
	ForgetPosition(group, topic string, partition int32, done func(error))
}

// Wire carries what is said to clients. Both methods copy what they are given, may
// wait, but not for ever, and may be called from any goroutine; an error means that
// the message will not arrive.
type Wire interface {
	// PublishMsg sends a message. headers is a whole NATS header block or nil.
	PublishMsg(subject, reply, headers, payload []byte) error
	// Deliver sends a consumer's message to inbox, under the subject that it was
	// stored with, to be acknowledged at ackReply. Without ackReply it sends a status:
	// headers alone, under the inbox's own subject. All come in the order in which
	// they were sent.
	Deliver(inbox, ackReply, subject, headers, payload []byte) error
}

// Request is a message on a subject of the API, or an acknowledgement. Its bytes are
// only valid during Take.
type Request struct {
	Subject []byte
	Reply   []byte // empty for none
	Headers []byte // the NATS header block as it came; empty for none
	Payload []byte
}
