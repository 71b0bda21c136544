package pull

import (
	"cmp"
	"errors"
	"fmt"
	"strconv"
)

// Direct gets answer with the messages themselves, their places in headers, and tell
// errors by a status line.

// directGet answers with the message or the batch that the payload asks for.
func directGet(s *Service, c *call) {
	st, err := streamOf(c.tokens[0])
	var r getRequest
	if err == nil {
		err = c.decode(&r)
	}
	if wrong := r.check(); err == nil && wrong != "" {
		err = errUnanswerable.with(wrong)
	}
	if err == nil && r.Batch > 0 {
		err = s.batch(c, st, &r)
	} else if err == nil {
		err = s.direct(c, st, &r)
	}
	s.finish(c, err)
}

// directLast answers with the last message of the subject that stands behind the
// stream's name.
func directLast(s *Service, c *call) {
	st, err := streamOf(c.tokens[0])
	r := getRequest{LastFor: filter(c.tokens[1])}
	if err == nil && !validFilter(r.LastFor) {
		err = errUnanswerable.with("its subject is not valid")
	}
	if err == nil {
		err = s.direct(c, st, &r)
	}
	s.finish(c, err)
}

func (s *Service) direct(c *call, st stream, r *getRequest) error {
	var sent error
	err := s.one(c, st, r, func(f *found) { sent = s.send(c.reply, f.appendMessage(nil, r.NoHeaders), f.record.Value) })
	return errors.Join(err, sent)
}

// appendMessage appends the header block of a message that is got directly, up to
// the empty line; without anything if plain.
func (f *found) appendMessage(dst []byte, plain bool, more ...string) []byte {
	if plain {
		return dst
	}
	dst = f.appendPlaced(dst)
	for _, line := range more {
		dst = append(append(dst, line...), "\r\n"...)
	}
	dst = appendRecordHeaders(dst, f.record, f.keyShown)
	return append(dst, "\r\n"...)
}

// batch sends messages from a place on, then a status that says how many follow.
// With a filter all that follow are counted, whether it takes them or not: clients
// only need to know whether there may be more. A batch that cannot go on ends, and
// the next, which begins where it ended, is told why.
func (s *Service) batch(c *call, st stream, r *getRequest) error {
	if r.NextFor != "" && !c.slow {
		return s.searchLimit() // it would have to stop too early
	}
	within, err := s.bounds(st)
	if err != nil {
		return err
	}
	from, err := s.from(st, r)
	if err != nil {
		return err
	}
	b := batch{service: s, call: c, request: r, end: within.end, left: s.budget(c), maxBytes: s.cfg.MaxResponseBytes}
	if r.MaxBytes > 0 {
		b.maxBytes = min(b.maxBytes, r.MaxBytes)
	}
	next, err := s.scan(c, st, from, within.end, b.take)
	b.pending = within.end - next
	if err = cmp.Or(err, b.err); err != nil { // what follows the last one is still to come
		b.pending = within.end - int64(b.lastSent)
	}
	switch {
	case b.sent == 0 && err != nil:
		return err
	case b.sent == 0:
		return errNoMessage
	}
	return s.send(c.reply, b.endOfBatch(), nil)
}

// batch is a batch on its way.
type batch struct {
	service  *Service
	call     *call
	request  *getRequest
	end      int64 // offset
	left     *budget
	maxBytes int64

	sent     int
	bytes    int64
	lastSent uint64 // sequence, 0 before the first
	pending  int64  // that follow
	headers  []byte
	err      error
}

// take sends f if it is wanted, and reports whether more are.
func (b *batch) take(f *found) bool {
	if want := b.request.NextFor; want != "" && !want.Matches(f.subject) {
		if !b.left.take(f.record) {
			b.err = b.service.searchLimit()
		}
		return b.err == nil
	}
	b.headers = f.appendMessage(b.headers[:0], b.request.NoHeaders,
		headerNumPending+": "+strconv.FormatInt(b.end-f.offset-1, 10),
		headerLastSequence+": "+strconv.FormatUint(b.lastSent, 10))
	if b.err = b.service.send(b.call.reply, b.headers, f.record.Value); b.err != nil {
		return false
	}
	b.lastSent = sequence(f.offset)
	b.sent++
	b.bytes += int64(len(b.headers) + len(f.record.Value))
	return b.sent < b.request.Batch && b.bytes < b.maxBytes
}

// endOfBatch is the status that ends a batch.
func (b *batch) endOfBatch() []byte {
	return fmt.Appendf(nil, "NATS/1.0 204 EOB\r\n%s: %d\r\n%s: %d\r\n%s: %d\r\n\r\n",
		headerNumPending, b.pending, headerLastSequence, b.lastSent, headerUpTo, sequence(b.end-1))
}
