package natsd

import (
	"bytes"
	"errors"
	"fmt"
)

// ErrProtocol is wrapped by errors about bytes that are not NATS's client
// protocol, or that pass a limit.
var ErrProtocol = errors.New("not the NATS protocol")

// Message is a message for one of our subscriptions. Its bytes are only valid
// until the handler returns.
type Message struct {
	Rule    int // which subscription brought it: its place in Config.Subjects, or what Subscribe returned
	Subject []byte
	Reply   []byte // empty for none
	Headers []byte // the header block as it came; empty for none
	Payload []byte
}

// operation is what the server tells a client or a leaf.
type operation int8

const (
	opMessage operation = iota + 1
	opPing
	opPong
	opInfo
	opError
	opOK
	opInterest // of somebody else, which a leaf is told of
)

const (
	maxLine       = 32 << 10 // of a line; only INFO comes near, with all the addresses of a box
	maxSizeDigits = 9
)

// parser takes operations off a buffer. It keeps nothing between them but the
// limits, and allocates only for errors.
type parser struct {
	maxPayload    int
	subscriptions int  // a message's has a smaller number
	leaf          bool // it is the leaf protocol; no messages come

	message Message // of the last opMessage
	text    []byte  // of the last opInfo or opError
	need    int     // after 0 bytes were taken: how many must be there at least
}

// next takes the first operation off buf and tells how many bytes it took, which
// is 0 when buf ends inside it. Its errors wrap ErrProtocol. No length is trusted
// before it is checked.
func (p *parser) next(buf []byte) (op operation, taken int, err error) {
	end := bytes.IndexByte(buf[:min(len(buf), maxLine)], '\n')
	if end < 0 {
		if len(buf) >= maxLine {
			return 0, 0, fmt.Errorf("%w: a line of more than %d bytes", ErrProtocol, maxLine)
		}
		p.need = len(buf) + 1
		return 0, 0, nil
	}
	line := bytes.TrimSuffix(buf[:end], []byte{'\r'})
	verb, rest, _ := bytes.Cut(line, []byte{' '})
	switch string(verb) {
	case "MSG", "HMSG":
		if p.leaf {
			return 0, 0, fmt.Errorf("%w: a message, though nothing is subscribed to", ErrProtocol)
		}
		return p.takeMessage(buf, end+1, rest, len(verb) == len("HMSG"))
	case "LS+", "LS-":
		if !p.leaf {
			return 0, 0, fmt.Errorf("%w: %s is for leaf nodes", ErrProtocol, verb)
		}
		op = opInterest
	case "PING":
		op = opPing
	case "PONG":
		op = opPong
	case "+OK":
		op = opOK
	case "INFO":
		op, p.text = opInfo, rest
	case "-ERR":
		op, p.text = opError, rest
	default:
		return 0, 0, fmt.Errorf("%w: a line that starts with %.20q", ErrProtocol, verb)
	}
	return op, end + 1, nil
}

// takeMessage parses "subject sid [reply] [header bytes] total bytes" and what
// follows the line, which ends at bodyAt.
func (p *parser) takeMessage(buf []byte, bodyAt int, line []byte, withHeaders bool) (operation, int, error) {
	var fields [5][]byte
	n := split(line, fields[:])
	sizes := 1
	if withHeaders {
		sizes = 2
	}
	if n != 2+sizes && n != 3+sizes {
		return 0, 0, fmt.Errorf("%w: a message of %d fields", ErrProtocol, n)
	}
	m := Message{Subject: fields[0]}
	if n == 3+sizes {
		m.Reply = fields[2]
	}
	rule, ok1 := number(fields[1])
	size, ok2 := number(fields[n-1])
	headerSize, ok3 := 0, true
	if withHeaders {
		headerSize, ok3 = number(fields[n-2])
	}
	switch {
	case !ok1 || !ok2 || !ok3:
		return 0, 0, fmt.Errorf("%w: a message's number cannot be read", ErrProtocol)
	case rule >= p.subscriptions:
		return 0, 0, fmt.Errorf("%w: a message for subscription %d of %d", ErrProtocol, rule, p.subscriptions)
	case size > p.maxPayload:
		return 0, 0, fmt.Errorf("%w: a message of %d bytes, at most %d are allowed", ErrProtocol, size, p.maxPayload)
	case headerSize > size:
		return 0, 0, fmt.Errorf("%w: %d bytes of headers in a message of %d", ErrProtocol, headerSize, size)
	}
	whole := bodyAt + size + len("\r\n")
	if len(buf) < whole {
		p.need = whole
		return 0, 0, nil
	}
	if string(buf[whole-2:whole]) != "\r\n" {
		return 0, 0, fmt.Errorf("%w: a message of %d bytes does not end there", ErrProtocol, size)
	}
	body := buf[bodyAt : bodyAt+size]
	m.Rule, m.Headers, m.Payload = rule, body[:headerSize:headerSize], body[headerSize:]
	p.message = m
	return opMessage, whole, nil
}

// split cuts line at its blanks into fields, and returns how many there are: one
// more than fit when there are too many.
func split(line []byte, fields [][]byte) int {
	n, start := 0, -1
	for i := 0; i <= len(line); i++ {
		blank := i == len(line) || line[i] == ' ' || line[i] == '\t'
		switch {
		case blank && start >= 0:
			if n == len(fields) {
				return n + 1
			}
			fields[n] = line[start:i]
			n++
			start = -1
		case !blank && start < 0:
			start = i
		}
	}
	return n
}

// number reads a decimal that fits an int everywhere.
func number(digits []byte) (int, bool) {
	if len(digits) == 0 || len(digits) > maxSizeDigits {
		return 0, false
	}
	n := 0
	for _, c := range digits {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int(c-'0')
	}
	return n, true
}
