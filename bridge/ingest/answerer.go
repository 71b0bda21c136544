package ingest

import "github.com/headwater/headwater/bridge/subject"

// AnyRule is the rule of a message that comes by no rule's subscription. The first
// rule that matches takes it, and it is refused with subject.ErrNoRule if there is none.
const AnyRule = -1

// Answerer is told what became of messages that do not come by NATS.
type Answerer interface {
	// Answer tells that the message known as token is stored at a place, or with err,
	// a *Refusal, that it is not. It is called once for each message that was taken
	// with an Answerer, from one goroutine, in the order of each partition, and must
	// not block.
	Answer(token uint64, partition int32, offset int64, err error)
}

// Refusal says why a message was not stored.
type Refusal struct {
	Code      int  // 400 and the like, as JetStream's answers have it
	Temporary bool // sending the same again may succeed
	Full      bool // there is no room: in memory or on the disk
	why       reason
	detail    string
}

func newRefusal(why reason, detail string) *Refusal {
	code := refusals[why].code
	return &Refusal{Code: code, Temporary: code == 503, Full: why == bufferFull || why == storageFull, why: why, detail: detail}
}

// Error is a sentence.
func (r *Refusal) Error() string {
	text := refusals[r.why].description
	if r.detail != "" {
		text += ": " + r.detail
	}
	return text
}

// Unwrap makes the refusal subject.ErrNoRule where it is that.
func (r *Refusal) Unwrap() error {
	if r.why == noRule {
		return subject.ErrNoRule
	}
	return nil
}

// asker is who waits for the answer to one message.
type asker struct {
	answerer Answerer
	token    uint64
}

func (a asker) answer(partition int32, offset int64, err error) {
	a.answerer.Answer(a.token, partition, offset, err)
}
