package wire

import "encoding/binary"

// FetchResponse is the answer to a fetch request of version 4 to 17. It is
// encoded by hand, so that records are written to the connection from where they
// were read and not copied together first.
type FetchResponse struct {
	Version        int16
	ThrottleMillis int32
	Code           ErrorCode // from version 7
	SessionID      int32     // from version 7
	Topics         []FetchedTopic
}

// FetchedTopic is the part of a fetch answer for one topic.
type FetchedTopic struct {
	Topic      string   // before version 13
	ID         [16]byte // from version 13
	Partitions []FetchedPartition
}

// FetchedPartition is what was read from one partition. Records are whole
// batches, one behind the other; when there are none the answer carries empty
// records, never null, which librdkafka 2.0.2 refuses.
type FetchedPartition struct {
	Index          int32
	Code           ErrorCode
	HighWatermark  int64 // exclusive; without transactions it is the last stable offset too
	LogStartOffset int64
	Records        [][]byte

	Redirected       bool // from version 11: the consumer is to read from PreferredReplica
	PreferredReplica int32
	Diverging        *DivergingEpoch // from version 12: the follower has what this log has not
}

// DivergingEpoch says where a leader epoch ends in the leader's log: the latest one
// up to the epoch that the follower has last.
type DivergingEpoch struct {
	Epoch     int32
	EndOffset int64 // exclusive
}

// copied is the length up to which records are copied into the frame: below it a
// slice of its own costs more than the copy.
const copied = 4 << 10

// Frames encodes r. The slices, written one behind the other, are the whole
// frame; those that hold records are not copied.
func (r *FetchResponse) Frames(correlationID int32) [][]byte {
	e := fetchEncoder{version: r.Version, flexible: flexible(Fetch, r.Version)}
	e.buf = appendResponseHeader(e.buf, correlationID, Fetch, e.flexible)
	e.int32(r.ThrottleMillis)
	if r.Version >= 7 {
		e.int16(int16(r.Code))
		e.int32(r.SessionID)
	}
	e.count(len(r.Topics))
	for i := range r.Topics {
		e.topic(&r.Topics[i])
	}
	e.end()
	return e.frames()
}

type fetchEncoder struct {
	version  int16
	flexible bool
	buf      []byte // all but the records
	cuts     []cut  // where records go between
	size     int    // of all records
}

type cut struct {
	at      int // in buf
	records []byte
}

func (e *fetchEncoder) topic(t *FetchedTopic) {
	if e.version >= 13 {
		e.buf = append(e.buf, t.ID[:]...)
	} else {
		e.text(t.Topic)
	}
	e.count(len(t.Partitions))
	for i := range t.Partitions {
		e.partition(&t.Partitions[i])
	}
	e.end()
}

func (e *fetchEncoder) partition(p *FetchedPartition) {
	e.int32(p.Index)
	e.int16(int16(p.Code))
	e.int64(p.HighWatermark)
	e.int64(p.HighWatermark) // last stable offset
	if e.version >= 5 {
		e.int64(p.LogStartOffset)
	}
	e.null() // aborted transactions
	if e.version >= 11 {
		e.int32(p.preferredReplica())
	}
	e.records(p.Records)
	if p.Diverging == nil || e.version < 12 {
		e.end()
		return
	}
	e.buf = append(e.buf, 1, 0, 4+8+1) // one tagged field, the first, of so many bytes
	e.int32(p.Diverging.Epoch)
	e.int64(p.Diverging.EndOffset)
	e.end()
}

func (p *FetchedPartition) preferredReplica() int32 {
	if p.Redirected {
		return p.PreferredReplica
	}
	return -1
}

func (e *fetchEncoder) records(chunks [][]byte) {
	size := 0
	for _, c := range chunks {
		size += len(c)
	}
	e.count(size) // the same form as an array's
	for _, c := range chunks {
		if len(c) <= copied {
			e.buf = append(e.buf, c...)
			continue
		}
		e.cuts = append(e.cuts, cut{len(e.buf), c})
		e.size += len(c)
	}
}

// frames cuts buf where the records go; only now does it no longer move.
func (e *fetchEncoder) frames() [][]byte {
	setLength(e.buf, len(e.buf)+e.size)
	out := make([][]byte, 0, 2*len(e.cuts)+1)
	from := 0
	for _, c := range e.cuts {
		if c.at > from {
			out = append(out, e.buf[from:c.at])
		}
		out = append(out, c.records)
		from = c.at
	}
	return append(out, e.buf[from:])
}

func (e *fetchEncoder) int16(v int16) { e.buf = binary.BigEndian.AppendUint16(e.buf, uint16(v)) }
func (e *fetchEncoder) int32(v int32) { e.buf = binary.BigEndian.AppendUint32(e.buf, uint32(v)) }
func (e *fetchEncoder) int64(v int64) { e.buf = binary.BigEndian.AppendUint64(e.buf, uint64(v)) }

// count writes how many elements or bytes follow.
func (e *fetchEncoder) count(n int) {
	if e.flexible {
		e.buf = binary.AppendUvarint(e.buf, uint64(n)+1)
		return
	}
	e.int32(int32(n))
}

// null writes an array that is not there.
func (e *fetchEncoder) null() {
	if e.flexible {
		e.buf = append(e.buf, 0)
		return
	}
	e.int32(-1)
}

func (e *fetchEncoder) text(s string) {
	if e.flexible {
		e.buf = binary.AppendUvarint(e.buf, uint64(len(s))+1)
	} else {
		e.int16(int16(len(s)))
	}
	e.buf = append(e.buf, s...)
}

// end closes a structure of a flexible version: no tagged fields.
func (e *fetchEncoder) end() {
	if e.flexible {
		e.buf = append(e.buf, 0)
	}
}
