package ingest

// Answerer is told what becomes of messages that did not come by NATS.
//
// Answer is called once for each message that Take was given while Run runs, by the
// acker's goroutine and in no certain order: with the place of its record once that
// is stored, or with a *Refusal and -1 as offset. It must not block. An Answerer
// bounds how many of its messages wait at once: their refusals are all kept.
type Answerer interface {
	Answer(token uint64, partition int32, offset int64, err error)
}

// Refusal is why a message was not stored, or is not known to be.
type Refusal struct {
	Code      int  // as HTTP has it: 400 and above are the message's fault, 503 is not
	Temporary bool // the same message may be stored if it is sent again later
	text      string
	cause     error // nil for no more than text
}

func newRefusal(why reason, cause error) *Refusal {
	known := refusals[why]
	return &Refusal{Code: known.code, Temporary: known.code >= 500, text: known.description, cause: cause}
}

// Error is one sentence that may be shown to the device.
func (r *Refusal) Error() string {
	if detail := detailOf(r.cause); detail != "" {
		return r.text + ": " + detail
	}
	return r.text
}

// Unwrap is what the broker or the rules said. It is subject.ErrNoRule when no rule
// takes the subject of a message for AnyRule.
func (r *Refusal) Unwrap() error { return r.cause }

// detailOf is what err says, as far as an answer has room for it.
func detailOf(err error) string {
	if err == nil {
		return ""
	}
	text := err.Error()
	return text[:min(len(text), maxDetailLen)]
}
