// Package wire reads and writes the frames of the Kafka protocol: lengths,
// request and response headers, and the messages in them. It is pure bytes: no
// I/O, no goroutines, and nothing kept between two calls.
//
// Messages are kmsg's types, except the two that carry records: a produce request
// and a fetch response are done by hand, so that records are neither copied nor
// allocated for.
//
// No length from the wire is trusted. kmsg's decoders trust two kinds of them: a
// claimed array is allocated when one byte an element is there, and a claimed
// count of tagged fields is counted down to zero though the bytes have run out,
// which costs a minute of processor time for nine bytes. So Decode first walks a
// request by its shape (shape.go), and only what holds up is given to kmsg.
//
// Lengths are in bytes.
package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// ErrMalformed is wrapped by every error about bytes that cannot be the request
// they claim to be. A connection that sent such bytes cannot be trusted to be in
// step any more and is closed.
var ErrMalformed = errors.New("malformed request")

// PrefixLen is how many bytes of a frame tell its length, API key and version.
const PrefixLen = 8

const (
	lengthLen = 4 // the frame's length, which does not count itself
	headerLen = 8 // the part of a request header that every version has: key, version, correlation id
)

// Prefix is the start of a request's frame: what must be known to decide whether
// the rest may come in.
type Prefix struct {
	Length  int32 // of the frame, without the length itself
	Key     int16
	Version int16
}

// ParsePrefix reads the first bytes of a frame. Whether Length is too large is
// the caller's to say: the limit depends on the API key.
func ParsePrefix(b [PrefixLen]byte) (Prefix, error) {
	p := Prefix{
		Length:  int32(binary.BigEndian.Uint32(b[0:])),
		Key:     int16(binary.BigEndian.Uint16(b[4:])),
		Version: int16(binary.BigEndian.Uint16(b[6:])),
	}
	if p.Length < headerLen {
		return p, fmt.Errorf("%w: a frame of %d bytes is shorter than a header", ErrMalformed, p.Length)
	}
	return p, nil
}

// Begin puts the bytes of b that belong to the frame at its start; those behind
// the first Filled are to be read.
func (p Prefix) Begin(frame []byte, b [PrefixLen]byte) { copy(frame, b[lengthLen:]) }

// Filled is how many bytes of a frame came with its prefix.
const Filled = PrefixLen - lengthLen
