package pull

import (
	"fmt"

	"github.com/headwater/headwater/broker/record"
)

// stream is a partition that a request is about.
type stream struct {
	name      string
	topic     string
	partition int32
}

// streamOf is the stream that a token of the subject names.
func streamOf(token []byte) (stream, error) {
	topicName, partition, ok := parseStream(string(token))
	if !ok {
		return stream{}, errNoStream
	}
	return stream{string(token), topicName, partition}, nil
}

const (
	readBytes = 256 << 10 // of the log at a time
	// A search that gets by with these is done at once. One that does not starts over
	// among the slow requests, of which one is answered at a time.
	quickRecords = 10_000
	quickBytes   = 4 << 20
	// recordBytes is what looking at a record costs beside its bytes.
	recordBytes = 64
)

// budget is what a request may still read to find what it asks for.
type budget struct{ records, bytes int64 }

func (s *Service) budget(c *call) *budget {
	if c.slow {
		return &budget{s.cfg.SearchRecords, s.cfg.SearchBytes}
	}
	return &budget{min(quickRecords, s.cfg.SearchRecords), min(quickBytes, s.cfg.SearchBytes)}
}

// take pays for r, and reports whether there was enough.
func (b *budget) take(r *record.Record) bool {
	b.records--
	b.bytes -= int64(len(r.Key) + len(r.Value) + recordBytes)
	return b.records >= 0 && b.bytes >= 0
}

// searchLimit is the error of a search that has read all it may.
func (s *Service) searchLimit() *apiError {
	return errSearchLimit.with(fmt.Sprintf("no such message among %d, or %d bytes of them; ask by sequence or time, or read with a consumer that filters", s.cfg.SearchRecords, s.cfg.SearchBytes))
}

// bounds are where a stream begins and ends when a request looks.
type bounds struct{ start, end int64 } // offsets; end is exclusive

func (s *Service) bounds(st stream) (bounds, error) {
	start, end, _, err := s.reader.Offsets(st.topic, st.partition)
	return bounds{start, end}, err
}

// scan calls yield for the records from one offset to another, less those that
// retention takes meanwhile, until it returns false. What yield is given is valid
// until it returns. nextOffset is where to go on.
func (s *Service) scan(c *call, st stream, from, end int64, yield func(*found) bool) (nextOffset int64, err error) {
	f := found{stream: st.name}
	more := true
	for more && from < end {
		if err := c.ctx.Err(); err != nil {
			return from, errStopping
		}
		next, err := s.reader.ReadRecords(st.topic, st.partition, from, readBytes, func(offset, timestamp int64, r record.Record) bool {
			if more = offset < end; !more {
				return false
			}
			f.offset, f.timestamp, f.record = offset, timestamp, &r
			f.subject, f.keyShown = appendSubject(f.subject[:0], st.topic, &r)
			more = yield(&f)
			return more
		})
		switch {
		case err != nil && s.cfg.OutOfRange(err):
			b, err := s.bounds(st)
			if err != nil {
				return from, err
			}
			if b.start <= from {
				return from, nil // behind the end: there is nothing more
			}
			from = b.start
		case err != nil:
			return next, err
		case next <= from:
			return from, nil
		default:
			from = next
		}
	}
	return min(from, end), nil
}

// exact calls yield for the record at an offset, if there is one.
func (s *Service) exact(st stream, offset int64, yield func(*found)) (there bool, err error) {
	if offset < 0 {
		return false, nil
	}
	_, _, err = s.near(st, offset, func(f *found) {
		if there = f.offset == offset; there {
			yield(f)
		}
	})
	return there, err
}

// near calls yield for the first record at or behind an offset, if one read brings
// it. nextOffset is where to look on if not. Outside the log there is none.
func (s *Service) near(st stream, offset int64, yield func(*found)) (nextOffset int64, there bool, err error) {
	nextOffset, err = s.reader.ReadRecords(st.topic, st.partition, offset, 1, func(at, timestamp int64, r record.Record) bool {
		f := found{stream: st.name, offset: at, timestamp: timestamp, record: &r}
		f.subject, f.keyShown = appendSubject(nil, st.topic, &r)
		there = true
		yield(&f)
		return false
	})
	if err != nil && s.cfg.OutOfRange(err) {
		return offset, false, nil
	}
	return nextOffset, there, err
}

// first returns the offset of the first record from one on that want takes; end
// when there is none.
func (s *Service) first(c *call, st stream, from, end int64, want filter, left *budget) (offset int64, err error) {
	offset = end
	enough := true
	_, err = s.scan(c, st, from, end, func(f *found) bool {
		if enough = left.take(f.record); !enough {
			return false
		}
		if want == "" || want.Matches(f.subject) {
			offset = f.offset
		}
		return offset == end
	})
	if err == nil && !enough {
		err = s.searchLimit()
	}
	return offset, err
}

// A search backwards reads forward what it has not seen before, in steps that grow:
// the last record of a subject is most often near the end.
const (
	firstStep = 256
	lastStep  = 16 << 10
)

// last returns the offset of the last record that want takes; -1 when there is none.
func (s *Service) last(c *call, st stream, want filter, left *budget) (offset int64, err error) {
	within, err := s.bounds(st)
	if err != nil {
		return -1, err
	}
	offset = -1
	enough := true
	for end, step := within.end, int64(firstStep); end > within.start; step = min(4*step, lastStep) {
		if left.records <= 0 {
			return -1, s.searchLimit()
		}
		from := max(within.start, end-min(step, left.records))
		_, err := s.scan(c, st, from, end, func(f *found) bool {
			if want.Matches(f.subject) {
				offset = f.offset
			}
			enough = left.take(f.record)
			return enough
		})
		switch {
		case err != nil:
			return -1, err
		case !enough: // what was found may not be the last
			return -1, s.searchLimit()
		case offset >= 0:
			return offset, nil
		}
		end = from
	}
	return -1, nil
}
