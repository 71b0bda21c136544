package natsd

import (
	"errors"
	"fmt"
	"strconv"
)

// ErrUnsendable is wrapped by errors about a message that the protocol cannot carry,
// or that is larger than the server takes: it would close the connection for it.
var ErrUnsendable = errors.New("not to be sent by NATS")

// outbound is a message to send. Headers is a whole header block, with its empty
// line at the end, or empty.
type outbound struct {
	subject, reply []byte
	headers        []byte
	payload        []byte

	// to is where the message goes, if that is not its subject: only a leaf
	// connection can say so, behind the reply.
	to []byte
}

// check tells what is wrong with m. Blanks and line ends in a subject would be read
// as something else.
func (m *outbound) check(maxPayload int) error {
	if size := len(m.headers) + len(m.payload); size > maxPayload {
		return fmt.Errorf("%w: %d bytes with headers, at most %d are allowed", ErrUnsendable, size, maxPayload)
	}
	for _, s := range [][]byte{m.subject, m.reply, m.to} {
		for _, c := range s {
			if c <= ' ' || c == 0x7f {
				return fmt.Errorf("%w: the subject %.100q has a blank or a control character", ErrUnsendable, s)
			}
		}
	}
	if len(m.subject) == 0 {
		return fmt.Errorf("%w: the subject is empty", ErrUnsendable)
	}
	if n := len(m.subject) + len(m.reply) + len(m.to); n > maxSubjects {
		return fmt.Errorf("%w: its subjects take %d bytes, at most %d are allowed", ErrUnsendable, n, maxSubjects)
	}
	return nil
}

// maxSubjects bounds the subjects of a message together, so that its line stays below
// maxControlLine.
const maxSubjects = maxControlLine - 64

// len is about how many bytes m takes on the wire.
func (m *outbound) len() int {
	return len(m.subject) + len(m.reply) + len(m.to) + len(m.headers) + len(m.payload)
}

// appendTo appends m in the client protocol, or, if it has another place to go than
// its subject, in the leaf protocol: there the server takes the subject from behind
// the reply.
func (m *outbound) appendTo(dst []byte) []byte {
	withHeaders := len(m.headers) > 0
	switch {
	case withHeaders && m.to != nil:
		dst = append(append(dst, "HMSG "...), m.to...)
	case m.to != nil:
		dst = append(append(dst, "LMSG "...), m.to...)
	case withHeaders:
		dst = append(append(dst, "HPUB "...), m.subject...)
	default:
		dst = append(append(dst, "PUB "...), m.subject...)
	}
	dst = append(dst, ' ')
	if len(m.reply) > 0 {
		dst = append(dst, m.reply...)
		if m.to != nil {
			dst = append(append(dst, '@'), m.subject...)
		}
		dst = append(dst, ' ')
	}
	if withHeaders {
		dst = strconv.AppendInt(dst, int64(len(m.headers)), 10)
		dst = append(dst, ' ')
	}
	dst = strconv.AppendInt(dst, int64(len(m.headers)+len(m.payload)), 10)
	dst = append(dst, "\r\n"...)
	dst = append(dst, m.headers...)
	dst = append(dst, m.payload...)
	return append(dst, "\r\n"...)
}
