package pull

import (
	"encoding/json"
	"slices"
	"strings"
	"time"
)

// consumerInfo is what clients are told of a consumer.
type consumerInfo struct {
	Stream         string         `json:"stream_name"`
	Name           string         `json:"name"`
	Created        time.Time      `json:"created"`
	Config         consumerConfig `json:"config"`
	Delivered      sequencePair   `json:"delivered"`
	AckFloor       sequencePair   `json:"ack_floor"`
	NumAckPending  int            `json:"num_ack_pending"`
	NumRedelivered int            `json:"num_redelivered"`
	NumWaiting     int            `json:"num_waiting"`
	NumPending     int64          `json:"num_pending"`
	TimeStamp      time.Time      `json:"ts"`
}

// sequencePair is a place by the consumer's own count and by the stream's.
type sequencePair struct {
	Consumer uint64     `json:"consumer_seq"`
	Stream   uint64     `json:"stream_seq"`
	Last     *time.Time `json:"last_active,omitempty"`
}

// info tells of a consumer. What is still to come counts offsets: with filters it is
// the most that it can be.
func (t *consumers) info(c *consumer) *consumerInfo {
	within, err := t.bounds(c.stream)
	if err != nil { // offline: nothing can come
		within = bounds{}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return &consumerInfo{
		Stream:         c.stream.name,
		Name:           c.name,
		Created:        c.created,
		Config:         c.config,
		Delivered:      sequencePair{c.progress.sequence, uint64(c.progress.next), t.wall(c.lastGiven)},
		AckFloor:       sequencePair{c.progress.floorSequence(), uint64(c.progress.floor()), t.wall(c.lastAcked)},
		NumAckPending:  c.progress.unacked(),
		NumRedelivered: c.progress.redelivered,
		NumWaiting:     len(c.pulls.waiting),
		NumPending:     max(0, within.end-max(c.progress.next, within.start)) + int64(c.progress.untouched),
		TimeStamp:      time.Now().UTC(),
	}
}

// wall is a time of this room's clock on the wall's; nil for never.
func (t *consumers) wall(at time.Duration) *time.Time {
	if at == 0 {
		return nil
	}
	wall := time.Now().Add(at - t.now()).UTC()
	return &wall
}

func getConsumerInfo(s *Service, c *call) (any, error) {
	st, err := streamOf(c.tokens[0])
	if err == nil {
		_, err = s.bounds(st)
	}
	if err != nil {
		return nil, err
	}
	t := s.pulling
	t.mu.Lock()
	of, loaded := t.find(c.tokens[0], c.tokens[1]), t.loaded
	t.mu.Unlock()
	switch {
	case !loaded:
		return nil, errLoading
	case of == nil:
		return nil, errNoConsumer
	}
	return t.info(of), nil
}

// consumersPerPage bounds a page of consumers with all that is told of them.
const consumersPerPage = 256

// chosenConsumers is a page of a stream's consumers, by name.
func (t *consumers) chosenConsumers(c *call, limit int) (all []*consumer, p page, err error) {
	st, err := streamOf(c.tokens[0])
	if err != nil {
		return nil, page{}, err
	}
	if _, err := t.bounds(st); err != nil {
		return nil, page{}, err
	}
	var r struct {
		Offset int `json:"offset"`
	}
	if err := c.decode(&r); err != nil {
		return nil, page{}, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.loaded {
		return nil, page{}, errLoading
	}
	if of := t.streams[st.name]; of != nil {
		for _, c := range of.byName {
			all = append(all, c)
		}
	}
	slices.SortFunc(all, func(a, b *consumer) int { return strings.Compare(a.name, b.name) })
	p = page{Total: len(all), Offset: max(r.Offset, 0), Limit: limit}
	all = all[min(p.Offset, len(all)):]
	return all[:min(limit, len(all))], p, nil
}

func getConsumerNames(s *Service, c *call) (any, error) {
	all, p, err := s.pulling.chosenConsumers(c, namesPerPage)
	if err != nil {
		return nil, err
	}
	names := make([]string, 0, len(all))
	for _, of := range all {
		names = append(names, of.name)
	}
	return struct {
		page
		Consumers []string `json:"consumers"`
	}{p, names}, nil
}

func getConsumerList(s *Service, c *call) (any, error) {
	all, p, err := s.pulling.chosenConsumers(c, consumersPerPage)
	if err != nil {
		return nil, err
	}
	infos, size := []json.RawMessage{}, 0
	for _, of := range all {
		text, err := json.Marshal(s.pulling.info(of))
		if err != nil {
			return nil, err
		}
		if size += len(text); size > pageBytes && len(infos) > 0 {
			break // clients go on behind what they got
		}
		infos = append(infos, text)
	}
	return struct {
		page
		Consumers []json.RawMessage `json:"consumers"`
	}{p, infos}, nil
}
