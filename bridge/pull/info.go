package pull

import (
	"strconv"
	"time"
)

// streamInfo is a partition as JetStream's clients know streams.
type streamInfo struct {
	Config  streamConfig `json:"config"`
	Created time.Time    `json:"created"` // not known here: the year 1
	State   streamState  `json:"state"`
	Domain  string       `json:"domain"`
	Now     time.Time    `json:"ts"`
}

// streamConfig says in JetStream's words what holds of a partition. What the words
// have no meaning for here is left out, and clients take it for nothing.
type streamConfig struct {
	Name              string            `json:"name"`
	Subjects          []string          `json:"subjects"`
	Retention         string            `json:"retention"`
	MaxConsumers      int               `json:"max_consumers"`
	MaxMessages       int64             `json:"max_msgs"`
	MaxBytes          int64             `json:"max_bytes"`
	MaxAge            time.Duration     `json:"max_age"` // 0 for no limit
	MaxMessagesPerSub int64             `json:"max_msgs_per_subject"`
	MaxMessageBytes   int64             `json:"max_msg_size"`
	Discard           string            `json:"discard"`
	Storage           string            `json:"storage"`
	Replicas          int               `json:"num_replicas"`
	DuplicateWindow   time.Duration     `json:"duplicate_window"`
	Compression       string            `json:"compression"`
	AllowDirect       bool              `json:"allow_direct"`
	MirrorDirect      bool              `json:"mirror_direct"`
	Sealed            bool              `json:"sealed"`
	DenyDelete        bool              `json:"deny_delete"`
	DenyPurge         bool              `json:"deny_purge"`
	AllowRollup       bool              `json:"allow_rollup_hdrs"`
	Metadata          map[string]string `json:"metadata"`
}

// streamState is how a stream is now. Messages counts the offsets between its first
// and its last: those that were compacted or lost, or that control batches have, are
// among them.
type streamState struct {
	Messages  int64            `json:"messages"`
	Bytes     int64            `json:"bytes"`
	FirstSeq  uint64           `json:"first_seq"`
	FirstTime time.Time        `json:"first_ts"`
	LastSeq   uint64           `json:"last_seq"`
	LastTime  time.Time        `json:"last_ts"`
	Subjects  map[string]int64 `json:"subjects,omitempty"`
	Consumers int              `json:"consumer_count"`
}

// info tells what there is to know of a stream.
func (s *Service) info(st stream) (*streamInfo, error) {
	start, end, size, err := s.reader.Offsets(st.topic, st.partition)
	if err != nil {
		return nil, err
	}
	config, err := s.config(st)
	if err != nil {
		return nil, err
	}
	state := streamState{Messages: end - start, Bytes: size, FirstSeq: sequence(start), LastSeq: sequence(end - 1)}
	if start < end {
		if state.FirstTime, err = s.firstTime(st, start, end); err != nil {
			return nil, err
		}
		if _, err = s.exact(st, end-1, func(f *found) { state.LastTime = timeOf(f.timestamp) }); err != nil {
			return nil, err
		}
	}
	if s.consumers != nil {
		state.Consumers = s.consumers(st)
	}
	return &streamInfo{Config: config, State: state, Domain: s.cfg.Domain, Now: time.Now().UTC()}, nil
}

func (s *Service) config(st stream) (streamConfig, error) {
	maxBytes, maxAgeMillis, maxMessageBytes, err := s.reader.Retention(st.topic)
	if err != nil {
		return streamConfig{}, err
	}
	return streamConfig{
		Name:              st.name,
		Subjects:          s.subjects(st),
		Retention:         "limits",
		MaxConsumers:      -1,
		MaxMessages:       -1,
		MaxBytes:          maxBytes,
		MaxAge:            age(maxAgeMillis),
		MaxMessagesPerSub: -1,
		MaxMessageBytes:   min(maxMessageBytes, 1<<31-1), // clients have 32 bits for it
		Discard:           "old",
		Storage:           "file",
		Replicas:          1,
		DuplicateWindow:   s.cfg.DuplicateWindow,
		Compression:       "none",
		AllowDirect:       true,
		DenyDelete:        true,
		DenyPurge:         true,
		Metadata:          map[string]string{"headwater.topic": st.topic, "headwater.partition": strconv.Itoa(int(st.partition))},
	}, nil
}

// age is a setting in milliseconds as JetStream has it, where nothing is no limit.
func age(millis int64) time.Duration {
	const most = int64(1<<63-1) / int64(time.Millisecond)
	if millis < 0 || millis > most {
		return 0
	}
	return max(time.Duration(millis)*time.Millisecond, 1)
}

// subjects are those that devices reach the topic by, and those that records without
// a device's have.
func (s *Service) subjects(st stream) []string {
	var all []string
	add := func(subject string) {
		for _, have := range all {
			if filter(have).Covers(filter(subject)) {
				return
			}
		}
		all = append(all, subject)
	}
	for _, subject := range s.cfg.Subjects(st.topic) {
		add(subject)
	}
	own := topicSubject(st.topic)
	add(own)
	add(own + ".*")
	return all
}

// gapReads bounds how many reads may bring no record, past a gap, before the first.
const gapReads = 16

// firstTime is when the first record at or behind an offset happened, if it comes
// within a few reads.
func (s *Service) firstTime(st stream, offset, end int64) (at time.Time, err error) {
	for range gapReads {
		next, there, err := s.near(st, offset, func(f *found) { at = timeOf(f.timestamp) })
		if err != nil || there || next <= offset || next >= end {
			return at, err
		}
		offset = next
	}
	return at, nil
}
