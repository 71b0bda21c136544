package ingest

import (
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/headwater/headwater/bridge/subject"
	"github.com/headwater/headwater/broker/record"
)

// Headers that every record carries. A device that sends its own of these names,
// or of any other that starts alike, would forge them: they are left out.
const (
	ownPrefix     = "hw-"
	headerSubject = "hw-subject" // the NATS subject
	headerTime    = "hw-time"    // when the message was received, Unix ms in decimal
	headerClock   = "hw-clock"   // unsynchronized: hw-time is in doubt; else it is not there
)

// scratch is what the parts of one message are put together in. It is used again
// for the next.
type scratch struct {
	route   subject.Route
	headers []record.Header
	time    []byte
	wants   wants

	replaying *gather // whose waiting messages are placed; nil for none
}

// prepare works out m's route, headers and size. scratch holds the first two
// until the next message, and the rule that takes m also beside a refusal.
func (in *Ingest) prepare(m *Message, received receipt) (size int, why reason, err error) {
	s := &in.scratch
	if err := in.table.Route(m.Subject, &s.route); err != nil {
		return 0, unroutable, err
	}
	if m.Rule != AnyRule && s.route.Rule != m.Rule {
		return 0, unroutable, nil
	}
	if !in.rules[s.route.Rule].allows(m) {
		return 0, tooLarge, nil
	}
	s.time = strconv.AppendInt(s.time[:0], received.at.UnixMilli(), 10)
	s.headers = append(s.headers[:0],
		record.Header{Key: headerSubject, Value: m.Subject},
		record.Header{Key: headerTime, Value: s.time})
	if received.doubted {
		s.headers = append(s.headers, record.Header{Key: headerClock, Value: unsynchronized})
	}
	for _, h := range s.route.Headers {
		s.headers = append(s.headers, record.Header{Key: h.Name, Value: h.Value})
	}
	s.headers, why, err = appendHeaders(s.headers, m.Headers, &s.route)
	if why != taken {
		return 0, why, err
	}
	if why, err := s.wants.read(s.headers); why != taken {
		return 0, why, err
	}
	size = recordBound(s.route.Key, m.Payload, s.headers)
	most := size // with the mark: what can be stored is the same by any clock
	if !received.doubted {
		most += markBound
	}
	if record.HeaderLen+most > in.cfg.MaxBatchBytes {
		return 0, tooLarge, nil
	}
	return size, taken, nil
}

const (
	maxHeaderBytes = 64 << 10 // of a NATS header block, as JetStream has it
	maxHeaders     = 256
)

// appendHeaders appends what stands in a NATS header block: a version line, which
// may carry a status that says nothing to a reader of records, then a line for
// each value, then an empty line. A name that the route's rule gives is the rule's.
func appendHeaders(headers []record.Header, block []byte, route *subject.Route) ([]record.Header, reason, error) {
	if len(block) == 0 {
		return headers, taken, nil
	}
	if len(block) > maxHeaderBytes {
		return headers, headersTooLarge, nil
	}
	text := string(block) // names are cut from one string, so that they cost one allocation together
	at, ok := lineEnd(text, 0)
	if !ok || !strings.HasPrefix(text, "NATS/1.") {
		return headers, badHeaders, nil
	}
	for count := 0; ; count++ {
		end, ok := lineEnd(text, at)
		switch {
		case !ok:
			return headers, badHeaders, nil
		case end == at+len("\r\n"):
			return headers, taken, nil
		case count == maxHeaders:
			return headers, headersTooLarge, nil
		}
		name, value, ok := splitHeader(text, block, at, end-len("\r\n"))
		if !ok {
			return headers, badHeaders, nil
		}
		if !own(name) && !route.Names(name) {
			headers = append(headers, record.Header{Key: name, Value: value})
		}
		at = end
	}
}

// lineEnd returns where the line that starts at ends, its CR LF included.
func lineEnd(text string, at int) (int, bool) {
	n := strings.Index(text[at:], "\r\n")
	return at + n + len("\r\n"), n >= 0
}

// splitHeader splits the line text[start:end], of which block has the same bytes,
// into name and value, the value without the blanks before it. A name that is not
// UTF-8 would break consumers, which read it as text.
func splitHeader(text string, block []byte, start, end int) (name string, value []byte, ok bool) {
	name, _, ok = strings.Cut(text[start:end], ":")
	if !ok || name == "" || !utf8.ValidString(name) {
		return "", nil, false
	}
	at := start + len(name) + 1
	for at < end && (text[at] == ' ' || text[at] == '\t') {
		at++
	}
	return name, block[at:end:end], true
}

// own reports whether a header's name is kept for ours, in any case of letters.
func own(name string) bool {
	return len(name) >= len(ownPrefix) && strings.EqualFold(name[:len(ownPrefix)], ownPrefix)
}

const maxVarintLen = 5 // of a length or an offset delta, which fit 32 bits

// recordBound is the most bytes that a record of these parts takes in a batch.
func recordBound(key, value []byte, headers []record.Header) int {
	size := maxVarintLen + 1 + 10 + maxVarintLen + maxVarintLen + len(key) + maxVarintLen + len(value) + maxVarintLen
	for _, h := range headers {
		size += maxVarintLen + len(h.Key) + maxVarintLen + len(h.Value)
	}
	return size
}

// clone is a copy of m that outlives Take.
func (m *Message) clone() Message {
	all := make([]byte, 0, m.len())
	keep := func(part []byte) []byte {
		at := len(all)
		all = append(all, part...)
		return all[at:len(all):len(all)]
	}
	return Message{
		Rule: m.Rule, Subject: keep(m.Subject), Reply: keep(m.Reply), Headers: keep(m.Headers), Payload: keep(m.Payload),
		Answerer: m.Answerer, Token: m.Token,
	}
}

// asks reports whether somebody wants to know what becomes of m.
func (m *Message) asks() bool { return len(m.Reply) > 0 || m.Answerer != nil }

func (m *Message) len() int {
	return len(m.Subject) + len(m.Reply) + len(m.Headers) + len(m.Payload)
}
