package pull

import (
	"fmt"
	"slices"
)

// start is where a new consumer begins: with some that lie before, then at next.
type start struct {
	next    int64
	awaited []int64
}

// where finds the start of a consumer by its deliver policy; nil when the consumer
// is there, which begins nowhere.
func (t *consumers) where(c *call, st stream, r createRequest) (*start, error) {
	t.mu.Lock()
	there := t.find([]byte(st.name), []byte(r.Config.Name)) != nil
	t.mu.Unlock()
	if there || r.Action == "update" {
		return nil, nil
	}
	within, err := t.bounds(st)
	if err != nil {
		return nil, err
	}
	cfg := &r.Config
	switch cfg.DeliverPolicy {
	case deliverNew:
		return &start{next: within.end}, nil
	case deliverFromSeq:
		return &start{next: max(offsetOf(cfg.OptStartSeq), within.start)}, nil
	case deliverFrom:
		at, err := t.from(st, &getRequest{StartTime: cfg.OptStartTime})
		return &start{next: max(at, within.start)}, err
	case deliverLast:
		return t.lastOf(c, st, cfg.filters(), within)
	case deliverLastPer:
		return t.lastPerSubject(c, st, cfg.filters(), within)
	}
	return &start{next: within.start}, nil
}

// lastOf is the last record that a filter takes, or the end when there is none.
func (t *consumers) lastOf(c *call, st stream, filters []filter, within bounds) (*start, error) {
	if len(filters) == 0 {
		filters = []filter{">"}
	}
	at := int64(-1)
	left := t.budget(c)
	for _, f := range filters {
		offset, err := t.last(c, st, f, left)
		if err != nil {
			return nil, err
		}
		at = max(at, offset)
	}
	if at < 0 {
		at = within.end
	}
	return &start{next: at}, nil
}

// maxLastSubjects bounds the subjects that a consumer begins with the last of.
const maxLastSubjects = 10_000

// lastPerSubject is the last record of each subject that a filter takes. It is found
// by looking at all records, which is only done where they are few enough.
func (t *consumers) lastPerSubject(c *call, st stream, filters []filter, within bounds) (*start, error) {
	last := map[string]int64{}
	left := t.budget(c)
	enough := true
	_, err := t.scan(c, st, within.start, within.end, func(f *found) bool {
		if enough = left.take(f.record) && len(last) <= maxLastSubjects; !enough {
			return false
		}
		if slices.ContainsFunc(filters, func(want filter) bool { return want.Matches(f.subject) }) {
			last[string(f.subject)] = f.offset
		}
		return true
	})
	switch {
	case err != nil:
		return nil, err
	case !enough:
		return nil, errSearchLimit.with(fmt.Sprintf("last_per_subject is for streams of up to %d messages, %d bytes and %d subjects", t.cfg.SearchRecords, t.cfg.SearchBytes, maxLastSubjects))
	}
	at := &start{next: within.end}
	for _, offset := range last {
		at.awaited = append(at.awaited, offset)
	}
	slices.Sort(at.awaited)
	return at, nil
}
