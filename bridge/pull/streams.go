package pull

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"
)

// streamRoutes are what can be asked about streams and their messages.
var streamRoutes = []route{
	{"API.DIRECT.GET.*", "", onWorker, directGet},
	{"API.DIRECT.GET.*.>", "", onWorker, directLast},
	{"API.STREAM.MSG.GET.*", "stream_msg_get_response", onWorker, answering(getMessage)},
	{"API.STREAM.INFO.*", "stream_info_response", onWorker, answering(getStreamInfo)},
	{"API.STREAM.NAMES", "stream_names_response", onWorker, answering(getStreamNames)},
	{"API.STREAM.LIST", "stream_list_response", onWorker, answering(getStreamList)},
	{"API.INFO", "account_info_response", onWorker, answering(getAccountInfo)},
}

// Pages are bounded in number as JetStream's are, and in bytes: by pageBytes, and by
// half of what a message may have.
const (
	namesPerPage    = 1024
	streamsPerPage  = 256
	subjectsPerPage = 10_000
	pageBytes       = 256 << 10
)

func (s *Service) pageBytes() int { return min(pageBytes, s.cfg.MaxPayload/2) }

// page is which part of a list an answer has.
type page struct {
	Total  int `json:"total"`
	Offset int `json:"offset"`
	Limit  int `json:"limit"`
}

// listRequest asks for the streams from an offset on, of those that messages on a
// subject may be in.
type listRequest struct {
	Offset  int    `json:"offset"`
	Subject filter `json:"subject"`
}

// chosen is a page's streams, and the page, of those that r asks for.
func (s *Service) chosen(c *call, limit int) (streams []stream, p page, err error) {
	var r listRequest
	if err := c.decode(&r); err != nil {
		return nil, page{}, err
	}
	if r.Offset < 0 || r.Subject != "" && !validFilter(r.Subject) {
		return nil, page{}, errBadRequest.with("its offset or subject is not valid")
	}
	p = page{Offset: r.Offset, Limit: limit}
	topic, wanted := "", false // of the partition before: a topic's are in a row
	s.reader.EachPartition(func(name string, partition int32) bool {
		if name != topic {
			topic, wanted = name, s.wanted(name, r.Subject)
		}
		if wanted {
			if p.Total >= p.Offset && len(streams) < limit {
				streams = append(streams, stream{streamName(name, partition), name, partition})
			}
			p.Total++
		}
		return true
	})
	return streams, p, nil
}

// wanted reports whether messages on a subject may be in a topic.
func (s *Service) wanted(topic string, subject filter) bool {
	return subject == "" || slices.ContainsFunc(s.subjects(stream{topic: topic}), func(of string) bool { return subject.Overlaps(filter(of)) })
}

func getStreamNames(s *Service, c *call) (any, error) {
	streams, p, err := s.chosen(c, namesPerPage)
	if err != nil {
		return nil, err
	}
	names := make([]string, 0, len(streams))
	size := 0
	for _, st := range streams {
		if size += len(st.name) + len(`"",`); size > s.pageBytes() && len(names) > 0 {
			break // clients go on behind what they got
		}
		names = append(names, st.name)
	}
	return struct {
		page
		Streams []string `json:"streams"`
	}{p, names}, nil
}

// getStreamList answers with what is known of each stream of a page. Those that
// cannot be read now have no state, and are named with the reason.
func getStreamList(s *Service, c *call) (any, error) {
	streams, p, err := s.chosen(c, streamsPerPage)
	if err != nil {
		return nil, err
	}
	answer := struct {
		page
		Streams []json.RawMessage `json:"streams"`
		Offline map[string]string `json:"offline,omitempty"`
	}{page: p, Streams: []json.RawMessage{}, Offline: map[string]string{}}
	size := 0
	for _, st := range streams {
		if c.ctx.Err() != nil {
			return nil, errStopping
		}
		info, err := s.info(st)
		if err != nil { // listed all the same: clients count what they got, to ask for the rest
			config, err2 := s.config(st)
			if err2 != nil {
				continue // it was deleted meanwhile
			}
			info = &streamInfo{Config: config, Domain: s.cfg.Domain, Now: time.Now().UTC()}
			answer.Offline[st.name] = s.apiErrorOf(err).Description
		}
		text, err := json.Marshal(info)
		if err != nil {
			return nil, err
		}
		if size += len(text); size > s.pageBytes() && len(answer.Streams) > 0 {
			break
		}
		answer.Streams = append(answer.Streams, text)
	}
	return answer, nil
}

// infoRequest may ask for the subjects in a stream, from an offset in their list on.
type infoRequest struct {
	Offset         int    `json:"offset"`
	SubjectsFilter filter `json:"subjects_filter"`
}

func getStreamInfo(s *Service, c *call) (any, error) {
	st, err := streamOf(c.tokens[0])
	if err != nil {
		return nil, err
	}
	var r infoRequest
	if err := c.decode(&r); err != nil {
		return nil, err
	}
	info, err := s.info(st)
	if err != nil {
		return nil, err
	}
	answer := struct {
		*page
		*streamInfo
	}{streamInfo: info}
	if r.SubjectsFilter != "" {
		if answer.page, err = s.countSubjects(c, st, &r, info); err != nil {
			return nil, err
		}
	}
	return answer, nil
}

// countSubjects counts the messages of each subject that r asks for. That means
// looking at all of them, so that it is only done in a stream that is small enough.
func (s *Service) countSubjects(c *call, st stream, r *infoRequest, info *streamInfo) (*page, error) {
	switch {
	case !validFilter(r.SubjectsFilter) || r.Offset < 0:
		return nil, errBadRequest.with("its subjects_filter or offset is not valid")
	case !c.slow:
		return nil, s.searchLimit()
	}
	counts := map[string]int64{}
	left := s.budget(c)
	enough := true
	_, err := s.scan(c, st, offsetOf(info.State.FirstSeq), offsetOf(info.State.LastSeq)+1, func(f *found) bool {
		if enough = left.take(f.record) && len(counts) <= subjectsPerPage; !enough {
			return false
		}
		if r.SubjectsFilter.Matches(f.subject) {
			counts[string(f.subject)]++
		}
		return true
	})
	switch {
	case err != nil:
		return nil, err
	case !enough:
		return nil, errSearchLimit.with(fmt.Sprintf("subjects are counted in streams of up to %d messages, %d bytes and %d subjects; read with a consumer", s.cfg.SearchRecords, s.cfg.SearchBytes, subjectsPerPage))
	}
	p := &page{Total: len(counts), Offset: r.Offset, Limit: subjectsPerPage}
	info.State.Subjects = map[string]int64{}
	subjects := slices.Sorted(maps.Keys(counts))
	size := 0
	for _, subject := range subjects[min(r.Offset, len(subjects)):] {
		if size += len(subject) + 24; size > s.pageBytes() && len(info.State.Subjects) > 0 {
			break
		}
		info.State.Subjects[subject] = counts[subject]
	}
	return p, nil
}

// getAccountInfo answers with what all streams take together. There is one account,
// and its limits are the box's: clients see none of their own.
func getAccountInfo(s *Service, _ *call) (any, error) {
	type limits struct {
		MaxMemory            int64 `json:"max_memory"`
		MaxStorage           int64 `json:"max_storage"`
		MaxStreams           int   `json:"max_streams"`
		MaxConsumers         int   `json:"max_consumers"`
		MaxAckPending        int   `json:"max_ack_pending"`
		MemoryMaxStreamBytes int64 `json:"memory_max_stream_bytes"`
		StoreMaxStreamBytes  int64 `json:"storage_max_stream_bytes"`
		MaxBytesRequired     bool  `json:"max_bytes_required"`
	}
	type calls struct {
		Total  uint64 `json:"total"`
		Errors uint64 `json:"errors"`
	}
	answer := struct {
		Memory          int64  `json:"memory"`
		Storage         int64  `json:"storage"`
		ReservedMemory  int64  `json:"reserved_memory"`
		ReservedStorage int64  `json:"reserved_storage"`
		Streams         int    `json:"streams"`
		Consumers       int    `json:"consumers"`
		Limits          limits `json:"limits"`
		Domain          string `json:"domain"`
		API             calls  `json:"api"`
	}{Limits: limits{-1, -1, -1, -1, -1, -1, -1, false}, Domain: s.cfg.Domain}
	answer.API.Errors = s.metrics.errors.Load()
	answer.API.Total = s.metrics.answers.Load() + answer.API.Errors
	s.reader.EachPartition(func(topic string, partition int32) bool {
		answer.Streams++
		if _, _, size, err := s.reader.Offsets(topic, partition); err == nil { // one that is offline takes what nobody can tell
			answer.Storage += size
		}
		if s.consumers != nil {
			answer.Consumers += s.consumers(stream{streamName(topic, partition), topic, partition})
		}
		return true
	})
	return answer, nil
}
