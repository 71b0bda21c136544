package wire

import "fmt"

// ProduceRequest is a produce request of version 3 to 9. It is decoded by hand:
// its records stay where they are in the frame, which therefore lives as long as
// the request.
type ProduceRequest struct {
	Version       int16
	Transactional bool  // it names a transactional id
	Acks          int16 // 0, 1, or -1 for all
	TimeoutMillis int32
	Topics        []ProduceTopic
}

// ProduceTopic is the part of a produce request for one topic.
type ProduceTopic struct {
	Topic      string
	Partitions []ProducePartition
}

// ProducePartition is what is to be appended to one partition. Records points
// into the frame; nil is null.
type ProducePartition struct {
	Index   int32
	Records []byte
}

const (
	// minProducePart is what a partition with the shortest batch takes. It bounds
	// how many topics and partitions a frame may name: with nulls for records a
	// partition takes 6 bytes, and a good hundred to answer.
	minProducePart = 4 + 1 + 61
	// freeProduceParts come on top, so that a lone broken batch gets an answer.
	freeProduceParts = 16
)

// DecodeProduce reads the body of a produce request.
func DecodeProduce(version int16, body []byte) (*ProduceRequest, error) {
	d := produceDecoder{cursor: cursor{buf: body}, flexible: flexible(Produce, version)}
	d.topics = freeProduceParts + len(body)/minProducePart
	d.partitions = d.topics

	req := &ProduceRequest{Version: version}
	req.Transactional = d.nullable(d.textLen(d.flexible)) != nil
	req.Acks = d.int16()
	req.TimeoutMillis = d.int32()
	req.Topics = d.topicList()
	d.end()
	if d.bad {
		return nil, fmt.Errorf("%w: Produce version %d does not hold what it claims", ErrMalformed, version)
	}
	return req, nil
}

type produceDecoder struct {
	cursor
	flexible   bool
	topics     int // how many more may come
	partitions int // how many more may come
}

func (d *produceDecoder) topicList() []ProduceTopic {
	n := d.claim(&d.topics)
	topics := make([]ProduceTopic, 0, n)
	for range n {
		t := ProduceTopic{Topic: string(d.take(d.textLen(d.flexible)))}
		t.Partitions = d.partitionList()
		d.end()
		if d.bad {
			return nil
		}
		topics = append(topics, t)
	}
	return topics
}

func (d *produceDecoder) partitionList() []ProducePartition {
	n := d.claim(&d.partitions)
	partitions := make([]ProducePartition, 0, n)
	for range n {
		p := ProducePartition{Index: d.int32()}
		p.Records = d.nullable(d.bytesLen(d.flexible))
		d.end()
		if d.bad {
			return nil
		}
		partitions = append(partitions, p)
	}
	return partitions
}

// claim reads an array's count and takes it from what the request may have.
func (d *produceDecoder) claim(left *int) int {
	n := d.count(d.flexible)
	if n > *left {
		d.bad, d.buf = true, nil
		return 0
	}
	*left -= n
	return n
}

// end passes over the tagged fields that end a structure of a flexible version.
func (d *produceDecoder) end() {
	if d.flexible {
		d.tags(ignore)
	}
}
