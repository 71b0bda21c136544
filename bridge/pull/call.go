package pull

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// call is a request on its way through a handler.
type call struct {
	ctx     context.Context // the workers'; nil on the reader's goroutine
	route   *route
	tokens  tokens // of the subject
	reply   []byte
	headers []byte
	payload []byte
	refusal *apiError // why it is not handled
}

func (c *call) size() int {
	size := len(c.reply) + len(c.headers) + len(c.payload)
	for _, t := range c.tokens {
		size += len(t)
	}
	return size
}

// clone is a copy that outlives Take, of size bytes.
func (c *call) clone(size int) *call {
	all := make([]byte, 0, size)
	keep := func(part []byte) []byte {
		at := len(all)
		all = append(all, part...)
		return all[at:len(all):len(all)]
	}
	out := *c
	for i, t := range c.tokens {
		out.tokens[i] = keep(t)
	}
	out.reply, out.headers, out.payload = keep(c.reply), keep(c.headers), keep(c.payload)
	return &out
}

// decode reads the payload's JSON into req. An empty payload leaves req as it is.
func (c *call) decode(req any) error {
	if len(c.payload) == 0 {
		return nil
	}
	if err := json.Unmarshal(c.payload, req); err != nil {
		return errInvalidJSON.with(err.Error())
	}
	return nil
}

// apiError is JetStream's form of an error: an HTTP-like code, a number that clients
// know, and a sentence.
type apiError struct {
	Code        int    `json:"code"`
	ErrCode     int    `json:"err_code"`
	Description string `json:"description"`
}

func (e *apiError) Error() string { return e.Description }

// with is e with more to say.
func (e *apiError) with(detail string) *apiError {
	more := *e
	more.Description += ": " + detail[:min(len(detail), maxDetailLen)]
	return &more
}

// maxDetailLen bounds what is added to an error's description.
const maxDetailLen = 512

// Errors by JetStream's numbers, with its words for them in front.
var (
	errBadRequest      = &apiError{400, 10003, "bad request"}
	errInvalidJSON     = &apiError{400, 10025, "invalid JSON"}
	errRequestTooLarge = &apiError{400, 10003, "bad request: it is larger than requests may be"}
	errNoStream        = &apiError{404, 10059, "stream not found"}
	errNoMessage       = &apiError{404, 10037, "no message found"}
	errBusy            = &apiError{503, 10023, "insufficient resources: more is asked than can be answered; try again later"}
	errStopping        = &apiError{503, 10008, "JetStream system temporarily unavailable: the box is stopping"}
	errGeneral         = &apiError{500, 10051, "the log cannot be read"}
)

// apiErrorOf is err as clients are told of it.
func (s *Service) apiErrorOf(err error) *apiError {
	var e *apiError
	switch {
	case errors.As(err, &e):
		return e
	case s.cfg.Unknown(err):
		return errNoStream
	case s.cfg.OutOfRange(err):
		return errNoMessage
	}
	return errGeneral.with(err.Error())
}

// answering is a handler that returns the answer's fields, a struct, or an error.
func answering(f func(*Service, *call) (any, error)) func(*Service, *call) {
	return func(s *Service, c *call) {
		fields, err := f(s, c)
		if err != nil {
			s.fail(c, s.apiErrorOf(err))
			return
		}
		s.answer(c, fields)
	}
}

// answer sends the fields of a struct as the route's kind of JSON.
func (s *Service) answer(c *call, fields any) {
	if s.send(c.reply, nil, c.json(fields)) {
		s.metrics.answered.Inc()
	}
}

// json is fields, a struct, with the answer's type in front.
func (c *call) json(fields any) []byte {
	text, err := json.Marshal(fields)
	if err != nil {
		panic(err) // numbers, strings and times of this millennium always marshal
	}
	head := fmt.Appendf(nil, `{"type":"io.nats.jetstream.api.v1.%s"`, c.route.kind)
	if len(text) > len("{}") {
		head = append(head, ',')
	}
	return append(head, text[1:]...)
}

// fail sends an error: in JSON or, where the route has no kind, as a status line.
func (s *Service) fail(c *call, e *apiError) {
	if len(c.reply) == 0 {
		return
	}
	s.metrics.refused.Inc()
	if c.route.kind == "" {
		s.send(c.reply, statusLine(e), nil)
		return
	}
	s.send(c.reply, nil, c.json(struct {
		Error *apiError `json:"error"`
	}{e}))
}

// statusLine is e as a header block that carries nothing but a status. 503 on its
// own says to clients that nobody is there.
func statusLine(e *apiError) []byte {
	code := e.Code
	if code == 503 {
		code = 500
	}
	return status(code, e.Description)
}

// status is a header block of a status and what it says.
func status(code int, text string) []byte {
	return fmt.Appendf(nil, "NATS/1.0 %d %s\r\n\r\n", code, strings.Map(printable, text))
}

func printable(r rune) rune {
	if r < ' ' || r == 0x7f {
		return ' '
	}
	return r
}
