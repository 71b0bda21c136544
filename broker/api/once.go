package api

import (
	"errors"

	"github.com/headwater/headwater/broker/cluster"
)

// once tells the first time that a request names a partition from others, where an
// answer is much longer than the question: repeating it must not pay.
type once map[string]map[int32]bool

// first reports whether the partition was not named before.
func (o once) first(topic string, index int32) bool {
	if o[topic] == nil {
		o[topic] = map[int32]bool{}
	}
	seen := o[topic][index]
	o[topic][index] = true
	return !seen
}

// briefly is message without words about partitions that are not there, of which
// four bytes name one and there is no end.
func briefly(err error) *string {
	if errors.Is(err, cluster.ErrUnknownTopic) || errors.Is(err, cluster.ErrUnknownPartition) {
		return nil
	}
	return message(err)
}
