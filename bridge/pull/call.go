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
	slow    bool      // it may read much: it is one of the slow requests
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

	search bool // a search has read all it may
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
	errBadRequest      = &apiError{Code: 400, ErrCode: 10003, Description: "bad request"}
	errInvalidJSON     = &apiError{Code: 400, ErrCode: 10025, Description: "invalid JSON"}
	errRequestTooLarge = &apiError{Code: 400, ErrCode: 10003, Description: "bad request: it is larger than requests may be"}
	errUnanswerable    = &apiError{Code: 408, ErrCode: 10003, Description: "Bad Request"} // a direct get's
	errNoStream        = &apiError{Code: 404, ErrCode: 10059, Description: "stream not found"}
	errNoMessage       = &apiError{Code: 404, ErrCode: 10037, Description: "no message found"}
	errTooLarge        = &apiError{Code: 400, ErrCode: 10054, Description: "message size exceeds maximum allowed"}
	errBusy            = &apiError{Code: 503, ErrCode: 10023, Description: "insufficient resources: more is asked than can be answered; try again later"}
	errSearchLimit     = &apiError{Code: 503, ErrCode: 10023, Description: "insufficient resources", search: true}
	errStopping        = &apiError{Code: 503, ErrCode: 10008, Description: "JetStream system temporarily unavailable: the box is stopping"}
	errGeneral         = &apiError{Code: 500, ErrCode: 10051, Description: "the log cannot be read"}
)

// apiErrorOf is err as clients are told of it.
func (s *Service) apiErrorOf(err error) *apiError {
	var e *apiError
	switch {
	case errors.As(err, &e):
		return e
	case errors.Is(err, context.Canceled):
		return errStopping
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
		if err == nil {
			err = s.send(c.reply, nil, c.json(fields))
		}
		s.finish(c, err)
	}
}

// finish ends a call that was answered, or could not be for err. One whose search
// was only a quick one goes on among the slow requests.
func (s *Service) finish(c *call, err error) {
	switch {
	case err == nil:
		s.metrics.answer()
		return
	case errors.Is(err, errNotSent): // nor would the error be
		s.log.Debug("request not answered", "err", err)
		return
	}
	e := s.apiErrorOf(err)
	if e.search && !c.slow {
		s.slowDown(c)
		return
	}
	s.fail(c, e)
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
	s.metrics.refuse()
	var headers, payload []byte
	if c.route.kind == "" {
		headers = statusLine(e)
	} else {
		payload = c.json(struct {
			Error *apiError `json:"error"`
		}{e})
	}
	if err := s.send(c.reply, headers, payload); err != nil {
		s.log.Debug("refusal not sent", "err", err)
	}
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
