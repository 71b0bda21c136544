package pull

import (
	"time"
)

// getRequest asks for messages, by one of several ways.
type getRequest struct {
	Sequence  uint64     `json:"seq"`
	LastFor   filter     `json:"last_by_subj"`
	NextFor   filter     `json:"next_by_subj"`
	Batch     int        `json:"batch"`
	MaxBytes  int64      `json:"max_bytes"`
	StartTime *time.Time `json:"start_time"`
	MultiLast []string   `json:"multi_last"`
	UpTo      uint64     `json:"up_to_seq"`
	UpToTime  *time.Time `json:"up_to_time"`
	NoHeaders bool       `json:"no_hdr"`
}

// check says what is wrong with r, "" if nothing is.
func (r *getRequest) check() string {
	last, next := r.LastFor != "", r.NextFor != ""
	switch {
	case len(r.MultiLast) > 0 || r.UpTo > 0 || r.UpToTime != nil:
		return "multi_last is not spoken here: ask for each subject with last_by_subj"
	case r.Sequence == 0 && !last && !next && r.StartTime == nil:
		return "it names neither a sequence nor a subject nor a time"
	case r.Sequence > 0 && r.StartTime != nil, last && (r.Sequence > 0 || r.StartTime != nil || next || r.Batch > 0):
		return "it names more than one place to look at"
	case last && !validFilter(r.LastFor), next && !validFilter(r.NextFor):
		return "its subject is not valid"
	case r.Batch < 0 || r.MaxBytes < 0:
		return "a number is below 0"
	}
	return ""
}

// isExact reports whether r asks for the message at a sequence and no other.
func (r *getRequest) isExact() bool { return r.Sequence > 0 && r.NextFor == "" && r.Batch == 0 }

// from is where r has the search begin, which may be before the stream does.
func (s *Service) from(st stream, r *getRequest) (int64, error) {
	if r.StartTime == nil {
		return offsetOf(r.Sequence), nil
	}
	at := r.StartTime.UnixMilli()
	if time.UnixMilli(at).Before(*r.StartTime) {
		at++
	}
	return s.reader.OffsetForTime(st.topic, st.partition, at)
}

// one calls yield for the one message that r asks for, which is not a batch.
func (s *Service) one(c *call, st stream, r *getRequest, yield func(*found)) error {
	offset := offsetOf(r.Sequence)
	left := s.budget(c)
	var err error
	switch {
	case r.LastFor != "":
		offset, err = s.last(c, st, r.LastFor, left)
	case !r.isExact():
		var within bounds
		var from int64
		if within, err = s.bounds(st); err == nil {
			from, err = s.from(st, r)
		}
		if err == nil {
			offset, err = s.first(c, st, from, within.end, r.NextFor, left)
		}
	}
	if err != nil {
		return err
	}
	there, err := s.exact(st, offset, yield)
	if err == nil && !there {
		err = errNoMessage
	}
	return err
}

// storedMessage is a message within JSON, where bytes are base64.
type storedMessage struct {
	Subject  string    `json:"subject"`
	Sequence uint64    `json:"seq"`
	Headers  []byte    `json:"hdrs,omitempty"`
	Data     []byte    `json:"data,omitempty"`
	Time     time.Time `json:"time"`
}

// getMessage answers with one message in JSON.
func getMessage(s *Service, c *call) (any, error) {
	st, err := streamOf(c.tokens[0])
	if err != nil {
		return nil, err
	}
	var r getRequest
	if err := c.decode(&r); err != nil {
		return nil, err
	}
	if wrong := r.check(); wrong != "" {
		return nil, errBadRequest.with(wrong)
	}
	if r.Batch > 0 {
		return nil, errBadRequest.with("batches are got with $JS.API.DIRECT.GET")
	}
	var m storedMessage
	err = s.one(c, st, &r, func(f *found) {
		m = storedMessage{Subject: string(f.subject), Sequence: sequence(f.offset), Time: timeOf(f.timestamp)}
		if !r.NoHeaders {
			m.Headers = appendHeaders(nil, f.record, f.keyShown)
		}
		m.Data = append(m.Data, f.record.Value...)
	})
	if err != nil {
		return nil, err
	}
	return struct {
		Message storedMessage `json:"message"`
	}{m}, nil
}
